"""audit-retention: the audit log is kept for as long as the laws in force ask.

Switched on by a pack or a policy. The days are what the installation promises of its storage (the chart's
``audit.retentionDays``); the collector itself deletes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, owed


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The promised days are known, and not fewer than the parameter ``minimumDays``."""
    days = case.parameter("audit-retention", "minimumDays")
    needed = days if isinstance(days, int) else 0
    promised = case.facts.audit_retention_days
    if promised is None:
        yield owed(
            "metadata.namespace",
            f"it is not known for how long the audit log is kept, and {needed} days are needed",
            "ask the platform team to set audit.retentionDays of the chart (offline: --audit-retention-days)",
        )
    elif promised < needed:
        kept = f"is kept for {promised} days" if promised > 0 else "is not kept"
        yield breach(
            "metadata.namespace",
            f"the audit log {kept}, and {needed} days are needed",
            f"ask the platform team to keep it for {needed} days and to set audit.retentionDays of the chart to that",
        )


RULE = Rule(
    id="audit-retention",
    family="accountability",
    action=Action.DENY,
    reason="What was done can be shown for as long as somebody may ask.",
    citations=("AI Act 12", "AI Act 19", "AI Act 26(6)", "DPDP r.6", "PIPL 56", "HIPAA 164.316"),
    remedy="keep the audit log for longer",
    check=check,
    parameters=(
        Parameter(
            "minimumDays",
            "int",
            183,
            "days for which the audit log is kept at least. The default is the shortest that a pack asks.",
            "larger",
        ),
    ),
    baseline=False,
)
