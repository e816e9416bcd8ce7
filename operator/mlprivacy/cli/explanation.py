"""Everything there is to say on one job: the decision in force, what it rests on, what the status says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlprivacy.cli import style
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.offline import trust_note
from mlprivacy.cli.stored import Stored
from mlprivacy.policy import assurance
from mlprivacy.policy.facts import IN_FORCE
from mlprivacy.policy.grounds import Grounds
from mlprivacy.policy.model import Decision, Dependency
from mlprivacy.policy.packs import Pack

if TYPE_CHECKING:
    from mlprivacy.kube.client import KubeClient
    from mlprivacy.kube.resources import Resource


@dataclass(frozen=True)
class Explanation:
    """One job.

    ``decision`` is what is decided here and now: for a file the decision, for a job in the cluster beside the
    operator's own in ``stored``, and None where something that it needs could not be read (``unread``).
    """

    what: str
    decision: Decision | None
    place: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)  # the job as the cluster holds it, empty for a file
    unread: tuple[str, ...] = ()
    grounds: Grounds = field(default_factory=Grounds)
    packs: Mapping[str, Pack] | None = None

    @property
    def status(self) -> Mapping[str, Any]:
        """What the cluster holds."""
        found = self.raw.get("status")
        return found if isinstance(found, Mapping) else {}

    @property
    def stored(self) -> Stored | None:
        """The operator's decision; None where there is none."""
        return Stored.of(self.status)

    @property
    def agreed(self) -> Decision | None:
        """The decision made here where it may stand for the one in force: it is the same, or there is no other."""
        stored = self.stored
        if self.decision is None or stored is None or stored.same_as(self.decision):
            return self.decision
        return None

    def as_json(self) -> dict[str, Any]:
        """For programs. ``decidedBy`` says whose decision it is; ``now`` is the one made here where it is another."""
        stored, agreed = self.stored, self.agreed
        if agreed is not None:
            body = {"digest": agreed.digest, **agreed.as_dict()}
        elif stored is not None:
            body = stored.as_json(self.raw)
        else:
            body = {"digest": None, "verdict": None, "mode": None, "findings": [], "obligations": None}
        other = self.decision if self.decision is not None and agreed is None else None
        return {
            "object": self.what,
            "place": self.place,
            "decidedBy": "operator" if stored is not None else "here" if agreed is not None else None,
            "decidedAt": stored.since if stored is not None else None,
            **body,
            "changedBy": list(stored.changed_by) if stored is not None else [],
            "now": None if other is None else {"digest": other.digest, **other.as_dict()},
            "packs": [asdict(pack) for pack in self.grounds.packs],
            "parameters": [parameter.as_json() for parameter in self.grounds.parameters],
            "restsOn": [_dependency(d) for d in sorted(self.decision.dependencies)] if self.decision else [],
            "validUntil": _until(self.decision),
            "unread": list(self.unread),
            "status": dict(self.status),
            "notes": list(self.notes()),
        }

    def lines(self, *, verbose: bool = True) -> Iterator[str]:
        """For people."""
        stored, agreed = self.stored, self.agreed
        shown = agreed or stored
        if shown is None:
            head = style.coloured("UNDECIDED", "yellow", bold=True)
        else:
            head = style.heading_of(shown.verdict, shown.findings)
        findings, mode = (shown.findings, shown.mode) if shown is not None else ((), None)
        yield f"{head}  {self.what}{f'  {self.place}' if self.place else ''}"
        for note in self.notes():
            yield from style.paragraph(f"Note: {note}", "  ")
        if stored is not None:
            yield f"  decided    by the operator, in force since {stored.since or 'an unknown time'}"
            if stored.changed_by:
                changes = ", ".join(_change(change) for change in stored.changed_by)
                yield from style.paragraph(f"  changed by {changes}", "", "             ")
        if shown is not None:
            yield f"  mode       {mode or 'none: the namespace is not governed, or the spec can not be read'}"
            achieved = agreed.achieved.value if agreed else stored.achieved if stored else ""
            required = agreed.required.value if agreed else stored.required if stored else ""
            yield f"  assurance  achieved {achieved}, required {required}"
        if self.decision is not None:
            yield from style.paragraph(_rests_on(self.decision), "             ")
        if shown is not None:
            yield f"  digest     {shown.digest}"
        if until := _until(agreed):
            yield f"  until      {until}, when it can change by time alone"
        yield ""
        yield "Findings" if findings else "Findings: none"
        yield from style.findings_lines(findings, mode, verbose=verbose, packs=self.packs)
        yield ""
        if agreed is not None:
            yield from _obligations(agreed)
        yield from self._grounds()
        if self.decision is not None:
            yield "It rests on"
            for dependency in sorted(self.decision.dependencies):
                yield f"  {_dependency(dependency)}"
        yield from self._status_lines()

    def notes(self) -> Iterator[str]:
        """What a reader must know to trust this, first things first."""
        stored = self.stored
        if self.place and self.decision is not None and self.decision.exceptions:
            yield trust_note(self.decision.exceptions)
        if self.unread:
            whose = (
                "this is the operator's decision alone" if stored else "nothing can be said before the operator does"
            )
            more = f", and {len(self.unread) - 1} more (-o json lists them)" if len(self.unread) > 1 else ""
            yield f"{self.unread[0]}{more}; {whose}."
        if not self.raw:
            return
        observed = self.status.get("observedGeneration")
        if stored is None:
            if self.decision is not None:
                yield "the operator has not decided yet; this is what is decided here with what is there now."
            return
        if observed is not None and observed != self.raw["metadata"].get("generation"):
            yield "the controller has not looked at the newest spec yet; its decision is of an older one."
        if self.decision is not None and self.agreed is None:
            now = f"{style.verdict_word(self.decision)}, mode {self.decision.mode or 'none'}"
            why = [f.sentence() for f in self.decision.blocking or self.decision.warnings][:2]
            yield (
                f"the operator's decision of {stored.since or 'an unknown time'}; with what is there now: "
                f"{' '.join([now + '.', *why])} Either something has just changed, or the operator has another version "
                "than this command."
            )

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
        yield from condition_lines(self.status)
        yield from _budget_lines(self.status)
        rendered = self.status.get("rendered")
        if isinstance(rendered, list) and rendered:
            yield ""
            yield "Rendered, in the order they were made"
            for item in rendered:
                yield f"  {item.get('kind')}/{item.get('name')}"
        for key, label in (("attempt", "attempt"), ("receipt", "receipt"), ("startedAt", "started")):
            if self.status.get(key):
                yield f"  {label:<9}  {self.status[key]}"


