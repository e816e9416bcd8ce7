"""The status of a job: conditions, decision, assurance. Pure; equal in, equal out, so that nothing is written twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlprivacy.api.reasons import NEEDS_PEOPLE, WAITS, Reason
from mlprivacy.api.reasons import ConditionType as C
from mlprivacy.controller import causes
from mlprivacy.controller.plan import Phase
from mlprivacy.kube.conditions import MESSAGE_BYTES, ConditionStatus, bounded, set_condition
from mlprivacy.policy.model import Decision, Finding, Verdict

FINDINGS_SHOWN = 16
CITATIONS_SHOWN = 16
PACKS_SHOWN = 16
EXCEPTIONS_SHOWN = 16
_LIMITS = {"rule": 63, "reason": 64, "path": 240, "message": 1000, "remedy": 1000, "pack": 63, "exception": 63}
_REFERENCE_REASONS = frozenset(
    {
        Reason.DATASET_NOT_FOUND,
        Reason.DATA_CLASS_NOT_FOUND,
        Reason.CONSENT_SCOPE_NOT_FOUND,
        Reason.REF_NOT_PERMITTED,
        Reason.INVALID_REFERENCE,
        Reason.PACK_NOT_FOUND,
    }
)
Tri = tuple[ConditionStatus, Reason, str]


@dataclass(frozen=True)
class Outcome:
    """What came of a reconcile, for the status.

    ``budget`` is the BudgetReserved condition and ``budgets`` the lines of the status about it; None and nothing for
    what is never charged. ``controls`` is the ControlsReady condition, None where nothing is to be rendered; ``queue``
    is the condition Queued, None for a job in no queue; ``stalled`` says that nothing will change without people.
    """

    phase: Phase
    reason: Reason
    message: str = ""
    attempt: int = 0
    controls: Tri | None = None
    started_at: str | None = None
    finished_at: str | None = None
    receipt: str | None = None
    rendered: tuple[tuple[str, str], ...] = ()
    simulated: bool = False
    stalled: bool = False
    budget: Tri | None = None
    budgets: tuple[dict[str, Any], ...] = ()
    queue: Tri | None = None


def job_status(
    raw: Mapping[str, Any],
    decision: Decision,
    outcome: Outcome,
    now: datetime,
    changed_by: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The whole status to be written.

    Args:
        raw: the job as last seen.
        decision: the decision in force.
        outcome: what came of the reconcile.
        now: the time, for lastTransitionTime.
        changed_by: what changed before the decision became what it is, as ``status.decision.changedBy`` has it.
    """
    generation = int(raw["metadata"].get("generation") or 0)
    conditions: Any = (raw.get("status") or {}).get("conditions")
    found = _conditions(raw["kind"], decision, outcome)
    if outcome.queue is None:
        conditions = [c for c in conditions or () if c.get("type") != C.QUEUED]
    else:
        found[C.QUEUED] = outcome.queue
    if changed_by:
        found[C.ACCEPTED] = _with_cause(found[C.ACCEPTED], causes.sentence(changed_by))
    for type_, (status, reason, message) in found.items():
        conditions = set_condition(conditions, type_, status, reason, message, observed_generation=generation, now=now)
    return {
        "observedGeneration": generation,
        "conditions": conditions,
        "decision": {
            "verdict": decision.verdict.value,
            "mode": decision.mode,
            "digest": decision.digest,
            "findings": shown_findings(decision),
            "changedBy": list(changed_by),
        },
        "exceptions": list(decision.exceptions[:EXCEPTIONS_SHOWN]) if decision.verdict is Verdict.ALLOW else [],
        "assurance": {"achieved": decision.achieved.value, "required": decision.required.value},
        "budgets": list(outcome.budgets),
        "attempt": outcome.attempt or None,
        "rendered": [{"kind": kind, "name": name} for kind, name in outcome.rendered],
        "receipt": bounded(outcome.receipt, 128) if outcome.receipt else None,
        "startedAt": outcome.started_at,
        "finishedAt": outcome.finished_at,
    }


def shown_findings(decision: Decision) -> list[dict[str, Any]]:
    """The findings as a status holds them."""
    return [_finding(f.as_dict()) for f in decision.findings[:FINDINGS_SHOWN]]


