"""What pydantic emits becomes a structural schema, or generation is refused with the name of the field."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from mlprivacy.api.base import ApiModel
from mlprivacy.api.constraints import ATOMIC, UNIQUE, Integer, Number, Rule, keyed_by
from mlprivacy.api.schema import SchemaError
from mlprivacy.api.schema.lower import structural


class Level(StrEnum):
    """A word."""

    LOW = "Low"
    HIGH = "High"


class Inner(ApiModel):
    """Something nested."""

    size: Annotated[Integer, Field(default=3, ge=1, description="size of it.")]


class Entry(ApiModel):
    """One of a list."""

    name: Annotated[str, Field(max_length=9, description="name of it.")]


class Outer(ApiModel):
    """Everything that has to be lowered."""

    inner: Annotated[Inner, Field(default_factory=Inner, description="inner, of its own words.")]
    maybe: Annotated[Inner | None, Field(default=None, description="maybe.")]
    level: Annotated[Level, Field(default=Level.HIGH, description="level.")]
    only: Annotated[Literal["One"], Field(default="One", description="only.")]
    epsilon: Annotated[Number | None, Field(default=None, gt=0, lt=5, description="epsilon.")]
    words: Annotated[
        tuple[Annotated[str, Field(max_length=3)], ...], Field(default=(), max_length=2, description="words."), UNIQUE
    ]
    entries: Annotated[tuple[Entry, ...], Field(max_length=2, description="entries."), keyed_by("name")]
    labels: Annotated[
        dict[str, Annotated[str, Field(max_length=3)]], Field(default_factory=dict, max_length=2, description="labels.")
    ]
    renamed: Annotated[bool, Field(alias="otherName", default=False, description="otherName.")]

    object_rules: ClassVar = (Rule("has(self.maybe)", "set maybe", lambda self: self.maybe is not None, ".maybe"),)


def test_everything_is_lowered() -> None:
    inner = {
        "type": "object",
        "properties": {
            "size": {"description": "size of it.", "type": "integer", "format": "int64", "default": 3, "minimum": 1}
        },
    }
    assert structural(Outer, "X.spec") == {
        "description": "Everything that has to be lowered.",
        "type": "object",
        "required": ["entries"],
        "properties": {
            # The factory is known as an empty object, which the server fills from the nested defaults.
            "inner": {"description": "inner, of its own words.", "default": {}, **inner},
            "maybe": {"description": "maybe.", **inner},
            "level": {"description": "level.", "type": "string", "default": "High", "enum": ["Low", "High"]},
            "only": {"description": "only.", "type": "string", "default": "One", "enum": ["One"]},
            "epsilon": {
                "description": "epsilon.",
                "type": "number",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 5,
                "exclusiveMaximum": True,
            },
            "words": {
                "description": "words.",
                "type": "array",
                "maxItems": 2,
                "items": {"type": "string", "maxLength": 3},
                "x-kubernetes-list-type": "set",
            },
            "entries": {
                "description": "entries.",
                "type": "array",
                "maxItems": 2,
                "items": {
                    "description": "One of a list.",
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"description": "name of it.", "type": "string", "maxLength": 9}},
                },
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "labels": {
                "description": "labels.",
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "string", "maxLength": 3},
            },
            "otherName": {"description": "otherName.", "type": "boolean", "default": False},
        },
        "x-kubernetes-validations": [{"rule": "has(self.maybe)", "message": "set maybe", "fieldPath": ".maybe"}],
    }


def test_keywords_are_written_in_one_order() -> None:
    assert list(structural(Outer, "X.spec")) == [
        "description",
        "type",
        "required",
        "properties",
        "x-kubernetes-validations",
    ]


def model(annotation: Any) -> type[ApiModel]:
    """A model with the one field `it`."""
    return type("Model", (ApiModel,), {"__annotations__": {"it": annotation}, "__doc__": "It.", "__module__": __name__})


Short = Annotated[str, Field(max_length=3)]


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        pytest.param(Short, "no description", id="no description"),
        pytest.param(Annotated[str, Field(description="it.")], "a string without max_length", id="unbounded string"),
        pytest.param(
            Annotated[tuple[Short, ...], Field(description="it."), ATOMIC], "a list without", id="unbounded list"
        ),
        pytest.param(
            Annotated[tuple[Short, ...], Field(description="it.", max_length=2)], "how to merge", id="unmerged list"
        ),
        pytest.param(
            Annotated[tuple[str, ...], Field(description="it.", max_length=2), ATOMIC],
            "a string without max_length",
            id="unbounded string in a list",
        ),
        pytest.param(Annotated[dict[str, Short], Field(description="it.")], "a map without", id="unbounded map"),
        pytest.param(
            Annotated[dict[str, str], Field(description="it.", max_length=2)], "a string without", id="unbounded value"
        ),
        pytest.param(
            Annotated[dict[str, Any], Field(description="it.", max_length=2)], "takes any field", id="any field"
        ),
        pytest.param(Annotated[Short | Inner, Field(description="it.")], "a union of 2 types", id="union"),
        pytest.param(Annotated[tuple[Short, Short], Field(description="it.")], "fixed length", id="fixed tuple"),
        pytest.param(
            Annotated[Integer, Field(description="it.", json_schema_extra={"not": {"minimum": 3}})],
            "not has no counterpart",
            id="foreign keyword",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(annotation: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=r"^X\.spec\.it") as refused:
        structural(model(annotation), "X.spec")
    assert says in str(refused.value)


class Loop(ApiModel):
    """Contains itself."""

    again: Annotated["Loop | None", Field(default=None, description="again.")]


def test_a_model_inside_itself_is_refused() -> None:
    with pytest.raises(SchemaError, match="contains itself"):
        structural(Loop, "X.spec")


def test_rules_of_a_field_add_to_those_of_its_model() -> None:
    class Holder(ApiModel):
        """Something that holds a model with a rule, under a rule of its own."""

        outer: Annotated[
            Outer | None,
            Field(default=None, description="outer."),
            Rule("self == oldSelf", "stays as it is"),
        ]

    rules = structural(Holder, "X.spec")["properties"]["outer"]["x-kubernetes-validations"]
    assert [rule["rule"] for rule in rules] == ["has(self.maybe)", "self == oldSelf"]
