"""What an approver has to see of an exception, and the approval that is bound to what they saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.names import ANNOTATION_REQUESTED_BY
from mlprivacy.api.policy_exception import KIND, PolicyExceptionSpec
from mlprivacy.cli import style
from mlprivacy.cli.cluster import gather
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.offline import custom_rules, with_losses
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.custom import with_outcomes
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.resources import INFERENCEJOBS, POLICYEXCEPTIONS, TRAININGJOBS
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.model import Action, Decision, shown
from mlprivacy.policy.rules import rules_by_id

_RESOURCES = {resource.kind: resource for resource in (TRAININGJOBS, INFERENCEJOBS)}


@dataclass(frozen=True)
class LookedAt:
    """An exception as it was read, and the decision on its job; None where that is not there or may not be read.

    ``why_not`` says why there is no decision; ``unread`` what the decision could not take into account.
    """

    raw: Mapping[str, Any]
    spec: PolicyExceptionSpec
    decision: Decision | None
    why_not: str = ""
    unread: tuple[str, ...] = ()

    @property
    def approved(self) -> bool:
        """True when there is nothing to approve any more."""
        return self.spec.approved

    @property
    def ending(self) -> bool:
        """True when it is being deleted."""
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def until(self) -> str:
        """Its end."""
        return self.spec.expires_at

    @property
    def approval(self) -> dict[str, Any]:
        """What the approval is bound to."""
        metadata = self.raw["metadata"]
        return {"uid": metadata["uid"], "generation": metadata["generation"]}

    def lines(self) -> Iterator[str]:
        """All that is approved, for people."""
        metadata, spec = self.raw["metadata"], self.spec
        workload = spec.workload
        requester = (metadata.get("annotations") or {}).get(ANNOTATION_REQUESTED_BY) or "nobody who is known"
        rule = rules_by_id().get(spec.rule)
        yield f"PolicyException {metadata['name']}  (uid {metadata['uid']}, generation {metadata['generation']})"
        for word, text in (
            ("rule", f"{spec.rule}: {rule.reason}" if rule else f"{spec.rule}, which does not exist"),
            ("job", f"{workload.kind} {workload.namespace}/{workload.name}"),
            ("asked by", requester),
            ("reason", spec.reason),
            ("ticket", spec.ticket),
            ("until", spec.expires_at),
        ):
            yield from style.paragraph(f"{word:<9} {text}", "  ", " " * 12)
        yield "It lets pass"
        for one in spec.covers:
            yield from style.paragraph(f"{one.path}: {one.message}", "  ", "    ")
        if not spec.covers:
            yield from style.paragraph(
                f"whatever {spec.rule} finds in that job until then, also after a change of the job: spec.covers names "
                "no finding",
                "  ",
            )
        yield from self._found()
        for sentence in self.unread:
            yield from style.paragraph(f"Note: {sentence}, so this may not be all.", "")

    def _found(self) -> Iterator[str]:
        if self.decision is None:
            yield from style.paragraph(f"Note: {self.why_not}", "")
            return
        accepted = {(one.path, one.message) for one in self.spec.covers}
        mine = [f for f in self.decision.findings if f.rule == self.spec.rule and f.action is not Action.EVIDENCE]
        yield f"What {self.spec.rule} finds in the job now" + ("" if mine else ": nothing")
        for finding in mine:
            path, message = shown(finding)
            left = (
                "" if not accepted or (path, message) in accepted else "  (not covered: it refuses the job as before)"
            )
            yield from style.paragraph(f"{path}: {message}{left}", "  ", "    ")


async def look(client: KubeClient, name: str) -> LookedAt:
    """The exception and what its rule finds in its job now.

    Raises:
        CliError: when there is no such exception, or it can not be read.
        ApiError: when the cluster does not answer, or refuses.
    """
    try:
        raw = await client.get(POLICYEXCEPTIONS, name)
    except NotFound as error:
        raise CliError(f"There is no PolicyException {name}; `kubectl get mlpe` lists them.") from error
    parsed: Parsed[PolicyExceptionSpec] = parse_spec(KIND, raw)
    if parsed.spec is None:
        problems = "; ".join(f"{e.path} {e.message}" for e in parsed.errors[:3])
        raise CliError(f"The PolicyException {name} can not be read by this version: {problems}.")
    workload = parsed.spec.workload
    try:
        job = await client.get(_RESOURCES[workload.kind], workload.name, workload.namespace)
    except NotFound:
        why = (
            f"the {workload.kind} {workload.namespace}/{workload.name} does not exist (a refused job is not stored). "
            "Ask for its file and look at it with `mlprivacy check`."
        )
        return LookedAt(raw, parsed.spec, None, why)
    except Forbidden:
        return LookedAt(raw, parsed.spec, None, f"you may not read the {workload.kind} {workload.name}.")
    job["kind"] = workload.kind
    decision, unread = await _decide(client, job)
    return LookedAt(raw, parsed.spec, decision, unread=unread)


async def _decide(client: KubeClient, job: Object) -> tuple[Decision, tuple[str, ...]]:
    known = await gather(client, job)
    with custom_rules() as custom:
        facts = with_losses(job, select_facts(job, known.lookup, datetime.now(UTC)))
        facts = await with_outcomes(job, facts, custom)
    return evaluate(job, facts), known.unread


async def approve(client: KubeClient, looked_at: LookedAt) -> None:
    """Approve what was looked at and nothing else.

    Raises:
        ApiError: when it was changed or made anew since then, or the caller may not.
    """
    patch = {"spec": {"approved": True, "approval": looked_at.approval}}
    await client.merge_patch(POLICYEXCEPTIONS, looked_at.raw["metadata"]["name"], patch)


async def revoke(client: KubeClient, name: str) -> None:
    """Take the approval back, whatever was approved.

    Raises:
        CliError: when there is no such exception.
        ApiError: when the caller may not.
    """
    try:
        await client.merge_patch(POLICYEXCEPTIONS, name, {"spec": {"approved": False}})
    except NotFound as error:
        raise CliError(f"There is no PolicyException {name}; `kubectl get mlpe` lists them.") from error
