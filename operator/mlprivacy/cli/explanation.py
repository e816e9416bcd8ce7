"""Everything there is to say on one job: the decision now, what the cluster's status says, what was rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlprivacy.cli import style
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.offline import trust_note
from mlprivacy.policy import assurance
from mlprivacy.policy.facts import IN_FORCE
from mlprivacy.policy.grounds import Grounds
from mlprivacy.policy.model import Decision, Dependency

if TYPE_CHECKING:
    from mlprivacy.kube.client import KubeClient
    from mlprivacy.kube.resources import Resource


@dataclass(frozen=True)
class Explanation:
    """One job. ``status`` is what the cluster holds, empty for a file; ``unread`` says what could not be read."""

    what: str
    decision: Decision
    place: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    unread: tuple[str, ...] = ()
    grounds: Grounds = field(default_factory=Grounds)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        decision = self.decision
        return {
            "object": self.what,
            "place": self.place,
            "digest": decision.digest,
            **decision.as_dict(),
            "packs": [asdict(pack) for pack in self.grounds.packs],
            "parameters": [parameter.as_json() for parameter in self.grounds.parameters],
            "restsOn": [_dependency(d) for d in sorted(decision.dependencies)],
            "validUntil": decision.valid_until.isoformat() if decision.valid_until else None,
            "status": dict(self.status),
            "notes": list(self.notes()),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        decision = self.decision
        yield f"{style.heading(decision)}  {self.what}{f'  {self.place}' if self.place else ''}"
        yield f"  mode       {decision.mode or 'none: the namespace is not governed, or the spec can not be read'}"
        yield f"  assurance  achieved {decision.achieved.value}, required {decision.required.value}"
        yield from style.paragraph(_rests_on(decision), "             ")
        yield f"  digest     {decision.digest}"
        if decision.valid_until:
            yield f"  until      {decision.valid_until.isoformat()}, when it can change by time alone"
        yield ""
        yield "Findings" if decision.findings else "Findings: none"
        for finding in decision.findings:
            yield from style.finding_lines(finding)
        yield ""
        yield from self._obligations()
        yield from self._grounds()
        yield "It rests on"
        for dependency in sorted(decision.dependencies):
            yield f"  {_dependency(dependency)}"
        yield from self._status_lines()
        for note in self.notes():
            yield ""
            yield from style.paragraph(f"Note: {note}", "")

    def notes(self) -> Iterator[str]:
        """What a reader must know to trust this."""
        if self.place and self.decision.exceptions:
            yield trust_note(self.decision.exceptions)
        for sentence in self.unread:
            yield f"{sentence}, so this decision may be held for what the operator does see."
        stored = self.status.get("decision")
        observed = self.status.get("observedGeneration")
        if not self.status:
            return
        if observed is not None and observed != self.generation:
            yield "the controller has not looked at the newest spec yet; its status is of an older one."
        elif isinstance(stored, Mapping) and stored.get("digest") != self.decision.digest and not self.unread:
            yield (
                f"the status holds another decision ({stored.get('verdict')}, {stored.get('digest')}). Something it "
                "rests on has just changed, or the operator has another version than this command."
            )

    def _obligations(self) -> Iterator[str]:
        duties = self.decision.obligations
        yield "Controls demanded"
        allowed = f", allowed: {', '.join(duties.egress_allow)}" if duties.egress_allow else ""
        yield f"  egress     {duties.egress}{allowed}"
        if duties.scratch_in_memory:
            yield "  scratch    in memory"
        if duties.ttl_seconds is not None:
            yield f"  ttl        {duties.ttl_seconds} s after the end at most"
        if duties.regions is not None:
            yield f"  regions    {', '.join(duties.regions) or 'none is left'}"

    def _grounds(self) -> Iterator[str]:
        if self.grounds.packs:
            yield "Packs in force"
        for pack in self.grounds.packs:
            unread = f", {pack.unverified} of them unverified: nobody of ours read the text" if pack.unverified else ""
            yield f"  {style.printable(pack.name)} {style.printable(pack.version)}  {pack.rules} rules{unread}"
        if self.grounds.parameters:
            yield "Parameters that are set"
        for parameter in self.grounds.parameters:
            value = ", ".join(parameter.value) if isinstance(parameter.value, tuple) else str(parameter.value)
            who = ", ".join(parameter.set_by) or "the default of a namespace that leaves it unset"
            less = f"; less strict: {', '.join(parameter.outdone)}" if parameter.outdone else ""
            yield from style.paragraph(f"{parameter.name} = {value}  ({who}{less})", "  ", "    ")

    def _status_lines(self) -> Iterator[str]:
        conditions = self.status.get("conditions")
        if isinstance(conditions, list) and conditions:
            yield ""
            yield "Conditions"
            for condition in conditions:
                yield (
                    f"  {condition.get('type', ''):<14} {condition.get('status', ''):<8} "
                    f"{condition.get('reason', ''):<22} {condition.get('lastTransitionTime', '')}"
                )
                yield from style.paragraph(str(condition.get("message", "")), "      ")
        rendered = self.status.get("rendered")
        if isinstance(rendered, list) and rendered:
            yield ""
            yield "Rendered, in the order they were made"
            for item in rendered:
                yield f"  {item.get('kind')}/{item.get('name')}"
        for key, label in (("attempt", "attempt"), ("receipt", "receipt"), ("startedAt", "started")):
            if self.status.get(key):
                yield f"  {label:<9}  {self.status[key]}"


def _rests_on(decision: Decision) -> str:
    processing = "Training" if decision.subject[0] == "TrainingJob" else "Inference"
    in_force = ", ".join(sorted(c.value for c in IN_FORCE)) or "nothing"
    missing = assurance.lacking(processing, decision.required, IN_FORCE)
    text = f"rests on the controls in force here: {in_force}"
    return f"{text}; not in force: {', '.join(missing)}" if missing else text


def _dependency(item: Dependency) -> str:
    name = "all of them" if item.name == "*" else item.name
    return f"{item.kind} {item.namespace}/{name}" if item.namespace else f"{item.kind} {name}"


async def of_cluster(client: KubeClient, resource: Resource, name: str, namespace: str) -> Explanation:
    """The explanation of a job in the cluster.

    Raises:
        CliError: when there is no such job.
        ApiError: when the cluster does not answer.
    """
    from mlprivacy.cli.cluster import gather  # noqa: PLC0415 - offline use loads no client
    from mlprivacy.cli.offline import custom_rules  # noqa: PLC0415
    from mlprivacy.kube.custom import with_outcomes  # noqa: PLC0415
    from mlprivacy.kube.errors import NotFound  # noqa: PLC0415
    from mlprivacy.policy.engine import evaluate, grounds_of  # noqa: PLC0415
    from mlprivacy.policy.gather import select_facts  # noqa: PLC0415

    try:
        raw = await client.get(resource, name, namespace)
    except NotFound as error:
        if error.of_resource:
            raise CliError(
                f"The cluster does not know {resource}: our definitions are not installed. Install the chart, or see "
                "that the kubeconfig is that of the right cluster."
            ) from error
        raise CliError(
            f"There is no {resource.kind} {name} in the namespace {namespace}; give another with -n, or look at "
            f"`kubectl get {resource} -A`."
        ) from error
    raw["apiVersion"], raw["kind"] = resource.api_version, resource.kind
    known = await gather(client, raw)
    with custom_rules() as custom:
        facts = await with_outcomes(raw, select_facts(raw, known.lookup, datetime.now(UTC)), custom)
    decision = evaluate(raw, facts)
    status = raw.get("status")
    kinds = {dependency.kind for dependency in decision.dependencies}
    return Explanation(
        f"{resource.kind} {namespace}/{name}",
        decision,
        status=status if isinstance(status, dict) else {},
        generation=int(raw["metadata"].get("generation") or 0),
        unread=(*known.unread, *(sentence for kind, sentence in known.unread_of.items() if kind in kinds)),
        grounds=grounds_of(raw, facts),
    )
