"""docs/reference/kinds.md: every field of every kind, from the schemas that the definitions in crds/ are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from docsgen.markdown import bullets, code, document, sentence, table
from mlprivacy.api import base
from mlprivacy.api.base import KindInfo
from mlprivacy.api.constraints import VALIDATIONS
from mlprivacy.api.kinds import all_kinds
from mlprivacy.api.names import API_VERSION, CATEGORY
from mlprivacy.api.schema.crd import crd

Schema = Mapping[str, Any]
_INTRO = f"""
All kinds belong to `{API_VERSION}` and to the category `{CATEGORY}`, so `kubectl get {CATEGORY} -A` lists them.
`kubectl explain RESOURCE.spec` prints the same texts from the cluster. A field without a default that is not marked
**required** may be left out. `[]` stands for each entry of a list, `{{}}` for each value of a map.

Keys of purposes and data categories are those of [Fideslang](https://github.com/ethyca/fideslang), by Ethyca, used
under CC-BY-4.0. Legal bases and conditions are keys of the
[W3C Data Privacy Vocabulary](https://w3c.github.io/dpv/). Both are names for what people declared: an engineering
reading, not legal advice.
"""


def page() -> str:
    """The page."""
    kinds = all_kinds()
    index = table(
        ("Kind", "Resource", "Short name", "Scope", "What it is"),
        (
            (
                f"[{k.kind}](#{k.kind.lower()})",
                code(f"{k.plural}.mlprivacy.dev"),
                ", ".join(code(n) for n in k.short_names),
                "Namespaced" if k.namespaced else "Cluster",
                sentence(k.description),
            )
            for k in kinds
        ),
    )
    return document("Kinds", _INTRO, index, "## Formats", _formats(), *(_kind(k) for k in kinds))


def _kind(kind: KindInfo[Any]) -> str:
    version = crd(kind)["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    parts = [f"## {kind.kind}", sentence(kind.description)]
    rules = [sentence(str(r["message"])) for r in root.get(VALIDATIONS, [])]
    if rules:
        parts.append("Name: " + " ".join(rules))
    if kind.selectable_fields:
        fields = ", ".join(code(p.removeprefix(".")) for p in kind.selectable_fields)
        parts.append(f"Field selectors: {fields}.")
    spec, status = root["properties"]["spec"], root["properties"]["status"]
    parts += [f"### {kind.kind} spec", _fields(spec, "spec"), _rules(spec, "spec")]
    columns = table(
        ("Column", "Field", "What it is"),
        ((c.name, code(c.json_path.removeprefix(".")), sentence(c.description)) for c in kind.printer_columns),
    )
    parts += [f"### {kind.kind} status", _fields(status, "status")]
    parts += ["Columns of `kubectl get`:" if columns else "", columns]
    return "\n\n".join(part for part in parts if part)


def _fields(schema: Schema, path: str) -> str:
    head = ("Field", "Type", "Default", "What it is")
    return table(head, _walk(schema, path))


def _walk(schema: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    required = set(schema.get("required", ()))
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        default = "**required**" if name in required else _default(child)
        yield code(here), _type(child), default, f"{_described(name, child)} {_limits(child)}"
        yield from _below(child, here)


def _below(schema: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    if schema.get("type") == "array" and "properties" in schema["items"]:
        yield from _walk(schema["items"], f"{path}[]")
    elif isinstance(schema.get("additionalProperties"), Mapping) and "properties" in schema["additionalProperties"]:
        yield from _walk(schema["additionalProperties"], f"{path}{{}}")
    else:
        yield from _walk(schema, path)


def _described(name: str, schema: Schema) -> str:
    text = " ".join(str(schema.get("description", "")).split())
    for opening in (f"{name} is ", f"{name}: "):
        text = text.removeprefix(opening)
    return sentence(text)


def _default(schema: Schema) -> str:
    return code(json.dumps(schema["default"])) if "default" in schema else ""


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        return f"map of {_type(extra)}"
    name = _format_of(schema)
    return f"[{name}](#formats)" if name else kind


def _limits(schema: Schema) -> str:
    """What a value must satisfy, in words."""
    found: list[str] = []
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        found.append("Any content; the rules judge it (see [template fields](template-fields.md)).")
    item = schema["items"] if schema.get("type") == "array" else schema
    if "enum" in item:
        found.append(f"One of {', '.join(code(str(v)) for v in item['enum'])}.")
    found += _range("entries", schema.get("minItems"), schema.get("maxItems"))
    found += _range("keys", schema.get("minProperties"), schema.get("maxProperties"))
    found += _range("", item.get("minimum"), item.get("maximum"))
    if not _format_of(item):
        found += _range("characters", item.get("minLength"), item.get("maxLength"))
        if "pattern" in item:
            found.append(f"Matches {code(item['pattern'])}.")
    if schema.get("x-kubernetes-list-type") == "set":
        found.append("No entry twice.")
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys:
        found.append(f"No {' and '.join(code(k) for k in keys)} twice.")
    return " ".join([*found, *(sentence(str(r["message"])) for r in schema.get(VALIDATIONS, ()) if _own(schema))])


def _own(schema: Schema) -> bool:
    """Rules of objects are listed below the table; those of plain values in its row."""
    return "properties" not in schema and not _format_of(schema)


def _range(unit: str, low: Any, high: Any) -> list[str]:
    word = f" {unit}" if unit else ""
    if low not in (None, 0) and high is not None:
        return [f"{low:,} to {high:,}{word}." if isinstance(high, int) else f"{low} to {high}{word}."]
    if high is not None:
        return [f"At most {high:,}{word}."]
    return [f"At least {low:,}{word}."] if low is not None and (unit == "" or low) else []


def _rules(schema: Schema, path: str) -> str:
    """Rules over several fields, as a list."""
    lines = [f"{code(where)}: {sentence(message)}" for where, message in _object_rules(schema, path)]
    return f"Rules over several fields:\n\n{bullets(lines)}" if lines else ""


def _object_rules(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    if "properties" in schema:
        for rule in schema.get(VALIDATIONS, ()):
            yield path, str(rule["message"])
    for name, child in schema.get("properties", {}).items():
        is_list = child.get("type") == "array"
        yield from _object_rules(child["items"] if is_list else child, f"{path}.{name}{'[]' if is_list else ''}")


# --- formats that several fields share -------------------------------------------------------------------------------


def _shared() -> dict[tuple[str, Any, Any], str]:
    """Names of the shared string types by pattern and lengths; the first name wins."""
    found: dict[tuple[str, Any, Any], str] = {}
    for name, value in vars(base).items():
        if get_origin(value) is not Annotated or get_args(value)[0] is not str:
            continue
        facts: dict[str, Any] = {}
        for part in get_args(value)[1:]:
            for item in part.metadata if isinstance(part, FieldInfo) else ():
                facts |= {k: getattr(item, k) for k in ("min_length", "max_length", "pattern") if _has(item, k)}
        if "pattern" in facts:
            found.setdefault((facts["pattern"], facts.get("min_length"), facts.get("max_length")), name)
    return found


def _has(item: Any, key: str) -> bool:
    return getattr(item, key, None) is not None


def _format_of(schema: Schema) -> str | None:
    key = (str(schema.get("pattern", "")), schema.get("minLength"), schema.get("maxLength"))
    return _shared().get(key)


def _formats() -> str:
    return table(
        ("Name", "Characters", "Pattern"),
        (
            (name, str(low) if low == high else f"{low} to {high}", code(pattern))
            for name, (pattern, low, high) in sorted((name, key) for key, name in _shared().items())
        ),
    )
