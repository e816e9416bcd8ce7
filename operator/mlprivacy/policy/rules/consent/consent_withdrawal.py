"""consent-withdrawal: a withdrawal acts within the time its scope promises, so no older snapshot is relied on.

Single withdrawals are not facts yet: they come with the consent registry and its feed. What is known is how old the
newest snapshot is, and how long a withdrawal may take (``onWithdrawal.maxLag``). A withdrawn scope as a whole is
refused by consent-valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlprivacy.api.base import Parsed
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import later, parse_duration, parse_time
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, missing
from mlprivacy.policy.uses import carrying


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Scopes of every use that can carry the job; ``NextSnapshot`` promises nothing sooner, so it holds nothing."""
    for dataset in case.datasets:
        uses = carrying(case, dataset)
        if any(use.consent_scope is None for use in uses):
            continue  # a use on another basis carries the job
        answers: list[Raised | None] = []
        for name in dict.fromkeys(use.consent_scope for use in uses if use.consent_scope is not None):
            scope = case.scope(dataset.namespace, name)
            if scope is None or scope.spec is None or scope.spec.on_withdrawal.training == "NextSnapshot":
                answers.append(None)
            else:
                answers.append(_late(case, scope, f"{dataset.path}.name", dataset.foreign))
        late = [answer for answer in answers if answer is not None]
        if late and len(late) == len(answers):
            yield late[0]
    if case.kind == "InferenceJob" and case.consent_scope is not None:
        reference = case.inference.consent_scope
        foreign = reference is not None and (reference.namespace or case.namespace) != case.namespace
        asked = _late(case, case.consent_scope, "spec.consentScope", foreign)
        if asked is not None:
            yield asked


def _late(case: Case, scope: Parsed[ConsentScopeSpec], path: str, private: bool) -> Raised | None:
    spec, status = scope.spec, scope.raw.get("status")
    snapshot = status.get("snapshot") if isinstance(status, Mapping) else None
    taken = snapshot.get("takenAt") if isinstance(snapshot, Mapping) else None
    if spec is None or not isinstance(taken, str):
        return None  # consent-valid says what is missing
    try:
        due = later(parse_time(taken), parse_duration(spec.on_withdrawal.max_lag))
    except ValueError:
        return None
    if due > case.facts.now:
        case.expires(due)
        return None
    return missing(
        path,
        f"a withdrawal under {scope.ref} must act within {spec.on_withdrawal.max_lag}, and the newest snapshot was "
        f"taken at {taken}, so one since then would be missed",
        "wait for the next snapshot, or look at the registry of the ConsentScope",
        private=private,
    )


RULE = Rule(
    id="consent-withdrawal",
    family="consent",
    action=Action.DENY,
    reason="Taking consent back must be as good as giving it.",
    citations=("GDPR 7(3)", "GDPR 17", "DPDP 6(4)"),
    remedy="wait for the next snapshot",
    check=check,
    baseline=False,
)
