"""What is wrong with a pack beyond its form: rules and parameters that do not exist, names that are taken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from mlprivacy.api.names import LABEL_PACK, PACK_KEY
from mlprivacy.policy.packs import BASELINE, Pack, Shelf, built_in_packs, built_in_shelf
from mlprivacy.policy.packs.reading import PackError, read_pack
from mlprivacy.policy.parameters import loosens, read_parameter
from mlprivacy.policy.rule import ParameterValue
from mlprivacy.policy.rules import rules_by_id

WHY_MAX: Final = 600  # characters of a reason that are kept
USER_PACKS_MAX: Final = 256  # packs of users that are read; those beyond, by name, are refused with a sentence


def pack_errors(pack: Pack) -> tuple[str, ...]:
    """Rules and parameters that can not be: a pack with one would ask for something that nobody checks."""
    return tuple(_errors(pack))


def _errors(pack: Pack) -> Iterator[str]:
    for index, line in enumerate(pack.rules):
        rule = rules_by_id().get(line.id)
        if rule is None:
            yield f"rules[{index}].id: {line.id} is no rule; `mlprivacy explain --rules` lists the rules"
            continue
        for name, raw in line.parameters.items():
            parameter = rule.parameter(name)
            if parameter is None:
                known = ", ".join(p.name for p in rule.parameters) or "none"
                yield f"rules[{index}].parameters: {line.id} has no parameter {name[:63]} (there are: {known})"
                continue
            try:
                value = read_parameter(parameter, raw)
            except ValueError as problem:
                yield f"rules[{index}].parameters.{name}: {problem}"
                continue
            if loosens(parameter, value):
                yield (
                    f"rules[{index}].parameters.{name}: {str(raw)[:40]} is looser than the default "
                    f"({_shown(parameter.default)}), and a pack only makes stricter; set {line.id}.{name} in a "
                    "PrivacyPolicy, which needs the verb weaken"
                )


def _shown(value: ParameterValue) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text[:80] or "nothing"


def user_pack(configmap: Mapping[str, Any]) -> Pack:
    """The pack in a ConfigMap, which has the ConfigMap's name.

    Raises:
        PackError: when it is none, names what does not exist, or has a name that is taken.
    """
    metadata = configmap.get("metadata")
    name = str(metadata.get("name") if isinstance(metadata, Mapping) else "")
    if name in built_in_packs() or name == BASELINE:
        raise PackError(
            f"{name} is the name of a built-in pack, which no other replaces; give the ConfigMap and the pack another"
        )
    data = configmap.get("data")
    text = data.get(PACK_KEY) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        raise PackError(f"data has no key {PACK_KEY}; put the pack there")
    pack = read_pack(text)
    if pack.name != name:
        raise PackError(f"the pack is called {pack.name}, and its ConfigMap {name[:63]}; give both one name")
    errors = pack_errors(pack)
    if errors:
        raise PackError("; ".join(errors[:4]) + (f"; and {len(errors) - 4} more" if len(errors) > 4 else ""))
    return pack


def is_pack(configmap: Mapping[str, Any]) -> bool:
    """True for a ConfigMap that carries the label of packs."""
    metadata = configmap.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(labels, Mapping) and labels.get(LABEL_PACK) == "true"


def shelf_of(configmaps: Iterable[Mapping[str, Any]]) -> Shelf:
    """The built-in packs and those of these ConfigMaps, which must carry the label. Never raises on their content."""
    found: dict[str, Pack] = {}
    bad: dict[str, str] = {}
    for number, configmap in enumerate(sorted(configmaps, key=_name)):
        name = _name(configmap)
        if number >= USER_PACKS_MAX:
            bad[name] = f"there are more than {USER_PACKS_MAX} packs; remove some"
            continue
        try:
            found[name] = user_pack(configmap)
        except PackError as problem:
            bad[name] = str(problem)[:WHY_MAX]
    return Shelf({**built_in_packs(), **found}, bad) if found or bad else built_in_shelf()


def _name(configmap: Mapping[str, Any]) -> str:
    metadata = configmap.get("metadata")
    return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""
