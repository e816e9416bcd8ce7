"""What a PrivacyPolicy does in the cluster, and what a PolicyException is worth there, for people and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.names import ANNOTATION_APPROVED_BY, ANNOTATION_REQUESTED_BY, LABEL_ENFORCE
from mlprivacy.api.policy_exception import KIND as POLICY_EXCEPTION
from mlprivacy.api.privacy_policy import KIND as PRIVACY_POLICY
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.cli import style
from mlprivacy.cli.explanation import condition_lines, fetched
from mlprivacy.policy.modes import ceiling_of, selects, softer
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.policy_check import policy_errors, policy_warnings

if TYPE_CHECKING:
    from mlprivacy.kube.client import KubeClient
    from mlprivacy.kube.resources import Resource

KINDS: Final = ("PrivacyPolicy", "PolicyException")


@dataclass(frozen=True)
class View:
    """One object: ``facts`` are what there is to say, in order; ``problems`` and ``unread`` are sentences."""

    what: str
    headline: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    problems: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "object": self.what,
            "state": self.headline,
            **{name: list(lines) for name, lines in self.facts},
            "problems": list(self.problems),
            "unread": list(self.unread),
            "status": dict(self.status),
        }

    def lines(self, *, verbose: bool = True) -> Iterator[str]:
        """For people."""
        yield f"{style.coloured(self.headline, None, bold=True)}  {self.what}"
        for sentence in self.unread:
            yield from style.paragraph(f"Note: {sentence}.", "  ")
        for sentence in self.problems:
            yield from style.paragraph(f"Problem: {sentence}", "  ", "    ")
        for name, lines in self.facts:
            for index, line in enumerate(lines or ("none",)):
                yield from style.paragraph(line, f"  {'' if index else name:<12} ", " " * 15)
        yield from condition_lines(self.status)


async def of_cluster(client: KubeClient, resource: Resource, name: str) -> View:
    """The view of one policy or exception.

    Raises:
        CliError: when there is none of this name.
        ApiError: when the cluster does not answer.
    """
    raw = await fetched(client, resource, name, None)
    if resource.kind == "PolicyException":
        return exception_view(raw)
    from mlprivacy.cli.cluster import everything_named  # noqa: PLC0415 - offline use loads no client
    from mlprivacy.cli.offline import custom_rules  # noqa: PLC0415

    namespaces, shelf, unread = await everything_named(client)
    with custom_rules() as custom:
        return policy_view(raw, namespaces, shelf, custom.errors, unread)


def policy_view(
    raw: Mapping[str, Any],
    namespaces: Mapping[str, Mapping[str, str]] | None,
    shelf: Shelf | None,
    compiled: Callable[[list[str]], Mapping[str, str]],
    unread: tuple[str, ...] = (),
) -> View:
    """What a policy does: the namespaces it selects (None: not known), the packs in force, what is wrong with it."""
    parsed: Parsed[PrivacyPolicySpec] = parse_spec(PRIVACY_POLICY, raw)
    what = f"PrivacyPolicy {parsed.name}"
    status = raw.get("status") or {}
    if parsed.spec is None:
        bad = tuple(f"{e.path} {e.message}" for e in parsed.errors)
        return View(what, "UNREADABLE", (), (*bad, "every job holds until it is mended."), unread, status)
    spec = parsed.spec
    texts = [rule.expression for rule in spec.custom]
    problems = [f"{e.path}: {e.message}" for e in policy_errors(spec, compiled(texts) if texts else None)]
    selected = {
        name: labels
        for name, labels in (namespaces or {}).items()
        if selects(spec, labels) and (_selector(spec) or ceiling_of(labels) is not None)
    }
    if shelf is not None:
        problems += [f"{e.path}: {e.message}" for e in policy_warnings(spec, shelf)]
    if namespaces is not None and not selected:
        problems.append(f"it selects no namespace: none has {_selector(spec) or LABEL_ENFORCE}")
    packs = []
    for ref in spec.packs:
        pack = shelf.packs.get(ref.name) if shelf is not None else None
        packs.append(f"{ref.name} {pack.version}, {len(pack.rules)} rules" if pack is not None else ref.name)
    facts = (
        ("mode", (spec.mode,)),
        ("selects", (_selector(spec) or "every governed namespace",)),
        ("namespaces", ("not known",) if namespaces is None else tuple(_in_force(spec, selected))),
        ("packs", (*packs, "baseline, always on")),
        ("parameters", tuple(f"{name} = {value}" for name, value in sorted(spec.parameters.items()))),
        ("overrides", tuple(f"{o.id}: {o.action}" for o in spec.rules)),
        ("custom", tuple(f"{rule.id} ({rule.action}): {rule.message}" for rule in spec.custom)),
    )
    return View(what, "PROBLEMS" if problems else "IN FORCE", facts, tuple(problems), unread, status)


def _in_force(spec: PrivacyPolicySpec, selected: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, labels in sorted(selected.items()):
        ceiling = ceiling_of(labels)
        if ceiling is None:
            yield f"{name}: not governed, jobs there hold"
        else:
            softened = "" if softer(spec.mode, ceiling) == spec.mode else f" (its label is {ceiling.lower()})"
            yield f"{name}: {softer(spec.mode, ceiling)}{softened}"


def _selector(spec: PrivacyPolicySpec) -> str:
    return ", ".join(f"{key}={value}" for key, value in spec.namespace_selector.match_labels.items())


def exception_view(raw: Mapping[str, Any]) -> View:
    """What an exception is worth, as the controller says in its condition Ready."""
    parsed = parse_spec(POLICY_EXCEPTION, raw)
    what = f"PolicyException {parsed.name}"
    status = raw.get("status") or {}
    ready = next((c for c in status.get("conditions") or [] if c.get("type") == "Ready"), None)
    if ready is None:
        state, why = "UNDECIDED", "the controller has not looked at it yet, so it counts for nothing so far."
    else:
        state = "COUNTS" if ready.get("status") == "True" else "DOES NOT COUNT"
        why = f"{ready.get('reason')}: {ready.get('message')}"
    notes = raw["metadata"].get("annotations") or {}
    facts: list[tuple[str, tuple[str, ...]]] = [("why", (why,))]
    if parsed.spec is not None:
        spec, job = parsed.spec, parsed.spec.workload
        facts += [
            ("rule", (spec.rule,)),
            ("job", (f"{job.kind} {job.namespace}/{job.name}",)),
            ("until", (spec.expires_at,)),
            ("reason", (spec.reason,)),
            ("ticket", (spec.ticket,)),
            ("asked by", (notes.get(ANNOTATION_REQUESTED_BY) or "not stamped",)),
            ("approved by", (notes.get(ANNOTATION_APPROVED_BY) or "nobody",)),
        ]
    facts.append(("uses", (str(status.get("uses") or 0),)))
    return View(what, state, tuple(facts), tuple(f"{e.path} {e.message}" for e in parsed.errors), (), status)