def condition_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The conditions; a message that several have is told once."""
    conditions = status.get("conditions")
    if not isinstance(conditions, list) or not conditions:
        return
    yield ""
    yield "Conditions"
    told: dict[str, str] = {}
    for condition in conditions:
        type_ = str(condition.get("type", ""))
        yield (
            f"  {type_:<14} {condition.get('status', ''):<8} "
            f"{condition.get('reason', ''):<22} {condition.get('lastTransitionTime', '')}"
        )
        message = str(condition.get("message", ""))
        first = told.setdefault(message, type_)
        yield from style.paragraph(message if first == type_ else f"as {first} says", "      ")


def _budget_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """What the job takes of privacy budgets; the condition BudgetReserved says what it waits for."""
    if not status.get("budgets"):
        return
    from mlprivacy.cli.budgets.jobs import use_lines  # noqa: PLC0415 - most jobs use none
    from mlprivacy.cli.budgets.model import uses_of  # noqa: PLC0415

    yield ""
    yield "Privacy budgets"
    for use in uses_of(status):
        yield from use_lines(use)


def _obligations(decision: Decision) -> Iterator[str]:
    duties = decision.obligations
    yield "Controls demanded"
    allowed = f", allowed: {', '.join(duties.egress_allow)}" if duties.egress_allow else ""
    yield f"  egress     {duties.egress}{allowed}"
    if duties.scratch_in_memory:
        yield "  scratch    in memory"
    if duties.ttl_seconds is not None:
        yield f"  ttl        {duties.ttl_seconds} s after the end at most"
    if duties.regions is not None:
        yield f"  regions    {', '.join(duties.regions) or 'none is left'}"


def _until(decision: Decision | None) -> str | None:
    return decision.valid_until.isoformat() if decision is not None and decision.valid_until else None


def _change(change: Mapping[str, Any]) -> str:
    place = f"{change['namespace']}/" if change.get("namespace") else ""
    return f"{change.get('kind')} {place}{change.get('name')}"


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
    from mlprivacy.cli.offline import custom_rules, with_losses  # noqa: PLC0415
    from mlprivacy.kube.custom import with_outcomes  # noqa: PLC0415
    from mlprivacy.policy.engine import evaluate, grounds_of  # noqa: PLC0415
    from mlprivacy.policy.gather import select_facts  # noqa: PLC0415

    raw = await fetched(client, resource, name, namespace)
    known = await gather(client, raw)
    what = f"{resource.kind} {namespace}/{name}"
    if known.unread:
        return Explanation(what, None, raw=raw, unread=known.unread)
    with custom_rules() as custom:
        facts = with_losses(raw, select_facts(raw, known.lookup, datetime.now(UTC)))
        facts = await with_outcomes(raw, facts, custom)
    decision = evaluate(raw, facts)
    kinds = {dependency.kind for dependency in decision.dependencies}
    if unread := tuple(sentence for kind, sentence in known.unread_of.items() if kind in kinds):
        return Explanation(what, None, raw=raw, unread=unread)
    return Explanation(what, decision, raw=raw, grounds=grounds_of(raw, facts), packs=facts.packs)


async def fetched(client: KubeClient, resource: Resource, name: str, namespace: str | None) -> dict[str, Any]:
    """One object of ours.

    Raises:
        CliError: when there is none.
        ApiError: when the cluster does not answer.
    """
    from mlprivacy.kube.errors import NotFound  # noqa: PLC0415 - offline use loads no client

    try:
        raw = await client.get(resource, name, namespace)
    except NotFound as error:
        if error.of_resource:
            raise CliError(
                f"The cluster does not know {resource}: our definitions are not installed. Install the chart, or see "
                "that the kubeconfig is that of the right cluster."
            ) from error
        if namespace is None:
            raise CliError(f"There is no {resource.kind} {name}; look at `kubectl get {resource}`.") from error
        raise CliError(
            f"There is no {resource.kind} {name} in the namespace {namespace}; give another with -n, or look at "
            f"`kubectl get {resource} -A`."
        ) from error
    raw["apiVersion"], raw["kind"] = resource.api_version, resource.kind
    return raw
