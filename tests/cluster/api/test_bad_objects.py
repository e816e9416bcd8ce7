"""Every entry of bad_objects.yaml is refused by the API server and by parse_spec, and both name the same field."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlprivacy.api.base import FieldError, parse_spec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import API_VERSION

Example = Callable[..., dict[str, Any]]


class Table(yaml.SafeLoader):
    """Reads the table, with tags for what is too large to write down."""


def _nested(depth: int) -> dict[str, Any]:
    return functools.reduce(lambda inner, _: {"x": inner}, range(depth), {})


def _numbered(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[str]:
    pattern, times = loader.construct_sequence(node)
    return [pattern.format(number) for number in range(times)]


Table.add_constructor("!repeat", lambda loader, node: "".join(_repeat(*loader.construct_sequence(node))))
Table.add_constructor("!numbered", _numbered)
Table.add_constructor("!numbered_map", lambda loader, node: dict.fromkeys(_numbered(loader, node), 1))
Table.add_constructor("!nested", lambda loader, node: _nested(int(loader.construct_scalar(node))))


def _repeat(text: str, times: int) -> list[str]:
    return [text] * times


@dataclass(frozen=True)
class Bad:
    """One entry of the table."""

    name: str
    kind: str
    says: str
    set: dict[str, Any] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    full: bool = False
    offline: bool = True

    def build(self, example: Example) -> dict[str, Any]:
        """The example with the changes of this entry."""
        manifest = example(self.kind, full=self.full)
        for path, value in self.set.items():
            parent, last = _find(manifest, path)
            parent[last] = value
        for path in self.drop:
            parent, last = _find(manifest, path)
            del parent[last]
        return manifest


def _find(manifest: dict[str, Any], path: str) -> tuple[Any, Any]:
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    parent: Any = manifest
    for step in steps:
        parent = parent.setdefault(step, {}) if isinstance(parent, dict) else parent[step]
    return parent, last


TABLE = [
    Bad(**entry)
    for entry in yaml.load((Path(__file__).parent / "bad_objects.yaml").read_text(encoding="utf-8"), Table)  # noqa: S506
]


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name.replace(" ", "-"))
def test_the_server_refuses_and_names_the_field(bad: Bad, server: Any, example: Example) -> None:
    answer = server.create(bad.build(example), bad.kind)
    assert not answer.accepted
    assert bad.says in answer.text


@pytest.mark.parametrize("bad", [bad for bad in TABLE if bad.offline], ids=lambda bad: bad.name.replace(" ", "-"))
def test_reading_the_file_names_the_same_field(bad: Bad, example: Example) -> None:
    kind = kind_named(bad.kind)
    assert kind is not None
    parsed = parse_spec(kind, bad.build(example))
    found: list[FieldError] = [*parsed.errors, *parsed.unknown]
    # The server names the list or the entry that is the duplicate; either leads to the place.
    assert any(error.path.startswith(bad.says) or bad.says.startswith(error.path) for error in found), found


def test_the_table_is_large_and_names_each_case_once() -> None:
    assert len(TABLE) >= 60
    assert len({bad.name for bad in TABLE}) == len(TABLE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_no_number_that_is_none_gets_through(number: str, server: Any, example: Example) -> None:
    """JSON has no such numbers, so the server cannot read the request; a file that was read says which field."""
    manifest = example("TrainingJob", full=True)
    manifest["spec"]["privacy"]["epsilon"] = float(number)
    assert not server.create(manifest, "TrainingJob").accepted
    kind = kind_named("TrainingJob")
    assert kind is not None
    assert [error.path for error in parse_spec(kind, manifest).errors] == ["spec.privacy.epsilon"]


def test_a_key_written_twice_is_refused_by_name(server: Any) -> None:
    body = as_text("DataClass", '{"categories":["a"],"sensitivity":"Public","sensitivity":"Restricted"}')
    answer = server.create(body, "DataClass")
    assert not answer.accepted
    assert 'duplicate field "spec.sensitivity"' in answer.text


def test_an_object_deeper_than_json_is_read_is_refused(server: Any) -> None:
    """As text, since Python's own encoder gives up before the server does."""
    template = '{"x":' * 11_000 + "1" + "}" * 11_000
    body = as_text("TrainingJob", f'{{"template":{template}}}')
    answer = server.create(body, "TrainingJob")
    assert not answer.accepted
    assert "exceeded max depth" in answer.text


def as_text(kind: str, spec: str) -> str:
    """An object whose spec is given as JSON text, well-formed or not."""
    return f'{{"apiVersion":"{API_VERSION}","kind":"{kind}","metadata":{{"name":"x"}},"spec":{spec}}}'
