"""Texts of warnings and refusals: within the API server's bounds, with the remedy whole, so that it can be copied."""

from dataclasses import replace

import pytest

from mlprivacy.admission.wording import MAX_LINE, MAX_TOTAL, MAX_WARNING, bounded, held_afterwards, lines
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Finding

DIGEST = "sha256:" + "a" * 64
FOUND = Finding(
    "impact-assessment",
    Action.WARN,
    Reason.BREACH,
    "spec.impactAssessment",
    "too long " * 60,
    f"set digest: {DIGEST}, now",
)


def test_a_short_one_is_one_warning():
    assert bounded(["a: b: no. To fix it: yes."]) == ("a: b: no. To fix it: yes.",)


def test_of_a_long_one_the_message_is_cut_and_never_the_remedy():
    first, second = bounded([FOUND.sentence()])
    assert first.endswith("…")
    assert second == f"impact-assessment: spec.impactAssessment: To fix it: set digest: {DIGEST}, now."


def test_what_enforce_would_do_is_not_cut_either():
    first, _ = bounded([replace(FOUND, under_enforce=Action.DENY).sentence()])
    assert first.endswith("Under Enforce the job would be refused.")
    assert len(first) <= MAX_WARNING


@pytest.mark.parametrize("words", [10, 50, 90])
def test_a_remedy_of_many_words_is_wrapped_between_them(words):
    remedy = " ".join([DIGEST] * 2 + ["word"] * words)
    told = bounded([replace(FOUND, remedy=remedy).sentence()])
    assert all(len(text) <= MAX_WARNING for text in told)
    assert sum(text.count(DIGEST) for text in told) == 2


def test_all_of_them_leave_room_for_the_warnings_of_others_and_count_what_is_left_out():
    long = [replace(FOUND, path=f"spec.a{i}", remedy="word " * 180).sentence() for i in range(5)]
    told = bounded(long, more="look there")
    assert sum(map(len, told)) <= MAX_TOTAL + MAX_WARNING
    assert told[-1].endswith("more; look there")


def test_a_line_of_a_refusal_keeps_its_remedy():
    text = lines([FOUND.sentence()])
    assert len(text) <= MAX_LINE
    assert text.endswith(f"set digest: {DIGEST}, now.")


def test_holds_after_a_refusal_are_one_line():
    assert held_afterwards([]) == ""
    told = held_afterwards([replace(FOUND, path=f"spec.a{i}") for i in range(7)])
    assert told.startswith("It would then be held: impact-assessment (spec.a0), impact-assessment (spec.a1), ")
    assert ", and 2 more; `mlprivacy check FILE` shows all" in told
