"""human-oversight: where answers decide about people, a person can ask a human, and can opt out."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """``legalEffect`` needs ``humanReviewURL`` and ``optOutURL``. What is not flagged is not looked at."""
    spec = case.inference
    if not spec.legal_effect:
        return
    oversight = spec.oversight
    if oversight is None or oversight.human_review_url is None:
        yield breach(
            "spec.oversight.humanReviewURL",
            "answers decide about people with legal or similar effect, and nobody can ask for a review by a human",
            "set spec.oversight.humanReviewURL to where a person asks for a review",
        )
    if oversight is None or oversight.opt_out_url is None:
        yield breach(
            "spec.oversight.optOutURL",
            "answers decide about people with legal or similar effect, and nobody can opt out",
            "set spec.oversight.optOutURL to where a person opts out",
        )


RULE = Rule(
    id="human-oversight",
    family="inference",
    action=Action.DENY,
    reason="A decision about a person is not a machine's alone.",
    citations=("GDPR 22", "CCPA ADMT", "LGPD 20", "PIPL 24"),
    remedy="say in spec.oversight where people can turn",
    check=check,
    applies_to=frozenset({"InferenceJob"}),
    baseline=False,
)
