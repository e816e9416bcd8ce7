"""impact-assessment: sensitive or high-risk processing has a current assessment of this very processing.

Switched on by a pack or a policy. An assessment that is missing, out of date or of something else holds the job and
never refuses it: it is being made. An exception lets the job run meanwhile. The digest binds the assessment to purpose,
data classes and model, and to nothing else, so that a new batch size needs no new assessment.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import end_at
from mlprivacy.policy.model import Action, Obligation, canonical_digest
from mlprivacy.policy.rule import Parameter, Raised, Rule, owed

_EXPIRES = "expiresAt (a moment such as 2029-01-01T00:00:00Z)"
_ORDER = tuple(Sensitivity)


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Where a class is special or sensitive, or the job is high-risk: an assessment that is unexpired and matches."""
    why = _why(case)
    if why is None or not _resolved(case):
        return
    said = case.spec.impact_assessment
    expected = expected_digest(case)
    if said is None:
        yield owed(
            "spec.impactAssessment",
            f"{why}, and no impact assessment is named",
            f"assess this processing, then set spec.impactAssessment with digest: {expected}, reference (the https "
            f"address of the assessment) and {_EXPIRES}",
        )
        return
    if said.digest != expected:
        yield owed(
            "spec.impactAssessment.digest",
            "the impact assessment is of another purpose, other data classes or another model than this job's",
            f"assess this processing, then set spec.impactAssessment.digest to {expected}",
        )
    ends = end_at(said.expires_at)
    if ends <= case.facts.now:
        yield owed(
            "spec.impactAssessment.expiresAt",
            f"the impact assessment was to be made again by {said.expires_at}, and that moment is past",
            f"assess this processing anew, then set digest: {expected}, reference and {_EXPIRES}",
        )
    else:
        case.expires(ends)


def assessed(case: Case) -> dict[str, object]:
    """What an assessment is of: the purpose, the data classes (sorted) and the model.

    The model is ``output.model`` of a training job, and the release or the image of an inference job; an empty string
    where a training job names none.
    """
    if case.kind == "TrainingJob":
        model = case.training.output.model or ""
    else:
        model = case.inference.model.release or case.inference.model.image or ""
    return {"purpose": case.purpose, "dataClasses": sorted({c.name for c in case.classes}), "model": model}


def expected_digest(case: Case) -> str:
    """``sha256:`` over the canonical JSON of :func:`assessed`."""
    return canonical_digest(assessed(case))


def _resolved(case: Case) -> bool:
    """False while a class or dataset is not there: that holds the job already, and its digest is not known."""
    if case.kind == "InferenceJob":
        return len(case.classes) == len(case.inference.data_classes)
    asked = {
        known[column]
        for dataset in case.datasets
        for known in (dataset.column_classes(),)
        for column in dataset.asked.columns
        if column in known and dataset.granted(column)
    }
    return len(case.datasets) == len(case.training.datasets) and asked == {c.name for c in case.classes}


def _why(case: Case) -> str | None:
    special = [c.name for c in case.classes if c.spec.special_category]
    if special:
        return f"{', '.join(special)} is of special category"
    floor = _ORDER.index(Sensitivity(case.text("impact-assessment", "sensitivity")))
    sensitive = [c for c in case.classes if _ORDER.index(c.spec.sensitivity) >= floor]
    if sensitive:
        return f"{', '.join(c.name for c in sensitive)} is {sensitive[0].spec.sensitivity}"
    return "the system is flagged high-risk" if case.spec.high_risk is not None else None


RULE = Rule(
    id="impact-assessment",
    family="accountability",
    action=Action.HOLD,
    reason="Who uses data that can hurt people has thought about it before.",
    citations=("GDPR 35", "LGPD 38", "DPDP r.13", "CCPA §7150", "PIPL 55-56"),
    remedy="assess the processing and name the assessment",
    check=check,
    parameters=(
        Parameter(
            "sensitivity",
            "choice",
            "Restricted",
            "the least sensitive class that needs an assessment; special categories and high-risk systems always do.",
            "first",
            choices=tuple(s.value for s in Sensitivity),
        ),
    ),
    baseline=False,
)
