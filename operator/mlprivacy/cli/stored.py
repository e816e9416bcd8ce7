"""The operator's own decision on a job, as the job's status holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Decision, Finding, Verdict


@dataclass(frozen=True)
class Stored:
    """What ``status.decision`` says. ``since`` is when the condition Accepted last became what it is."""

    verdict: Verdict
    mode: str | None
    digest: str
    findings: tuple[Finding, ...]
    changed_by: tuple[Mapping[str, Any], ...]
    achieved: str
    required: str
    since: str

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Stored | None:
        """The decision in a status; None where there is none, or one that this version can not read."""
        found = status.get("decision")
        if not isinstance(found, Mapping):
            return None
        claim = status.get("assurance") or {}
        accepted = [c for c in status.get("conditions") or [] if c.get("type") == "Accepted"]
        try:
            return cls(
                verdict=Verdict(found["verdict"]),
                mode=found.get("mode"),
                digest=str(found["digest"]),
                findings=tuple(_finding(f) for f in found.get("findings") or ()),
                changed_by=tuple(found.get("changedBy") or ()),
                achieved=str(claim.get("achieved", "")),
                required=str(claim.get("required", "")),
                since=str(accepted[0].get("lastTransitionTime") or "") if accepted else "",
            )
        except (KeyError, ValueError):
            return None

    def same_as(self, decision: Decision) -> bool:
        """Whether a decision made elsewhere is this one, findings included as far as a status holds them."""
        from mlprivacy.controller.status import shown_findings  # noqa: PLC0415 - files need no controller

        shown = tuple(_finding(f) for f in shown_findings(decision))
        return (self.verdict, self.mode, self.digest, self.findings) == (
            decision.verdict,
            decision.mode,
            decision.digest,
            shown,
        )

    def as_json(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a decision, for programs; None for what no status holds."""
        metadata = raw["metadata"]
        return {
            "digest": self.digest,
            "subject": {
                "kind": raw["kind"],
                "namespace": metadata.get("namespace"),
                "name": metadata["name"],
                "uid": metadata.get("uid"),
            },
            "spec": None,
            "verdict": self.verdict.value,
            "mode": self.mode,
            "findings": [f.as_dict() for f in self.findings],
            "obligations": None,
            "assurance": {"achieved": self.achieved, "required": self.required},
        }


def _finding(found: Mapping[str, Any]) -> Finding:
    known = {reason.value for reason in Reason}
    reason = found.get("reason")
    return Finding(
        rule=str(found["rule"]),
        action=Action(found["action"]),
        reason=Reason(reason) if reason in known else Reason.BREACH,
        path=str(found.get("path", "")),
        message=str(found.get("message", "")),
        remedy=str(found.get("remedy", "")),
        citations=tuple(found.get("citations") or ()),
        pack=found.get("pack"),
        packs=tuple(found.get("packs") or ()),
        exception=found.get("exception"),
    )
