"""Conditions: the transition time moves with the status alone, messages are bounded, equality spares writes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.text import printable
from mlprivacy.kube.conditions import (
    MESSAGE_BYTES,
    bounded,
    get_condition,
    is_true,
    same_conditions,
    set_condition,
    timestamp,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(hours=1)


def accepted(conditions, status, *, reason="Allowed", message="fine", generation=1, now=T0):
    return set_condition(conditions, "Accepted", status, reason, message, observed_generation=generation, now=now)


def test_the_transition_time_moves_only_with_the_status():
    first = accepted([], "True")
    same = accepted(first, "True", reason="Other", message="new words", generation=2, now=T1)
    assert same[0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert (same[0]["reason"], same[0]["observedGeneration"]) == ("Other", 2)
    changed = accepted(same, "False", now=T1)
    assert changed[0]["lastTransitionTime"] == "2026-01-01T01:00:00Z"


def test_others_keep_their_place_and_the_input_is_not_changed():
    before = [{"type": "Ready", "status": "False"}, {"type": "Accepted", "status": "Unknown"}, {"type": "Stalled"}]
    after = accepted(before, "True")
    assert [c["type"] for c in after] == ["Ready", "Accepted", "Stalled"]
    assert before[1] == {"type": "Accepted", "status": "Unknown"}


def test_setting_the_same_again_later_needs_no_write():
    before = accepted(None, "True")
    assert same_conditions(before, accepted(before, "True", now=T1))
    assert not same_conditions(before, accepted(before, "True", message="other", now=T1))
    assert same_conditions(None, [])
    assert same_conditions([{"type": "A"}, {"type": "B"}], [{"type": "B"}, {"type": "A"}])


def test_reading():
    conditions = accepted(None, "True", generation=3)
    assert get_condition(conditions, "Accepted")["reason"] == "Allowed"
    assert get_condition(None, "Accepted") is None
    assert is_true(conditions, "Accepted")
    assert is_true(conditions, "Accepted", generation=3)
    assert not is_true(conditions, "Accepted", generation=4)


@pytest.mark.parametrize("reason", ["", "two words", "ümlaut", "trailing,", "1st", "a" * 1025])
def test_a_reason_that_the_api_would_refuse_is_refused_here(reason):
    with pytest.raises(ValueError, match="CamelCase"):
        accepted(None, "True", reason=reason)


def test_times_are_utc():
    assert timestamp(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01T00:00:00Z"
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2026, 1, 1))


@given(st.text(max_size=4000))
def test_messages_fit_and_stay_readable(text):
    cut = bounded(text)
    assert len(cut.encode()) <= MESSAGE_BYTES
    assert cut == printable(text) or cut.endswith("…")
    assert cut.isprintable()


def test_a_message_is_one_line_without_control_characters() -> None:
    said = "bad\nAccepted: True \x1b[31m\u202eevil"
    made = set_condition([], "Ready", "False", "Bad", said, observed_generation=1, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert made[0]["message"] == "bad Accepted: True  [31m evil"
