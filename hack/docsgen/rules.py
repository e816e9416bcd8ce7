"""docs/reference/rules.md: every rule with its reason, sources, remedy and parameters, and every pack."""

from __future__ import annotations

from docsgen.markdown import code, document, prose, sentence, table
from mlprivacy.policy.packs import Pack, PackRule, built_in_packs
from mlprivacy.policy.planned import planned
from mlprivacy.policy.rule import Parameter, ParameterValue, Rule
from mlprivacy.policy.rules import all_rules, rules_by_id

_INTRO = """
A rule looks at one job with everything it refers to and says what is wrong, where, and what to change. The action is
what a breach does under mode Enforce; a [PrivacyPolicy](kinds.md#privacypolicy) can override it, and mode Warn or
Audit softens it. A rule that lacks a fact holds the job; it never allows it. `mlprivacy rules RULE` prints the same.

The sources are an engineering reading, not legal advice. No status and no command says that a job is lawful; they say
which controls are satisfied.

Two kinds of findings come from no rule: `references` (a name does not resolve or is not granted) and
`not-enforced-here` (a field asks for something that nothing enforces yet). Both hold the job in every mode. `schema`
refuses a spec that can not be read.
"""
_STRICTER = {
    "smaller": "the smaller value",
    "larger": "the larger value",
    "first": "the choice listed first",
    "last": "the choice listed last",
    "intersection": "only what all of them list",
    "union": "everything any of them lists",
}


def page() -> str:
    """The page."""
    rules = all_rules()
    index = table(
        ("Rule", "Family", "Action", "Judges", "Why"),
        ((f"[{r.id}](#{r.id})", r.family, r.action.value, _judges(r), r.reason) for r in rules),
    )
    packs = [_pack(pack) for pack in built_in_packs().values()]
    later = table(
        ("Rule", "Family", "What it will check", "Waits for"),
        ((code(p.id), p.family, sentence(p.checks), sentence(p.waits_for)) for p in planned()),
    )
    return document(
        "Rules",
        _INTRO,
        index,
        *(_rule(r) for r in rules),
        *(("## Not built yet", prose(_LATER), later) if later else ()),
        "## Packs",
        prose(_PACKS),
        *packs,
    )


_LATER = "These rules are planned. The facts they rest on do not exist before the part that each of them waits for."
_PACKS = (
    "A pack switches rules on for a law, sets parameters and adds citations. The baseline (every rule marked so) is on "
    "without any pack. Where two packs or policies disagree, the stricter value is in force."
)


def _rule(rule: Rule) -> str:
    asked = [pack.name for pack in built_in_packs().values() if pack.line(rule.id) is not None]
    facts = table(
        ("", ""),
        (
            ("Action", f"{rule.action.value} on a breach, Hold while a fact is missing"),
            ("Judges", _judges(rule)),
            ("On", "always (baseline)" if rule.baseline else "when a pack asks for it"),
            ("Packs", ", ".join(asked) or "none"),
            ("Sources", ", ".join(rule.citations)),
            ("Remedy", sentence(rule.remedy)),
        ),
    )
    parameters = table(
        ("Parameter", "Type", "Default", "Where several are set", "What it is"),
        (
            (
                code(f"{rule.id}.{p.name}"),
                _type(p),
                _value(p.default),
                _STRICTER[p.stricter],
                sentence(p.description),
            )
            for p in rule.parameters
        ),
    )
    return "\n\n".join(part for part in (f"## {rule.id}", sentence(rule.reason), facts, parameters) if part)


def _judges(rule: Rule) -> str:
    return " and ".join(sorted(rule.applies_to, reverse=True))


def _type(parameter: Parameter) -> str:
    if parameter.choices:
        return f"one of {', '.join(code(c) for c in parameter.choices)}"
    return "comma-separated list" if parameter.type == "list" else parameter.type


def _value(value: ParameterValue) -> str:
    if isinstance(value, tuple):
        return code(",".join(value)) if value else "empty"
    return code(str(value).lower() if isinstance(value, bool) else str(value))


def _asked(line: PackRule) -> str:
    """What the pack makes of a breach, and from when on."""
    first = line.action or rules_by_id()[line.id].action
    return ", ".join((first.value, *(f"{change.action.value} from {change.from_}" for change in line.changes)))


def _pack(pack: Pack) -> str:
    lines = table(
        ("Rule", "Citations", "Action", "Parameters"),
        (
            (
                f"[{line.id}](#{line.id})",
                ", ".join(line.citations) + (" (unverified)" if line.unverified else ""),
                _asked(line),
                ", ".join(code(f"{line.id}.{k}={v}") for k, v in line.parameters.items()),
            )
            for line in pack.rules
        ),
    )
    return f"### {pack.name}\n\n{sentence(pack.title)} Version {pack.version}. {sentence(pack.notice)}\n\n{lines}"
