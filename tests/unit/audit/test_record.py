"""A record's bytes and hash: canonical, refused when ambiguous, and changed by nobody unnoticed."""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.audit.record import (
    MAX_LINE,
    Event,
    Record,
    RecordError,
    Subject,
    canonical,
    event_id,
    genesis,
    rfc3339,
)

SUBJECT = Subject("TrainingJob", "research", "diagnosis", "6f1c")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def record(data: dict[str, object]) -> Record:
    event = Event("2026-03-01T12:00:00Z", event_id("decision", "6f1c", 1), "decision", SUBJECT, data)
    return Record.link("controller", 1, genesis("controller"), event)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
def test_a_record_reads_back_from_its_own_line(data: dict[str, object]) -> None:
    made = record(data)
    assert Record.parse(made.line) == made


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=3))
def test_anyone_can_recompute_the_hash_by_cutting_it_out_of_the_line(data: dict[str, object]) -> None:
    made = record(data)
    without = made.line.replace(b'"hash":"' + made.hash.encode() + b'",', b"")
    assert hashlib.sha256(without).hexdigest() == made.hash
    fields = json.loads(made.line)
    del fields["hash"]
    assert canonical(fields) == without


@given(st.data())
def test_no_byte_of_a_line_changes_unnoticed(data: st.DataObject) -> None:
    line = record({"rule": "egress", "ε": 1.5, "ok": True}).line
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    with pytest.raises(RecordError):
        Record.parse(line[:at] + bytes([other]) + line[at + 1 :])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b"{" * 100_000,
        b"[" * 100_000,
        b"\xff\xfe",
        record({"a": 1}).line.replace(b'"a":1', b'"a":1,"a":1'),
        record({"a": 1}).line.replace(b'"a":1', b'"a": 1'),
        record({"a": 1}).line.replace(b'"a":1', b'"a":NaN'),
        record({"a": 1}).line.replace(b'"v":1', b'"v":true'),
        record({"a": 1}).line.replace(b'"seq":1', b'"seq":1e0'),
        record({"a": 1}).line + b" ",
    ],
)
def test_what_is_not_a_canonical_record_is_refused(line: bytes) -> None:
    with pytest.raises(RecordError):
        Record.parse(line)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"x": float("nan")}, "NaN"),
        ({"x": float("inf")}, "infinite"),
        ({"x": 2**63}, "64 bits"),
        ({"x": "\ud800"}, "surrogate"),
        ({1: "x"}, "not a string"),
        ({"x": {1, 2}}, "not JSON"),
        ({"x": "a" * MAX_LINE}, "bytes long"),
    ],
)
def test_data_that_json_cannot_say_in_one_way_is_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        record(data)


def test_nesting_is_bounded() -> None:
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(RecordError, match="nested deeper than 32"):
        record({"x": deep})


def test_the_same_parts_give_the_same_id_and_other_splits_another() -> None:
    assert event_id("decision", "6f1c", 3, "ab") == event_id("decision", "6f1c", 3, "ab")
    assert event_id("a", "bc") != event_id("ab", "c")
    assert event_id("a", None) != event_id("a", "null")
    assert event_id("a", 1) != event_id("a", "1")


def test_each_writer_begins_at_a_genesis_of_its_own() -> None:
    assert genesis("admission") != genesis("controller")


def test_times_are_utc() -> None:
    noon = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(noon) == "2026-03-01T12:00:00.000000Z"
    assert re.fullmatch(r"2026-03-01T12:00:00\.000000Z", rfc3339(noon.astimezone(UTC)))
    with pytest.raises(RecordError, match="no time zone"):
        rfc3339(datetime(2026, 3, 1))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time": "2026-03-01 12:00:00"}, "time"),
        ({"time": "2026-03-01T12:00:00+01:00"}, "time"),
        ({"time": 5}, "strings"),
        ({"id": "AB" * 32}, "id"),
        ({"kind": "Decision"}, "kind"),
        ({"data": []}, "data"),
        ({"subject": {"kind": "Pod"}}, "subject"),
        ({"subject": {"kind": "Pod", "namespace": 1, "name": "", "uid": ""}}, "subject.namespace"),
        ({"extra": 1}, "exactly"),
    ],
)
def test_a_bad_event_is_refused_by_the_field(
    event: Callable[..., Event], change: dict[str, object], field: str
) -> None:
    with pytest.raises(RecordError, match=field):
        Event.parse({**event(1).as_dict(), **change})
