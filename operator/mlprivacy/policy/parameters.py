"""Parameters of rules: read with their type, and where packs and policies disagree the stricter value wins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mlprivacy.policy.durations import parse_duration
from mlprivacy.policy.rule import Parameter, ParameterValue, Rule

_WHOLE = re.compile(r"\+?[0-9]{1,18}")
_DECIMAL = re.compile(r"\+?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?")


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
            if _WHOLE.fullmatch(text) is None:
                raise ValueError(f"{text!r} is not a whole number of zero or more")
            return int(text)
        case "float":
            if _DECIMAL.fullmatch(text) is None or not float(text) < float("inf"):
                raise ValueError(f"{text!r} is not a finite number of zero or more")
            return float(text)
        case "bool":
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{text!r} is neither true nor false")
            return text.lower() == "true"
        case "duration":
            parse_duration(text)
            return text
        case "list":
            return tuple(part.strip() for part in text.split(",") if part.strip())
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
            return tuple(v for v in left if v in right)
        case "smaller" | "larger":

            def size(value: ParameterValue) -> float:
                if parameter.type == "duration":
                    return parse_duration(str(value)).total_seconds()
                return float(value) if isinstance(value, (int, float, bool)) else 0.0

            return min(one, two, key=size) if parameter.stricter == "smaller" else max(one, two, key=size)


def strictest_of(
    rules: Iterable[Rule], groups: Iterable[Iterable[dict[str, int | str]]]
) -> tuple[dict[tuple[str, str], ParameterValue], tuple[BadParameter, ...]]:
    """The values in force where several namespaces have their own sources: of each parameter the strictest.

    Args:
        rules: the rules whose parameters exist.
        groups: of each namespace its sources, as :func:`merge` takes them; with no group all have their defaults.
    """
    every = tuple(rules)
    values, bad = None, dict[BadParameter, None]()
    for sources in groups:
        here, unread = merge(every, sources)
        bad |= dict.fromkeys(unread)
        if values is None:
            values = here
        else:
            parameters = {(rule.id, p.name): p for rule in every for p in rule.parameters}
            values = {k: stricter(parameters[k], values[k], v) for k, v in here.items()}
    return merge(every, ())[0] if values is None else values, tuple(bad)


def merge(
    rules: Iterable[Rule], sources: Iterable[dict[str, int | str]]
) -> tuple[dict[tuple[str, str], ParameterValue], tuple[BadParameter, ...]]:
    """The value in force of every parameter, from the sources that set it, else its default.

    Args:
        rules: the rules whose parameters exist.
        sources: of each policy and pack, ``RULE.PARAMETER`` to raw value.

    Returns:
        values by ``(rule id, parameter name)``, and what could not be read.
    """
    known = {f"{rule.id}.{p.name}": (rule, p) for rule in rules for p in rule.parameters}
    values: dict[tuple[str, str], ParameterValue] = {}
    bad: list[BadParameter] = []
    for source in sources:
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
            key = (rule.id, parameter.name)
            values[key] = stricter(parameter, values[key], value) if key in values else value
    for rule, parameter in known.values():
        values.setdefault((rule.id, parameter.name), parameter.default)
    return values, tuple(bad)
