"""Matching of dotted keys: a grant covers itself and what lies below it, nothing that merely begins alike."""

import pytest
from builders import decide, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.matching import covered_by_any, covers
from mlprivacy.policy.model import Verdict

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
KEYS = st.lists(WORDS, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("granted", "asked", "covered"),
    [
        ("train_ai_system", "train_ai_system", True),
        ("train_ai_system", "train_ai_system.vision", True),
        ("train_ai_system", "train_ai_systemX", False),
        ("train_ai_system", "train_ai_system_x", False),
        ("train_ai_system.vision", "train_ai_system", False),
        ("train_ai_system", "improve.train_ai_system", False),
        ("train_ai_system", "train_ai_system.", True),  # never passes the schema
        ("train_ai_system", "", False),
    ],
)
def test_examples(granted, asked, covered):
    assert covers(granted, asked) is covered


@given(KEYS, KEYS)
def test_one_key_covers_another_exactly_when_it_is_a_prefix_word_by_word(granted, asked):
    assert covers(".".join(granted), ".".join(asked)) is (asked[: len(granted)] == granted)


@given(KEYS, WORDS)
def test_a_longer_last_word_is_another_key(key, more):
    assert not covers(".".join(key), ".".join(key) + more)


@given(st.lists(KEYS, max_size=4), KEYS)
def test_any_of_several(granted, asked):
    keys = [".".join(k) for k in granted]
    assert covered_by_any(keys, ".".join(asked)) is any(asked[: len(k)] == k for k in granted)


@pytest.mark.parametrize(
    "purpose",
    [
        "trаin_ai_system",  # a Cyrillic а
        "ｔrain_ai_system",  # a full-width t
        "train_ai_system\u200b",  # a zero-width space
        "train_ai_system ",
        "train_ai_system\n",
        "Train_ai_system",
        "train_ai_systemX",
        "train_ai_system.",
        ".train_ai_system",
        "train_ai_system..x",
    ],
)
def test_look_alikes_are_no_purpose(purpose):
    decision = decide(training_job(purpose=purpose))
    assert decision.verdict is Verdict.DENY
    assert {f.path for f in decision.findings} == {"spec.purpose"}
