"""objection: where data is used without consent, people who objected are left out, and somebody looked lately."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mlprivacy.api.dataset import Use
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.case import Case, UsedDataset
from mlprivacy.policy.durations import end_of_day, later, parse_duration
from mlprivacy.policy.facts import Capability
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, missing, owed
from mlprivacy.policy.uses import carrying


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Training: one lawful use must stand on its own. Inference: people can say that they object."""
    bases = case.words("objection", "bases")
    for dataset in case.datasets:
        uses = carrying(case, dataset)
        if not uses or any(not _open_to_objection(use.legal_basis, bases) for use in uses):
            continue
        answers = [list(_use(case, dataset, use)) for use in uses]
        if all(answers):  # show what lacks least, and what only waits before what is wrong
            yield from min(answers, key=lambda found: (not all(item.hold for item in found), len(found)))
    if case.kind == "InferenceJob":
        spec = case.inference
        basis = spec.legal_basis
        if basis and _open_to_objection(basis, bases) and (spec.oversight is None or not spec.oversight.opt_out_url):
            yield breach(
                "spec.oversight.optOutURL",
                f"under {basis} people may object, and nothing says where",
                "set spec.oversight.optOutURL to where a person objects",
            )


def _open_to_objection(basis: str, bases: tuple[str, ...]) -> bool:
    """True for a listed key and its kinds: A6-1-f covers A6-1-f-x, in any case."""
    key = basis.lower()
    return any(key == b.lower() or key.startswith(b.lower() + "-") for b in bases)


def _use(case: Case, dataset: UsedDataset, use: Use) -> Iterator[Raised]:
    path, private = f"{dataset.path}.name", dataset.foreign
    stated = use.objections
    if stated is None:
        yield breach(
            path,
            f"{dataset.ref} is used under {use.legal_basis}, and nothing says what is done about people who object",
            "ask its data owner to set objections in that entry of spec.uses: handling: Excluded, once people who "
            "objected are left out of the source, and reviewedOn: YYYY-MM-DD, the day of the last look",
            private=private,
        )
        return
    if stated.handling == "DataGate" and Capability.DATA_GATE not in case.facts.capabilities:
        yield missing(
            path,
            f"objections to the use of {dataset.ref} are for the data gate to respect, which is not enforced here yet",
            "ask its data owner to leave these rows out of the source and to set handling to Excluded",
            reason=Reason.NOT_ENFORCED_HERE,
            private=private,
        )
    # A day in the future is no review; one that is over everywhere counts from its end.
    reviewed = end_of_day(stated.reviewed_on)
    due = later(reviewed, parse_duration(case.text("objection", "maxAge")))
    if due <= case.facts.now or stated.reviewed_on > _today(case):
        future = stated.reviewed_on > _today(case)
        yield owed(
            path,
            f"objections to the use of {dataset.ref} are said to have been looked at on {stated.reviewed_on}, which "
            "is in the future"
            if future
            else f"objections to the use of {dataset.ref} were last looked at on {stated.reviewed_on}, and a look "
            f"counts for {case.text('objection', 'maxAge')}",
            f"ask its data owner to {'correct' if future else 'look at them again and to set'} reviewedOn: YYYY-MM-DD, "
            "the day of the last look",
            private=private,
        )
        case.expires(reviewed - timedelta(days=1))
    else:
        case.expires(due)


def _today(case: Case) -> str:
    return case.facts.now.date().isoformat()


RULE = Rule(
    id="objection",
    family="consent",
    action=Action.DENY,
    reason="Who was never asked can still say no.",
    citations=("GDPR 21",),
    remedy="use data whose owner respects objections",
    check=check,
    baseline=False,
    parameters=(
        Parameter(
            "bases",
            "list",
            ("eu-gdpr:A6-1-e", "eu-gdpr:A6-1-f"),
            "DPV keys of the legal bases to which people may object.",
            "union",
        ),
        Parameter("maxAge", "duration", "30d", "how long a look at objections counts.", "smaller"),
    ),
)
