"""parse_spec reports what is wrong with a raw object by its path, and never raises, whatever the JSON."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.base import FieldError, Parsed, dotted, parse_spec
from mlprivacy.api.kinds import kind_named, modelled_kinds

EXAMPLES = Path(__file__).parents[2] / "cluster" / "api" / "examples"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def example(kind: str, *, full: bool = True) -> dict[str, Any]:
    documents = list(yaml.safe_load_all((EXAMPLES / f"{kind.lower()}.yaml").read_text(encoding="utf-8")))
    found: dict[str, Any] = documents[1 if full else 0]
    return found


def read(raw: Any, kind: str = "TrainingJob") -> Parsed[Any]:
    info = kind_named(kind)
    assert info is not None
    return parse_spec(info, raw)


@pytest.mark.parametrize("kind", modelled_kinds(), ids=lambda kind: kind.kind)
def test_a_good_object_is_read_whole(kind: Any) -> None:
    raw = example(kind.kind)
    raw["metadata"] |= {"uid": "u-1", "generation": 4}
    parsed = parse_spec(kind, raw)
    assert isinstance(parsed.spec, kind.spec)
    assert (parsed.errors, parsed.unknown) == ((), ())
    assert (parsed.name, parsed.uid, parsed.generation) == (raw["metadata"]["name"], "u-1", 4)
    assert parsed.raw is raw


def test_an_unknown_field_is_reported_and_the_rest_is_read() -> None:
    """A rolled-back operator meets fields of its successor and goes on."""
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["tau"] = 1
    raw["spec"]["datasets"][1]["hint"] = "x"
    parsed = read(raw)
    assert {error.path for error in parsed.unknown} == {"spec.privacy.tau", "spec.datasets[1].hint"}
    assert all(error.unknown for error in parsed.unknown)
    assert parsed.errors == ()
    assert parsed.spec == read(example("TrainingJob")).spec


def test_bad_values_are_reported_all_at_once() -> None:
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["epsilon"] = -1
    raw["spec"]["datasets"][0]["columns"] = "age"
    del raw["spec"]["purpose"]
    raw["spec"]["egress"] = "Open"
    parsed = read(raw)
    assert parsed.spec is None
    assert {error.path for error in parsed.errors} == {
        "spec.privacy.epsilon",
        "spec.datasets[0].columns",
        "spec.purpose",
    }
    assert [error.path for error in parsed.unknown] == ["spec.egress"]


@pytest.mark.parametrize("value", ["5", True, 5.5, float("nan"), float("inf"), [], {}])
def test_a_whole_number_is_nothing_else(value: Any) -> None:
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["epochs"] = value
    assert [error.path for error in read(raw).errors] == ["spec.privacy.epochs"]


def test_five_point_zero_is_five() -> None:
    """JSON has one kind of number; so does the API server."""
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["epochs"] = 5.0
    assert read(raw).spec.privacy.epochs == 5


@pytest.mark.parametrize("value", ["no", "true", 0, 1, "1"])
def test_a_truth_value_is_nothing_else(value: Any) -> None:
    raw = example("TrainingJob")
    raw["spec"]["suspend"] = value
    assert [error.path for error in read(raw).errors] == ["spec.suspend"]


def test_python_names_are_not_wire_names() -> None:
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["batch_size"] = raw["spec"]["privacy"].pop("batchSize")
    parsed = read(raw)
    assert [error.path for error in parsed.unknown] == ["spec.privacy.batch_size"]
    assert parsed.errors == (
        FieldError("spec.privacy", "mechanism DPSGD needs epsilon, batchSize, epochs and maxGradNorm"),
    )


def test_a_rule_between_fields_names_the_field_that_it_is_about() -> None:
    raw = example("Dataset")
    raw["spec"]["subjects"]["column"] = "person"
    assert read(raw, "Dataset").errors == (
        FieldError("spec.subjects.column", "subjects.column must be one of columns[].name"),
    )


def test_a_parameter_is_named_by_its_key() -> None:
    raw = example("PrivacyPolicy")
    raw["spec"]["parameters"]["consent.maxAge"] = 0.5
    assert [error.path for error in read(raw, "PrivacyPolicy").errors] == ["spec.parameters[consent.maxAge]"]


def test_a_name_too_long_for_what_is_rendered_from_it() -> None:
    raw = example("TrainingJob")
    raw["metadata"]["name"] = "a" * 41
    parsed = read(raw)
    assert [error.path for error in parsed.errors] == ["metadata.name"]
    assert parsed.spec is None


def test_a_generated_name_is_judged_once_it_is_there() -> None:
    raw = example("TrainingJob")
    raw["metadata"] = {"generateName": "run-"}
    assert read(raw).errors == ()


def test_the_object_given_is_not_changed() -> None:
    raw = example("TrainingJob")
    raw["spec"]["privacy"]["delta"] = None
    before = copy.deepcopy(raw)
    read(raw)
    assert raw == before


@pytest.mark.parametrize("raw", [None, [], "x", 1, {}, {"spec": None}, {"spec": []}, {"metadata": [], "spec": 3}])
def test_without_a_spec_that_is_what_is_said(raw: Any) -> None:
    parsed = read(raw)
    assert [error.path for error in parsed.errors] == ["spec"]
    assert "every object of this kind needs a spec" in parsed.errors[0].message


def test_a_path_reads_as_people_write_it() -> None:
    assert dotted(("datasets", 0, "name")) == "spec.datasets[0].name"
    assert dotted(("matchLabels", "mlprivacy.dev/region")) == "spec.matchLabels[mlprivacy.dev/region]"
    assert dotted((), root="status") == "status"


@given(raw=JSON | st.fixed_dictionaries({"metadata": JSON, "spec": JSON}))
def test_no_json_makes_it_raise(raw: Any) -> None:
    for kind in modelled_kinds():
        parsed = parse_spec(kind, raw)
        assert (parsed.spec is None) == bool(parsed.errors)


def test_depth_does_not_make_it_raise() -> None:
    deep: Any = {}
    for _ in range(20_000):
        deep = {"x": deep}
    raw = example("TrainingJob")
    raw["spec"]["template"] = deep
    assert read(raw).spec.template == deep or read(raw).errors
    raw["spec"]["privacy"] = deep
    assert read(raw).spec is None


def test_a_bad_entry_is_said_once() -> None:
    """Pydantic adds that the list is too short, since it counts the good entries; the list is long enough."""
    raw = example("DatasetGrant")
    raw["spec"]["from"][0]["kind"] = "Pod"
    assert [error.path for error in read(raw, "DatasetGrant").errors] == ["spec.from[0].kind"]
    raw["spec"]["from"] = []
    assert [error.path for error in read(raw, "DatasetGrant").errors] == ["spec.from"]


def test_a_null_in_a_map_is_absent() -> None:
    raw = example("PrivacyPolicy")
    raw["spec"]["parameters"] = {"consent.maxAge": None, "a.b": 1}
    assert read(raw, "PrivacyPolicy").spec.parameters == {"a.b": 1}
