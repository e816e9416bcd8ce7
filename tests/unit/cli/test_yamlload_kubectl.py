"""The loader against the real kubectl, which prints a file as it read it without a server (`label --local`)."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.build import ensure_binaries
from mlprivacy.manifests import scalars
from mlprivacy.manifests.yamlload import LoadError, load

from .traps import TRAPS

HEAD = "apiVersion: mlprivacy.dev/v1alpha1\nkind: TrainingJob\nmetadata: {name: x}\n"


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return ensure_binaries()["kubectl"]


def read_by_kubectl(kubectl: Path, folder: Path, text: str) -> list[dict[str, Any]] | None:
    """The objects as kubectl read them, or None when it refused the file."""
    file = folder / "object.yaml"
    file.write_text(text, encoding="utf-8")
    command = [str(kubectl), "label", "--local", "-o", "json", "-f", str(file), "q=r"]
    done = subprocess.run(
        command, env={"HOME": str(folder), "KUBECONFIG": "/dev/null"}, capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        return None
    decoder, found, text = json.JSONDecoder(), [], done.stdout.decode()
    while text.strip():
        value, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        value["metadata"].pop("labels", None)
        found += value["items"] if value["kind"] == "List" else [value]
    return found


def same(one: Any, two: Any) -> bool:
    """Equal, where true is no 1 and a number is equal however it is written."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return isinstance(one, bool) == isinstance(two, bool) and one == two


def test_every_trap_is_read_alike(kubectl: Path, tmp_path: Path) -> None:
    text = HEAD + "spec:\n" + "".join(f"  v{i}: {trap}\n" for i, trap in enumerate(TRAPS))
    found = read_by_kubectl(kubectl, tmp_path, text)
    assert found is not None
    for i, (trap, value) in enumerate(TRAPS.items()):
        assert same(found[0]["spec"][f"v{i}"], value), (trap, found[0]["spec"][f"v{i}"])


@given(st.lists(st.text(alphabet="0123456789+-_.eExXoObBTZ:aAfFnNyYtrusl~", min_size=1, max_size=9), max_size=400))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_plain_scalar_is_read_alike(kubectl: Path, tmp_path: Path, texts: list[str]) -> None:
    plain = []
    for text in texts:
        try:
            value = load(f"v: {text}\n")[0].value["v"]
        except LoadError:
            continue
        if not isinstance(value, float) or math.isfinite(value):
            plain.append((text, value))
    document = HEAD + "spec:\n  x: y\n" + "".join(f"  v{i}: {text}\n" for i, (text, _) in enumerate(plain))
    found = read_by_kubectl(kubectl, tmp_path, document)
    assert found is not None, document
    for i, (text, value) in enumerate(plain):
        assert same(found[0]["spec"][f"v{i}"], value), (text, value, found[0]["spec"][f"v{i}"])


WHOLE = {
    "documents": HEAD + "---\n# c\n---\n" + HEAD.replace("{name: x}", "{name: why}") + "spec: {a: 1}\n",
    "json": json.dumps({**load(HEAD)[0].value, "spec": {"a": 1e-5, "b": 5.0, "c": "\u2028😀"}}),
    "json, one after the other": '{"apiVersion":"a/v1","kind":"K","metadata":{"name":"a"}}\n'
    '{"apiVersion":"a/v1","kind":"K","metadata":{"name":"b"}}',
    "byte order mark": "\ufeff" + HEAD,
    "windows": (HEAD + "spec: {a: |\n  b}\n").replace("{a: |\n  b}", "\n  a: |\n    b\n    c\n").replace("\n", "\r\n"),
    "merge": HEAD + "base: &b {x: 1, z: 2}\nspec:\n  <<: *b\n  z: 3\n",
    "merge of two": HEAD + "spec:\n  <<: [{a: 1}, {a: 2, b: 2}]\n  c: 1\n",
    "anchors": HEAD + "a: &a [1, {b: c}]\nspec: {d: *a, e: *a}\n",
    "keys": HEAD + "spec: {1: a, yes: b, 0x10: c, 2029-01-01: d, 1_0: e}\n",
    "folded": HEAD + 'spec:\n  a: >-\n    one\n    two\n\n    three\n  b: "x\\\n    y"\n  c: one\n    two\n',
    "block with a keeping end": HEAD + "spec:\n  a: |+\n    x\n\n\n  b: |-\n    y\n",
    "empty values": HEAD + "spec:\n  a:\n  b: ''\n  c: []\n  d: {}\n",
    "odd indentation": HEAD + "spec:\n   a:\n   - b\n   -  c: 1\n      d: 2\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read_alike(name: str, kubectl: Path, tmp_path: Path) -> None:
    found = read_by_kubectl(kubectl, tmp_path, WHOLE[name])
    assert found is not None
    ours = [node.value for node in load(WHOLE[name])]
    assert len(found) == len(ours)
    for theirs, mine in zip(found, ours, strict=True):
        assert same(theirs, mine), (theirs, mine)


REFUSED_BY_BOTH = {
    "nan": HEAD + "spec: {a: .nan}\n",
    "infinity": HEAD + "spec: {a: -.inf}\n",
    "tab": HEAD + "spec:\n\ta: 1\n",
    "separator with text": HEAD + "--- spec: {}\n",
    "null key": HEAD + "spec: {~: 1}\n",
    "map as a key": HEAD + "spec:\n  ? {a: 1}\n  : 1\n",
    "unknown anchor": HEAD + "spec: {a: *b}\n",
    "anchor in itself": HEAD + "spec: &a [*a]\n",
    "open quote": HEAD + "spec: 'x\n",
    "control character": HEAD + "spec: {a: \x07}\n",
    "wrong type": HEAD + "spec: {a: !!int twelve}\n",
    "directive": "%YAML 1.1\n---\n" + HEAD,
}


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_what_kubectl_can_not_read_is_not_read_here_either(name: str, kubectl: Path, tmp_path: Path) -> None:
    assert read_by_kubectl(kubectl, tmp_path, REFUSED_BY_BOTH[name]) is None
    with pytest.raises(LoadError):
        load(REFUSED_BY_BOTH[name])


SILENT = {
    "duplicate key": (HEAD + "spec: {a: 1, a: 2}\n", {"a": 2}),
    "foreign tag": (HEAD + "spec: {a: !!python/name:os.system x}\n", {"a": "x"}),
    "second document after dots": (HEAD + "spec: {a: 1}\n...\nspec: {a: 2}\n", {"a": 1}),
    "merge below a key": (HEAD + "spec:\n  a: 1\n  <<: {a: 2}\n", {"a": 2}),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_kubectl_reads_against_what_people_mean_is_refused_here(name: str, kubectl: Path, tmp_path: Path) -> None:
    text, surprise = SILENT[name]
    found = read_by_kubectl(kubectl, tmp_path, text)
    assert found is not None
    assert found[0]["spec"] == surprise
    with pytest.raises(LoadError):
        load(text)


def test_numbers_keep_their_type_on_the_way_through_json() -> None:
    assert [type(scalars.as_json_number(n)) for n in (5.0, 5.5, 2**63, -(2**63), 1e18)] == [int, float, float, int, int]
