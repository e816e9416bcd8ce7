"""high-risk-ai: a system that is flagged high-risk has its rights assessment, its oversight and its instructions.

Switched on by a pack or a policy, and a warning unless the pack changes that at a date.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Every member of spec.highRisk is there, where there is a spec.highRisk."""
    flagged = case.spec.high_risk
    if flagged is None:
        return
    for name, value, what in (
        ("rightsAssessment", flagged.rights_assessment, "an assessment of fundamental rights"),
        ("oversightContact", flagged.oversight_contact, "a contact for human oversight"),
        ("instructions", flagged.instructions, "instructions for use"),
    ):
        if value is None or not value.strip():
            yield breach(
                f"spec.highRisk.{name}",
                f"the system is flagged high-risk, and names no {what.removeprefix('an ').removeprefix('a ')}",
                f"set spec.highRisk.{name}",
            )


RULE = Rule(
    id="high-risk-ai",
    family="accountability",
    action=Action.WARN,
    reason="A system that can do much harm is overseen by people who know how it works.",
    citations=("AI Act 13", "AI Act 14", "AI Act 26", "AI Act 27"),
    remedy="set the missing member of spec.highRisk",
    check=check,
    baseline=False,
)