def changed(raw: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether writing ``status`` would change anything."""
    return bool(_bare(raw.get("status") or {}) != _bare(status))


def _bare(value: Any) -> Any:
    """Without what is absent in one form and null or empty in another."""
    if isinstance(value, Mapping):
        return {k: _bare(v) for k, v in value.items() if v is not None and v != []}
    if isinstance(value, list | tuple):
        return [_bare(v) for v in value]
    return value


def _finding(finding: dict[str, Any]) -> dict[str, Any]:
    """Within the bounds of the CRD: a status that can not be written would tell nobody anything."""
    cut = {k: bounded(v, _LIMITS[k]) if k in _LIMITS and isinstance(v, str) else v for k, v in finding.items()}
    if "citations" in cut:
        cut["citations"] = [bounded(c, 120) for c in cut["citations"][:CITATIONS_SHOWN]]
    if "packs" in cut:
        cut["packs"] = cut["packs"][:PACKS_SHOWN]
    return cut


def _conditions(kind: str, decision: Decision, outcome: Outcome) -> dict[C, Tri]:
    training = kind == "TrainingJob"
    found: dict[C, Tri] = {
        C.ACCEPTED: _accepted(decision),
        C.RESOLVED_REFS: _resolved(decision),
        C.CONTROLS_READY: outcome.controls or ("False", Reason.CONTROLS_PENDING, "nothing is rendered"),
    }
    if outcome.budget is not None:
        found[C.BUDGET_RESERVED] = outcome.budget
    if training:
        found[C.DATA_READY] = (
            "False",
            Reason.NO_DATA_GATE,
            "there is no data gate yet, so mountPath of every dataset is empty",
        )
    else:
        found[C.SERVING_READY] = (
            "False",
            Reason.NO_GATEWAY_PROXY,
            "the gateway can not forward requests yet, so it refuses every one",
        )
    found[C.RUNNING] = _running(outcome)
    if training:
        done = outcome.phase is Phase.SUCCEEDED
        found[C.COMPLETED] = (
            "True" if done else "False",
            outcome.reason,
            outcome.message or ("the attempt ended well" if done else "it has not completed"),
        )
    found[C.READY] = _ready(decision, outcome)
    found[C.STALLED] = _stalled(decision, outcome)
    found[C.SUSPENDED] = (
        ("True", outcome.reason, outcome.message or _stop_sentence(decision, outcome))
        if outcome.phase is Phase.STOPPED
        else ("False", Reason.NOT_SUSPENDED, "nothing suspends it")
    )
    return found


def _accepted(decision: Decision) -> Tri:
    if decision.verdict is Verdict.ALLOW:
        if decision.exceptions:
            accepted = f"it runs by exception only ({', '.join(decision.exceptions)}). {_sentences(decision)}"
            return "True", Reason.ALLOWED_BY_EXCEPTION, accepted
        if decision.warnings:
            return "True", Reason.ALLOWED_WITH_WARNINGS, _sentences(decision)
        if softened := [f for f in decision.findings if f.softened]:
            softened.sort(key=lambda f: -f.enforced.rank)
            return "True", Reason.ALLOWED_WITH_FINDINGS, f"recorded only, since the mode is Audit. {_said(softened)}"
        return "True", Reason.ALLOWED, "the decision allows the job; controls satisfied, which is no legal advice"
    if decision.verdict is Verdict.DENY:
        invalid = all(f.reason is Reason.INVALID_SPEC for f in decision.blocking)
        return "False", Reason.INVALID_SPEC if invalid else Reason.REFUSED, _sentences(decision)
    return "Unknown", decision.blocking[0].reason, _sentences(decision)


def _with_cause(accepted: Tri, cause: str) -> Tri:
    """The condition with what changed; a long message is cut so that the cause is read."""
    status, reason, message = accepted
    last = f". {cause[:1].upper()}{cause[1:]}."
    return status, reason, bounded(message, MESSAGE_BYTES - len(last.encode())).rstrip(".") + last


def _resolved(decision: Decision) -> Tri:
    open_refs = [f for f in decision.findings if f.reason in _REFERENCE_REASONS]
    if open_refs:
        return "False", open_refs[0].reason, " ".join(f"{f.path}: {_ended(f.message)}" for f in open_refs[:4])
    return "True", Reason.REFS_RESOLVED, "every name the job refers to resolves and is granted"


def _ended(text: str) -> str:
    """With one mark at its end."""
    return text if text.endswith("?") else f"{text.rstrip('.')}."


def _running(outcome: Outcome) -> Tri:
    if outcome.phase is Phase.RUNNING:
        if outcome.reason is Reason.SIDECAR_SILENT:
            return "True", outcome.reason, outcome.message
        if outcome.simulated:
            return (
                "True",
                Reason.SIMULATED,
                "a simulated node says that it runs; this proves objects and order, never a process",
            )
        return "True", Reason.ATTEMPT_RUNNING, "it runs"
    return "False", outcome.reason, outcome.message or "nothing of it runs"


def _ready(decision: Decision, outcome: Outcome) -> Tri:
    match outcome.phase:
        case Phase.REFUSED:
            return "False", Reason.REFUSED, _sentences(decision)
        case Phase.HELD:
            return "Unknown", outcome.reason, _sentences(decision)
        case Phase.WAITING:
            return "False" if outcome.stalled else "Unknown", outcome.reason, outcome.message
        case Phase.STOPPED:
            return "False", outcome.reason, outcome.message or _stop_sentence(decision, outcome)
        case Phase.FAILED | Phase.UNSEALED:
            return "False", outcome.reason, outcome.message or "the attempt failed"
        case Phase.SUCCEEDED:
            return "True", Reason.SUCCEEDED, "the attempt ended well"
        case Phase.RUNNING:
            return "True", Reason.ATTEMPT_CREATED, "it was created under its controls"
        case Phase.STARTING:
            if outcome.stalled or outcome.reason in WAITS:
                return "False", outcome.reason, outcome.message
            if outcome.controls and outcome.controls[0] == "True":
                return "True", Reason.ATTEMPT_CREATED, "it was created under its controls"
            return "Unknown", outcome.reason, outcome.message or "its controls are being made"


def _stalled(decision: Decision, outcome: Outcome) -> Tri:
    if outcome.phase is Phase.REFUSED or (outcome.phase is Phase.STOPPED and decision.verdict is Verdict.DENY):
        return "True", Reason.REFUSED, _sentences(decision)
    unheard = outcome.phase is Phase.STOPPED and outcome.reason is Reason.SIDECAR_SILENT
    if outcome.phase in (Phase.FAILED, Phase.UNSEALED) or outcome.stalled or unheard:
        return "True", outcome.reason, outcome.message or "the attempt failed; delete the job and create it again"
    if outcome.phase is Phase.HELD and any(f.reason in NEEDS_PEOPLE for f in decision.blocking):
        return "True", outcome.reason, _sentences(decision)
    if outcome.phase is Phase.WAITING:
        return "False", Reason.PROGRESSING, f"it starts by itself once this is over: {outcome.message}"
    if outcome.phase is Phase.HELD:
        return "False", Reason.PROGRESSING, "it is looked at again as soon as what it waits for changes"
    if outcome.phase is Phase.STARTING and outcome.reason in WAITS:
        return "False", outcome.reason, f"it starts by itself once this is over: {outcome.message}"
    return "False", Reason.PROGRESSING, "nothing for people to do"


def _stop_sentence(decision: Decision, outcome: Outcome) -> str:
    if outcome.reason is Reason.NO_LONGER_ALLOWED:
        return "stopped, since it is not allowed any more. " + _sentences(decision)
    if outcome.reason is Reason.SUSPENDED_BY_USER:
        return "stopped, since spec.suspend is true"
    return "stopped; a new attempt follows"


def _sentences(decision: Decision) -> str:
    return _said(decision.blocking or decision.warnings)


def _said(shown: Sequence[Finding], most: int = 4) -> str:
    text = " ".join(f.sentence().rstrip(".") + "." for f in shown[:most])
    rest = len(shown) - most
    return text + (f" And {rest} more; see status.decision.findings." if rest > 0 else "")
