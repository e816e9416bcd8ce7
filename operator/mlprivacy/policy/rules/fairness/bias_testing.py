"""bias-testing: special categories that are used to find bias stay inside, make no model, and are deleted after.

An organisation default: the flag on a job must never be accepted without what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, oblige


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Egress is sealed; no destination and no model; the rendered objects are deleted after the end."""
    spec = case.training
    special = [c.name for c in case.special_classes()]
    if spec.bias_testing is None or not special:
        return
    yield oblige(Demand.EGRESS, "Sealed")
    names = ", ".join(special)
    if spec.output.destination is not None:
        yield breach(
            "spec.output.destination",
            f"{names} is used to test for bias, and what comes of it would leave the job",
            "leave output.destination out",
        )
    if spec.output.model is not None:
        yield breach(
            "spec.output.model",
            f"{names} is used to test for bias, and a model made of it would use it again",
            "leave output.model out; train the model in another job, without these columns",
        )
    if spec.ttl_seconds_after_finished is None:
        yield breach(
            "spec.ttlSecondsAfterFinished",
            f"{names} is used to test for bias, and nothing deletes the run after its end",
            "set ttlSecondsAfterFinished, such as 3600",
        )


RULE = Rule(
    id="bias-testing",
    family="fairness",
    action=Action.DENY,
    reason="Special categories may show whether a system is fair, and may serve nothing else.",
    citations=("AI Act 10(5)",),
    remedy="keep the test apart from the training",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
