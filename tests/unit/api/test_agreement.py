"""The models and the CRDs give the same verdict on any object: a file judged offline is judged as the server would.

Specs are made by damaging the full examples. Both sides see what they see in life: the server drops nulls where they
are not allowed before it judges. Rules in CEL and list uniqueness are compared in tests/cluster/api on the server.
"""

import copy
import functools
import math
import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from pydantic import ValidationError

from mlprivacy.api.base import KindInfo
from mlprivacy.api.kinds import kind_named, modelled_kinds
from mlprivacy.api.schema import crd

EXAMPLES = Path(__file__).parents[2] / "cluster" / "api" / "examples"
formats = jsonschema.FormatChecker(formats=())


@formats.checks("date", raises=ValueError)
def is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


@formats.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def is_number(_: Any, value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_integer(_: Any, value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def matches(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Patterns as Go reads them: `$` is the end of the text, and never the place before a last newline.

    Go writes a character by its number as `\\x{2028}`.
    """
    end = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    end = re.sub(r"\\x\{([0-9A-F]{4})\}", r"\\u\1", end)
    yield from Draft4Validator.VALIDATORS["pattern"](validator, end, value, schema)


def int_or_string(validator: Any, on: bool, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    whole = is_integer(None, value) and abs(value) < 2**63
    if on and not (whole or isinstance(value, str)):
        yield jsonschema.ValidationError(f"{value!r} is neither a whole number of 64 bits nor a string")


# Draft 4 is the one whose exclusive bounds are flags, as in a structural schema.
Server = jsonschema.validators.extend(
    Draft4Validator,
    {"pattern": matches, "x-kubernetes-int-or-string": int_or_string},
    type_checker=Draft4Validator.TYPE_CHECKER.redefine("integer", is_integer).redefine("number", is_number),
)


def without_nulls(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server does first: fields and map values that are null and may not be are dropped."""
    if isinstance(value, dict):
        named, values = schema.get("properties", {}), schema.get("additionalProperties")
        known = {key: named.get(key, values) for key in value}
        return {
            k: without_nulls(v, known[k]) if known[k] else v for k, v in value.items() if v is not None or not known[k]
        }
    if isinstance(value, list):
        return [without_nulls(entry, schema.get("items", {})) for entry in value]
    return value


def schema_accepts(kind: KindInfo[Any], spec: Any) -> bool:
    schema = spec_schema(kind.kind)
    return bool(Server(schema, format_checker=formats).is_valid(without_nulls(spec, schema)))


@functools.cache
def spec_schema(kind: str) -> dict[str, Any]:
    info = kind_named(kind)
    assert info is not None
    found: dict[str, Any] = crd(info)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


@functools.cache
def full_spec(kind: str) -> Any:
    text = (EXAMPLES / f"{kind.lower()}.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))[1]["spec"]


def model_accepts(kind: KindInfo[Any], spec: Any) -> bool:
    """The model's verdict, with rules and duplicates left aside."""
    try:
        kind.spec.model_validate(spec, by_alias=True, by_name=False)
    except ValidationError as problem:
        return all(is_beside_the_schema(error) for error in problem.errors(include_url=False))
    return True


def is_beside_the_schema(error: Any) -> bool:
    """A rule, a duplicate, or pydantic's count of good entries when the others are what is wrong."""
    if error["type"] == "too_short":
        return len(error["input"]) >= error["ctx"]["min_length"]
    return error["type"] in ("rule", "duplicate")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a value but those inside the template, where anything goes."""
    yield path
    if path[:1] == ("template",):
        return
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**40),
    st.floats(),
    st.sampled_from(
        [0, 1, -1, 5.0, 1e-5, 1e9, 65536, 2**33, "", "a", "A", "a.b", "5", "true", "24h", "0s", "2029-02-30"]
    ),
    st.sampled_from(["2029-01-01", "2029-01-01T00:00:00Z", "2029-01-01T24:00:00Z", "/data", "/", "x" * 41, "x" * 2000]),
    st.sampled_from(
        ["s3://b/k", "s3://b/k\n", "visits\n", "vis\u0456ts", "Public", "Training", "Enforce", [], {}, [1], [[]]]
    ),
    st.sampled_from([["a"] * 300, ["Training"], [None], {"x": 1}, {"name": "visits"}, {"name": None}, {"x": None}]),
    st.text(max_size=5),
).map(copy.deepcopy)


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> Any:
    """A spec with a few places replaced, removed or doubled."""
    box = {"spec": copy.deepcopy(whole)}
    for _ in range(draw(st.integers(1, 3))):
        path = ("spec", *draw(st.sampled_from(list(places(box["spec"])))))
        parent: Any = box
        for step in path[:-1]:
            parent = parent[step]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "remove" and len(path) > 1:
            del parent[path[-1]]
        elif action == "add" and isinstance(parent, list):
            parent.append(draw(ODD))
        else:
            parent[path[-1]] = draw(ODD)
    return box["spec"]


@pytest.mark.parametrize("kind", modelled_kinds(), ids=lambda kind: kind.kind)
def test_both_accept_the_examples(kind: KindInfo[Any]) -> None:
    for document in yaml.safe_load_all((EXAMPLES / f"{kind.kind.lower()}.yaml").read_text(encoding="utf-8")):
        assert schema_accepts(kind, document["spec"])
        assert model_accepts(kind, document["spec"])


@pytest.mark.parametrize("kind", modelled_kinds(), ids=lambda kind: kind.kind)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_both_give_the_same_verdict(kind: KindInfo[Any], data: st.DataObject) -> None:
    spec = data.draw(damaged(full_spec(kind.kind)))
    assert schema_accepts(kind, spec) == model_accepts(kind, spec)
