"""Parameters of rules: read with their type, and where packs and policies disagree the stricter value wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from mlprivacy.policy.durations import parse_duration
from mlprivacy.policy.rule import Parameter, ParameterValue, Rule

EVERYTHING: Final = ("*",)  # of a list that only takes away: it takes nothing away
INT_MAX: Final = 1_000_000_000
_INT: Final = re.compile(r"[0-9]{1,10}")
_FLOAT: Final = re.compile(r"([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][+-]?[0-9]{1,3})?")
Raw = Mapping[str, int | str]
"""What somebody sets: ``RULE.PARAMETER`` to raw value."""


class Sources(NamedTuple):
    """What sets parameters in one namespace."""

    policies: tuple[Raw, ...] = ()
    packs: tuple[Raw, ...] = ()


@dataclass(frozen=True)
class BadParameter:
    """A parameter that can not be read: ``name`` as the policy writes it, and why."""

    name: str
    why: str


def read_parameter(parameter: Parameter, raw: int | str) -> ParameterValue:
    """The typed value of ``raw``.

    Raises:
        ValueError: with a sentence when the value is not of the parameter's type.
    """
    text = str(raw).strip()
    match parameter.type:
        case "int":
            if not _INT.fullmatch(text) or int(text) > INT_MAX:
                raise ValueError(
                    f"{text[:40]!r} is not a whole number of zero or more (up to {INT_MAX}, in the digits 0 to 9)"
                )
            return int(text)
        case "float":
            value = float(text) if _FLOAT.fullmatch(text) else -1.0
            if not 0 <= value < float("inf"):
                raise ValueError(f"{text[:40]!r} is not a finite number of zero or more")
            return value
        case "bool":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{text!r} is neither true nor false")
            return text.lower() == "true"
        case "duration":
            parse_duration(text)
            return text
        case "list":
            words = tuple(part.strip() for part in text.split(",") if part.strip())
            if parameter.default == EVERYTHING and EVERYTHING[0] in words and words != EVERYTHING:
                raise ValueError("* is everything, so it stands alone; leave it out, or leave the others out")
            return words
        case "choice":
            if text not in parameter.choices:
                raise ValueError(f"{text!r} is none of {', '.join(parameter.choices)}")
            return text
        case "str":
            return text


def stricter(parameter: Parameter, one: ParameterValue, two: ParameterValue) -> ParameterValue:
    """The stricter of two values, by the parameter's own order."""
    match parameter.stricter:
        case "first" | "last":
            order = parameter.choices
            pick = min if parameter.stricter == "first" else max
            return pick((one, two), key=lambda v: order.index(str(v)) if str(v) in order else -1)
        case "intersection" | "union":
            left = one if isinstance(one, tuple) else (str(one),)
            right = two if isinstance(two, tuple) else (str(two),)
            if parameter.stricter == "union":
                return tuple(dict.fromkeys((*left, *right)))
            if parameter.default == EVERYTHING and EVERYTHING in (left, right):
                return right if left == EVERYTHING else left
            return tuple(v for v in left if v in right)
        case "smaller" | "larger":

            def size(value: ParameterValue) -> float:
                if parameter.type == "duration":
                    return parse_duration(str(value)).total_seconds()
                return float(value) if isinstance(value, (int, float, bool)) else 0.0

            return min(one, two, key=size) if parameter.stricter == "smaller" else max(one, two, key=size)


def loosens(parameter: Parameter, value: ParameterValue) -> bool:
    """True when ``value`` is looser than the default in some respect. A list that is united with it never is."""
    if parameter.stricter == "union":
        return False
    kept = stricter(parameter, value, parameter.default)  # of two that are alike the first
    return set(kept) != set(value) if isinstance(kept, tuple) and isinstance(value, tuple) else kept != value


def strictest_of(
    rules: Iterable[Rule], groups: Iterable[Sources]
) -> tuple[dict[tuple[str, str], ParameterValue], tuple[BadParameter, ...]]:
    """The values in force where several namespaces have their own sources: of each parameter the strictest.

    Args:
        rules: the rules whose parameters exist.
        groups: of each namespace its sources; with no group all have their defaults.
    """
    every = tuple(rules)
    values, bad = None, dict[BadParameter, None]()
    for sources in groups:
        here, unread = merge(every, *sources)
        bad |= dict.fromkeys(unread)
        if values is None:
            values = here
        else:
            parameters = {(rule.id, p.name): p for rule in every for p in rule.parameters}
            values = {k: stricter(parameters[k], values[k], v) for k, v in here.items()}
    return merge(every, ())[0] if values is None else values, tuple(bad)


def merge(
    rules: Iterable[Rule], policies: Iterable[Raw], packs: Iterable[Raw] = ()
) -> tuple[dict[tuple[str, str], ParameterValue], tuple[BadParameter, ...]]:
    """The value in force of every parameter, from the sources that set it, else its default.

    A policy stands in for the default, so setting a parameter there needs the verb ``weaken``. A pack is added freely:
    whatever it says is folded with the default, and so it can only be stricter.

    Args:
        rules: the rules whose parameters exist.
        policies: what each policy sets.
        packs: what each pack sets.

    Returns:
        values by ``(rule id, parameter name)``, and what could not be read.
    """
    known = {f"{rule.id}.{p.name}": (rule, p) for rule in rules for p in rule.parameters}
    values: dict[tuple[str, str], ParameterValue] = {}
    bad: list[BadParameter] = []
    said = [(source, False) for source in policies] + [(source, True) for source in packs]
    for source, only_stricter in said:
        for name, raw in source.items():
            if name not in known:
                bad.append(BadParameter(name, "no rule has such a parameter"))
                continue
            rule, parameter = known[name]
            try:
                value = read_parameter(parameter, raw)
            except ValueError as problem:
                bad.append(BadParameter(name, str(problem)))
                continue
            if only_stricter:
                value = stricter(parameter, parameter.default, value)
            key = (rule.id, parameter.name)
            values[key] = stricter(parameter, values[key], value) if key in values else value
    for rule, parameter in known.values():
        values.setdefault((rule.id, parameter.name), parameter.default)
    return values, tuple(bad)
