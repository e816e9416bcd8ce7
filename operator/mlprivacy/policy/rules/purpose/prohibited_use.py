"""prohibited-use: a purpose that no law allows is refused, wherever in the key of the purpose it stands.

Switched on by a pack or a policy. It judges what a job declares: a purpose that hides what is done passes here, and is
what purpose-limitation and the audit of models are for. Fideslang has no keys for these purposes, so the defaults are
the words of the table of rules (social scoring; emotion recognition at work) as dotted keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlprivacy.policy.case import Case
from mlprivacy.policy.matching import covered_by_any, squeezed
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """No segments of the purpose are a prohibited one; those of ``atWork`` are so on the data of people at work."""
    found = [p for p in case.words("prohibited-use", "purposes") if within(p, case.purpose)]
    if found:
        yield breach(
            "spec.purpose",
            f"the purpose {case.purpose} is one that no law allows ({found[0]})",
            "do not run this job; no field makes it lawful",
        )
        return
    at_work = [p for p in case.words("prohibited-use", "atWork") if within(p, case.purpose)]
    if not at_work:
        return
    workers = case.words("prohibited-use", "workers")
    if within("employment", case.purpose):
        yield breach(
            "spec.purpose",
            f"the purpose {case.purpose} is {at_work[0]} at work, which no law allows",
            "do not run this job; no field makes it lawful",
        )
    for dataset in case.datasets:
        if covered_by_any(workers, dataset.spec.subjects.kind):
            yield breach(
                f"{dataset.path}.name",
                f"the purpose {case.purpose} on people at work ({dataset.spec.subjects.kind}, {dataset.ref}) is one "
                "that no law allows",
                "leave the dataset out",
                private=dataset.foreign,
            )


def within(prohibited: str, purpose: str) -> bool:
    """True when the segments of ``prohibited`` follow one another somewhere in ``purpose``, however both are written.

    ``social_scoring`` is within ``essential.social_scoring.citizens``, and not within ``anti_social_scoring``. What
    stands between words does not count: ``Social Scoring`` prohibits ``social__scoring``, ``socialscoring`` and
    ``social.scoring`` too.
    """
    wanted = "".join(squeezed(prohibited))
    segments = squeezed(purpose)
    return wanted != "" and any(_begins_with(segments[start:], wanted) for start in range(len(segments)))


def _begins_with(segments: Sequence[str], wanted: str) -> bool:
    """True when some of the first segments make up ``wanted``, and nothing more."""
    for segment in segments:
        if not wanted.startswith(segment):
            return False
        wanted = wanted.removeprefix(segment)
        if not wanted:
            return True
    return False


RULE = Rule(
    id="prohibited-use",
    family="purpose",
    action=Action.DENY,
    reason="Some things are not done with people's data at all.",
    citations=("AI Act 5",),
    remedy="do not run this job",
    check=check,
    parameters=(
        Parameter(
            "purposes",
            "list",
            ("social_scoring",),
            "purposes that are refused, wherever their segments stand in the purpose of a job.",
            "union",
        ),
        Parameter(
            "atWork",
            "list",
            ("emotion_recognition",),
            "purposes that are refused below the Fideslang use employment, and on the data of workers.",
            "union",
        ),
        Parameter(
            "workers",
            "list",
            ("employee", "consultant", "job_applicant", "trainee"),
            "Fideslang data subjects that are people at work.",
            "union",
        ),
    ),
    baseline=False,
)
