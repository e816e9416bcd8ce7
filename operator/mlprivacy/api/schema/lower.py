"""Lowers the JSON Schema that pydantic emits to a structural schema, the subset of OpenAPI 3.0 that a CRD takes.

The subset: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from mlprivacy.api.base import ApiModel
from mlprivacy.api.constraints import VALIDATIONS

Schema = dict[str, Any]

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
# Every keyword that may reach a CRD, in the order in which it is written.
KEYWORDS: Final = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "anyOf",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    INT_OR_STRING,
    PRESERVE,
    VALIDATIONS,
)

RULE_KEYS: Final = ("rule", "message", "fieldPath")


class SchemaError(ValueError):
    """A model cannot become a CRD; the message names the field and says what to change in the model."""


class WithFactories(GenerateJsonSchema):
    """Pydantic's generator, which leaves default factories out; a CRD has to know them to default what is nested."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        """The default; for a factory that is a model, the empty object, which the API server fills field by field."""
        factory = schema.get("default_factory")
        if isinstance(factory, type) and issubclass(factory, ApiModel):
            return {}
        return super().get_default_value(schema)


def structural(model: type[ApiModel], path: str) -> Schema:
    """The structural schema of a model. ``path`` is its place in the object, such as ``Dataset.spec``.

    Raises SchemaError when a field lacks a description, a string, list or map lacks a bound, a list does not say how
    server-side apply merges it, or a keyword has no counterpart in a structural schema.
    """
    emitted = model.model_json_schema(by_alias=True, mode="validation", schema_generator=WithFactories)
    definitions: Mapping[str, Schema] = emitted.pop("$defs", {})
    lowered = _lower(emitted, definitions, path, ())
    _check_bounds(lowered, path)
    return lowered


def _lower(schema: Schema, definitions: Mapping[str, Schema], path: str, inside: tuple[str, ...]) -> Schema:
    schema, inside = _resolve(schema, definitions, path, inside)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "integer":
        schema.setdefault("format", "int64")
    _lower_exclusive(schema)
    _lower_default(schema)
    if "prefixItems" in schema:
        raise SchemaError(f"{path}: a tuple of fixed length has no counterpart; use tuple[X, ...] or a model.")
    if "items" in schema:
        schema["items"] = _lower(schema["items"], definitions, f"{path}[]", inside)
    if "properties" in schema:
        schema["properties"] = {
            name: _described(_lower(value, definitions, f"{path}.{name}", inside), f"{path}.{name}")
            for name, value in schema["properties"].items()
        }
    values = schema.pop("additionalProperties", None)
    if isinstance(values, dict):
        schema["additionalProperties"] = _lower(values, definitions, f"{path}[*]", inside)
    elif values and not schema.get(PRESERVE):
        raise SchemaError(f"{path}: takes any field; type its values, or mark it {PRESERVE} on purpose.")
    if VALIDATIONS in schema:
        schema[VALIDATIONS] = [{key: rule[key] for key in RULE_KEYS if key in rule} for rule in schema[VALIDATIONS]]
    if foreign := sorted(set(schema) - set(KEYWORDS)):
        raise SchemaError(f"{path}: {', '.join(foreign)} has no counterpart in a structural schema; express it in CEL.")
    return {keyword: schema[keyword] for keyword in KEYWORDS if keyword in schema}


def _resolve(
    schema: Schema, definitions: Mapping[str, Schema], path: str, inside: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """The schema with its references written in place (siblings win, rules add up), and those references."""
    schema = dict(schema)
    while True:
        schema.pop("title", None)
        schema.pop("discriminator", None)
        if "$ref" in schema:
            reference: str = schema.pop("$ref")
            if reference in inside:
                raise SchemaError(
                    f"{path}: {reference} contains itself, and a structural schema is finite; flatten it."
                )
            inside = (*inside, reference)
            model = definitions[reference.removeprefix("#/$defs/")]
            rules = [*model.get(VALIDATIONS, ()), *schema.get(VALIDATIONS, ())]  # of the model, then of the field
            schema = {**model, **schema, **({VALIDATIONS: rules} if rules else {})}
        elif not schema.get(INT_OR_STRING) and any(keyword in schema for keyword in ("anyOf", "oneOf", "allOf")):
            schema = _without_null(schema, path)
        else:
            return schema, inside


def _described(schema: Schema, path: str) -> Schema:
    if not schema.get("description"):
        raise SchemaError(f"{path}: has no description, so `kubectl explain` would be silent; add one.")
    return schema


def _without_null(schema: Schema, path: str) -> Schema:
    """``X | None`` becomes an optional X: an absent field says the same, and null is dropped by the API server."""
    for keyword in ("oneOf", "allOf", "anyOf"):
        if keyword in schema:
            members = [member for member in schema.pop(keyword) if member.get("type") != "null"]
            if len(members) != 1:
                raise SchemaError(f"{path}: a union of {len(members)} types has no counterpart; use a member per type.")
            schema = {**members[0], **schema}
    return schema


def _lower_exclusive(schema: Schema) -> None:
    """OpenAPI 3.0 knows exclusive bounds as a flag beside the bound, later JSON Schema as the bound itself."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in schema and not isinstance(schema[exclusive], bool):
            schema[bound] = schema[exclusive]
            schema[exclusive] = True


def _lower_default(schema: Schema) -> None:
    """Null and empty lists and maps go: absent means the same, and a stored ``[]`` is a difference to every GitOps."""
    if "default" in schema and (schema["default"] in (None, []) or (schema["default"] == {} and not _is_model(schema))):
        del schema["default"]


def _is_model(schema: Schema) -> bool:
    return "properties" in schema


def _check_bounds(schema: Schema, path: str) -> None:
    """Without bounds neither the size of an object nor the cost of a CEL rule is bounded."""
    kind = schema.get("type")
    if kind == "string" or schema.get(INT_OR_STRING):
        if "enum" not in schema and "maxLength" not in schema:
            raise SchemaError(f"{path}: a string without max_length; give it one.")
    elif kind == "array":
        if "maxItems" not in schema:
            raise SchemaError(f"{path}: a list without max_length; give it one.")
        if "x-kubernetes-list-type" not in schema:
            raise SchemaError(f"{path}: a list that does not say how to merge; mark it UNIQUE, ATOMIC or keyed_by().")
        _check_bounds(schema["items"], f"{path}[]")
    elif "additionalProperties" in schema:
        if "maxProperties" not in schema:
            raise SchemaError(f"{path}: a map without max_length; give it one.")
        _check_bounds(schema["additionalProperties"], f"{path}[*]")
    for name, value in schema.get("properties", {}).items():
        _check_bounds(value, f"{path}.{name}")
