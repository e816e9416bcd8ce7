"""What a job stands under, for people: the packs in force, and who set each parameter that is set. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.parameters import read_parameter
from mlprivacy.policy.rule import Parameter, ParameterValue
from mlprivacy.policy.rules import rules_by_id
from mlprivacy.policy.standing import Standing


@dataclass(frozen=True)
class PackInForce:
    """A pack that the policies of the job name, or the baseline. ``unverified`` counts lines whose text nobody read."""

    name: str
    version: str
    rules: int
    unverified: int


@dataclass(frozen=True)
class ParameterInForce:
    """A parameter that somebody set. ``set_by`` are those whose value is in force, as ``pack NAME`` or ``policy NAME``.

    It is empty where a namespace that leaves the parameter unset has the stricter value: its default.
    """

    name: str
    value: ParameterValue
    set_by: tuple[str, ...]
    outdone: tuple[str, ...] = ()  # who set another value, which is less strict

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"name": self.name, "value": value, "setBy": list(self.set_by), "outdone": list(self.outdone)}


@dataclass(frozen=True)
class Grounds:
    """Everything that a job stands under besides the objects it names."""

    packs: tuple[PackInForce, ...] = ()
    parameters: tuple[ParameterInForce, ...] = ()


def grounds(under: Standing, facts: Facts, kind: str) -> Grounds:
    """The packs and the parameters in force for jobs of ``kind`` that stand under ``under``."""
    packs = tuple(
        PackInForce(p.name, p.version, len(p.rules), sum(line.unverified for line in p.rules)) for p in under.packs
    )
    policies = under.regime.policies if under.regime is not None else ()
    said = list(_said(policies, facts))
    found = []
    for rule in under.rules[kind]:
        for parameter in rule.parameters:
            name = f"{rule.id}.{parameter.name}"
            values = {who: read for who, source in said if (read := _read(parameter, source.get(name))) is not None}
            if values:
                found.append(_in_force(parameter, name, under.parameters[(rule.id, parameter.name)], values))
    return Grounds(packs, tuple(found))


def _said(policies: Iterable[Parsed[PrivacyPolicySpec]], facts: Facts) -> Iterator[tuple[str, Mapping[str, int | str]]]:
    """Who sets what: packs before policies, each once."""
    packs: dict[str, Mapping[str, int | str]] = {}
    specs = [(p.name, p.spec) for p in policies if p.spec is not None]
    for ref in (ref for _, spec in specs for ref in spec.packs):
        pack = facts.packs.get(ref.name)
        if pack is not None:
            packs[f"pack {ref.name}"] = {
                f"{line.id}.{k}": v
                for line in pack.rules
                if line.id in rules_by_id()
                for k, v in line.parameters.items()
            }
    yield from packs.items()
    for name, spec in specs:
        yield f"policy {name}", spec.parameters


def _read(parameter: Parameter, raw: int | str | None) -> ParameterValue | None:
    if raw is None:
        return None
    try:
        return read_parameter(parameter, raw)
    except ValueError:
        return None  # which holds the job, and is told there


def _in_force(
    parameter: Parameter, name: str, value: ParameterValue, values: Mapping[str, ParameterValue]
) -> ParameterInForce:
    if isinstance(value, tuple) and parameter.stricter == "union":  # what each adds is in force
        set_by = [who for who, one in values.items() if set(_words(one)) & set(value)]
    elif isinstance(value, tuple):  # of an intersection each takes something away
        set_by = list(values)
    else:
        set_by = [who for who, one in values.items() if one == value]
    return ParameterInForce(name, value, tuple(set_by), tuple(who for who in values if who not in set_by))


def _words(value: ParameterValue) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (str(value),)
