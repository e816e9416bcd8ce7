"""The YAML loader: what each trap means to kubectl, what is refused with a sentence, and where each value stands.

test_yamlload_kubectl.py holds the first table to the real kubectl.
"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.manifests.yamlload import MAX_DEPTH, LoadError, Node, decode, load, split_path

from .traps import TRAPS


def only(text: str) -> Node:
    (document,) = load(text)
    return document


@pytest.mark.parametrize(("text", "value"), TRAPS.items())
def test_a_plain_scalar_means_what_kubectl_reads(text: str, value: object) -> None:
    found = only(f"value: {text}\n").value["value"]
    assert found == value
    assert type(found) is type(value)


REFUSED = {
    "a: 1\nb: 2\na: 3\n": (3, "given twice (first on line 1)"),
    '{"a": 1,\n "a": 2}\n': (2, "given twice"),
    "on: 1\ntrue: 2\n": (2, "given twice"),  # both are the key "true"
    "a: .nan\n": (1, "no number that Kubernetes can hold"),
    "a: [1, -.inf]\n": (1, "no number that Kubernetes can hold"),
    '{"a": 1e999}\n': (1, "too large"),
    "a: !!python/object/apply:os.system [id]\n": (1, "tag"),
    "a: !!python/name:os.system x\n": (1, "tag"),
    "a: !secret x\n": (1, "the tag !secret is not accepted"),
    "a: !!binary aGk=\n": (1, "tag !!binary"),
    "a: !!set {x}\n": (1, "tag !!set"),
    "a: !!int twelve\n": (1, "can not be read as !!int"),
    "a: &x [*x]\n": (1, "contains itself"),
    "a: *nothing\n": (1, "no anchor &nothing"),
    "a:\n\tb: 1\n": (2, "tab"),
    "? [1, 2]\n: 3\n": (1, "can not be a key"),
    "~: 3\n": (1, "null can not be a key"),
    "1.5: 3\n": (1, "the number 1.5 can not be a key"),
    "a: 1\n...\nb: 2\n": (3, "second document"),
    "a: 1\n--- b: 2\n": (2, "separates documents"),
    "a: |\n  text\n---- more\n": (3, "separates documents"),
    "a: 1\n<<: {a: 2}\n": (1, "would overwrite it"),
    "a: b: c\n": (1, "mapping values are not allowed"),
    "a: 'x\n": (1, "quoted scalar"),
    "a: \x07\n": (1, "not one that YAML may hold"),
    '{"a": "\x01"}\n': (1, ""),
    "{'a': ]}\n": (1, "it is not"),
}


@pytest.mark.parametrize(("text", "line", "words"), [(t, *wanted) for t, wanted in REFUSED.items()])
def test_what_is_refused_is_refused_with_a_line_and_a_sentence(text: str, line: int, words: str) -> None:
    with pytest.raises(LoadError) as caught:
        load(text)
    assert words in caught.value.message
    assert caught.value.line == line


def test_documents_keep_their_lines_across_separators() -> None:
    text = "# first\na: 1\n---\n# nothing\n---  # why\n\nb:\n  - c: 2\n  - d: 3\n"
    first, second = load(text)
    assert (first.value, first.line) == ({"a": 1}, 2)
    assert (second.value, second.line) == ({"b": [{"c": 2}, {"d": 3}]}, 7)
    assert second.at("b[1].d").line == 9
    assert second.at("b[1].nothing.here").line == 9  # the deepest that exists


def test_json_documents_may_follow_each_other_and_keep_their_lines() -> None:
    first, second = load('{"a": {"b": [1,\n 2]}}\n{"c": "\\ud83d\\ude00", "d": 5.0}')
    assert first.at("a.b[1]").line == 2
    assert second.value == {"c": "😀", "d": 5}
    assert type(second.value["d"]) is int


def test_a_document_that_begins_like_json_may_be_flow_style_yaml() -> None:
    assert only("{a: b, c: [1e-5, yes]}\n").value == {"a": "b", "c": [1e-5, True]}


def test_anchors_and_merge_keys_are_filled_in() -> None:
    text = "base: &base {x: 1, z: 2}\nother:\n  <<: *base\n  z: 3\nlist: [*base, *base]\n"
    assert only(text).value == {
        "base": {"x": 1, "z": 2},
        "other": {"x": 1, "z": 3},
        "list": [{"x": 1, "z": 2}, {"x": 1, "z": 2}],
    }


def test_the_first_of_several_merged_maps_wins() -> None:
    assert only("<<: [{a: 1}, {a: 2, b: 2}]\n").value == {"a": 1, "b": 2}


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(LoadError, match="3 MiB once its aliases are filled in"):
        load("\n".join(lines))


def test_nesting_is_bounded_also_through_aliases() -> None:
    for text in ("[" * 5000, "{" * 5000, '{"a":' * 5000, "- " * 5000):
        with pytest.raises(LoadError):
            load(text)
    chain = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5)]
    with pytest.raises(LoadError, match="nested deeper"):
        load("\n".join(chain))


def test_a_byte_order_mark_and_windows_line_ends_are_accepted_and_utf16_is_not() -> None:
    assert only(decode(b"\xef\xbb\xbfa: 1\r\nb: two\r\n")).value == {"a": 1, "b": "two"}
    with pytest.raises(LoadError, match="save it as UTF-8"):
        decode("a: 1".encode("utf-16"))
    with pytest.raises(LoadError, match="is not UTF-8") as caught:
        decode(b"a: 1\nb: \xff\n")
    assert caught.value.line == 2


def test_empty_documents_are_left_out() -> None:
    assert load("") == load("# only a comment\n---\n\n---\n") == []


def test_half_a_surrogate_pair_in_json_becomes_the_replacement_character() -> None:
    assert only('{"a": "\\ud800x"}').value == {"a": "\ufffdx"}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.datasets[0].name", ["spec", "datasets", 0, "name"]),
        ("metadata.labels[mlprivacy.dev/enforce]", ["metadata", "labels", "mlprivacy.dev/enforce"]),
        ("", []),
    ],
)
def test_a_field_path_is_split_into_keys_and_indices(path: str, parts: list[object]) -> None:
    assert list(split_path(path)) == parts


def finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and finite(item) for key, item in value.items())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def attempt(raw: bytes) -> list[Node]:
    """What was read, or nothing where it was refused; any other exception fails the test."""
    try:
        return load(decode(raw))
    except LoadError as error:
        return [] if error.message else [Node(error, 0, 0)]


YAML_ALPHABET = st.sampled_from(
    [*"abz019 \t\n:-?[]{},&*!|>'\"%@`#.~<\\/_+eE\x00\x07\ufeff\ud800é😀", "<<: ", "---", "..."]
)


@given(st.lists(YAML_ALPHABET, max_size=60).map("".join) | st.text(max_size=200))
@settings(max_examples=600, deadline=None)
def test_any_text_is_read_or_refused_with_a_sentence_and_never_breaks(text: str) -> None:
    for document in attempt(text.encode("utf-8", "replace")):
        assert finite(document.value)
        json.dumps(document.value).encode()


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    attempt(raw)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), JSON_VALUES, min_size=1, max_size=4), st.sampled_from([None, 1, 2]))
@settings(deadline=None)
def test_json_is_read_as_json(value: dict[str, object], indent: int | None) -> None:
    assert only(json.dumps(value, indent=indent)).value == value
