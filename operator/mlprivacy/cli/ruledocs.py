"""What each rule is for, from the rules themselves: a table of all, a page of one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from mlprivacy.cli import style
from mlprivacy.cli.errors import CliError
from mlprivacy.policy.custom import PREFIX
from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.planned import planned
from mlprivacy.policy.rule import Parameter, Rule
from mlprivacy.policy.rules import all_rules, rules_by_id

_STRICTER = {
    "smaller": "the smaller value wins",
    "larger": "the larger value wins",
    "first": "the earlier choice wins",
    "last": "the later choice wins",
    "intersection": "only what every policy lists counts",
    "union": "what any policy lists counts",
}


BUILT_IN = {
    "references": "it stands for a name that does not resolve (yet) or is not granted. The job holds, and is "
    "decided on again as soon as what it names is there.",
    "not-enforced-here": "it stands for a field that asks for something nothing enforces yet. The job holds "
    "until the field is left out.",
    "schema": "it stands for a field that can not be read; `kubectl explain` says what it takes.",
}


def rules(pack: str | None = None) -> tuple[Rule, ...]:
    """Every rule, or those that this pack asks for.

    Raises:
        CliError: when there is no such pack.
    """
    if pack is None:
        return all_rules()
    known = built_in_packs()
    if pack not in known:
        close = difflib.get_close_matches(pack, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise CliError(
            f"There is no pack {pack!r} that ships; there are {', '.join(known)}.{hint} A pack of your own is a "
            "ConfigMap of the operator's namespace."
        )
    return tuple(rule for rule in all_rules() if known[pack].line(rule.id) is not None)


def find(name: str) -> Rule:
    """The rule called ``name``.

    Raises:
        CliError: when there is none.
    """
    rule = rules_by_id().get(name)
    if rule is None and (later := next((p for p in planned() if p.id == name), None)) is not None:
        raise CliError(f"{name} is planned and not built yet: {later.checks}. It waits for {later.waits_for}.")
    if rule is None and name.startswith(PREFIX):
        raise CliError(
            f"{name} is a rule of a PrivacyPolicy of your own; `kubectl get privacypolicies.mlprivacy.dev -o yaml` "
            "shows it under spec.custom."
        )
    if rule is None and name in BUILT_IN:
        raise CliError(f"{name} is no rule that a policy can change: {BUILT_IN[name]}")
    if rule is None:
        close = difflib.get_close_matches(name, rules_by_id(), n=1)
        hint = f" Did you mean {close[0]}?" if close else " `mlprivacy rules` lists them."
        raise CliError(f"There is no rule {name!r}; a job is written KIND/NAME.{hint}")
    return rule


def table(pack: str | None = None) -> Iterator[str]:
    """One line per rule, or per rule that this pack asks for, with the action that the pack gives it."""
    yield style.coloured(f"{'RULE':<21} {'ACTION':<8} {'APPLIES TO':<13} {'ON':<6} WHY", None, bold=True)
    for rule in rules(pack):
        applies = "both" if len(rule.applies_to) > 1 else next(iter(rule.applies_to))
        on = "always" if rule.baseline else "asked"
        asked = _asked(rule, pack)
        yield f"{rule.id:<21} {asked['action']:<8} {applies:<13} {on:<6} {rule.reason}"
        for change in asked["changes"]:
            yield f"{'':<21} {change['action']:<8} from {change['from']} on"


def _asked(rule: Rule, pack: str | None) -> dict[str, Any]:
    """The action of a rule under a pack (its own without one), and the changes that have dates."""
    line = built_in_packs()[pack].line(rule.id) if pack is not None else None
    action = (line.action if line is not None else None) or rule.action
    if rule.baseline and action.rank < rule.action.rank:
        action = rule.action  # no pack softens a rule of the baseline
    changes = line.changes if line is not None else ()
    return {"action": action.value, "changes": [{"from": c.from_, "action": c.action.value} for c in changes]}


def waiting_table() -> Iterator[str]:
    """The rules that are not built yet, one line each, and what each waits for."""
    yield style.coloured(f"{'NOT BUILT YET':<21} WAITS FOR", None, bold=True)
    for item in planned():
        yield f"{item.id:<21} {item.waits_for}"


def waiting_json() -> list[dict[str, str]]:
    """The rules that are not built yet, for programs."""
    return [{"id": p.id, "family": p.family, "checks": p.checks, "waitsFor": p.waits_for} for p in planned()]


def all_json(pack: str | None = None) -> list[dict[str, Any]]:
    """Every rule for programs; of a pack with the action and the dated changes that it gives each."""
    found = rules(pack)
    return [as_json(rule) if pack is None else {**as_json(rule), "inPack": _asked(rule, pack)} for rule in found]


def page_of(name: str) -> Iterator[str]:
    """All about the rule called ``name``. Raises CliError when there is none."""
    return page(find(name))


def json_of(name: str) -> dict[str, Any]:
    """The rule called ``name`` for programs. Raises CliError when there is none."""
    return as_json(find(name))


def page(rule: Rule) -> Iterator[str]:
    """All about one rule."""
    yield style.coloured(rule.id, None, bold=True)
    yield from style.paragraph(rule.reason, "  ")
    yield ""
    yield f"  action      {rule.action.value} on a breach, Hold while a fact is missing"
    yield f"  family      {rule.family}"
    yield f"  applies to  {', '.join(sorted(rule.applies_to))}"
    yield f"  active      {'always' if rule.baseline else 'where a pack asks for it'}"
    yield from style.paragraph(f"  law         {', '.join(rule.citations)}", "", "              ")
    for name, citations in _packs(rule):
        yield from style.paragraph(f"              {', '.join(citations)} (pack {name})", "", "              ")
    yield from style.paragraph(f"  to fix it   {rule.remedy}", "", "              ")
    if rule.parameters:
        yield ""
        yield "  Parameters, set in spec.parameters of a PrivacyPolicy"
    for parameter in rule.parameters:
        yield f"    {rule.id}.{parameter.name} ({_type(parameter)}, default {_value(parameter.default)})"
        yield from style.paragraph(
            f"{parameter.description} Where policies differ, {_STRICTER[parameter.stricter]}.", "      "
        )


def as_json(rule: Rule) -> dict[str, Any]:
    """A rule for programs."""
    return {
        "id": rule.id,
        "family": rule.family,
        "action": rule.action.value,
        "reason": rule.reason,
        "remedy": rule.remedy,
        "citations": list(rule.citations),
        "packs": {name: list(citations) for name, citations in _packs(rule)},
        "appliesTo": sorted(rule.applies_to),
        "baseline": rule.baseline,
        "parameters": [
            {
                "name": f"{rule.id}.{parameter.name}",
                "type": parameter.type,
                "choices": list(parameter.choices),
                "default": list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default,
                "description": parameter.description,
                "stricter": parameter.stricter,
            }
            for parameter in rule.parameters
        ],
    }


def _packs(rule: Rule) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, pack in built_in_packs().items():
        line = pack.line(rule.id)
        if line is not None:
            yield name, line.citations


def _type(parameter: Parameter) -> str:
    return " | ".join(parameter.choices) if parameter.choices else parameter.type


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)
