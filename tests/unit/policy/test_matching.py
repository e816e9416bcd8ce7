"""Matching of dotted keys: a grant covers itself and what lies below it, nothing that merely begins alike."""

import pytest
from builders import decide, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.matching import covered_by_any, covers, folded, is_key
from mlprivacy.policy.model import Verdict

WORDS = st.from_regex(r"[a-z][a-z0-9]{0,4}(_[a-z0-9]{1,3})?", fullmatch=True)
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
        ("train_ai_system", "train_ai_system.", False),
        ("train_ai_system", "train_ai_system..x", False),
        ("train_ai_system", "train_ai_system. x", False),
        ("train_ai_system", "train_ai_system.x__y", False),
        ("train_ai_system", "train_ai_system.x_", False),
        ("", "", False),
        ("", ".x", False),
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


# Letters that look like ASCII ones, or become them under some normalisation or change of case.
LOOK_ALIKES = {
    "a": "аａᵃªＡAàȧ", "e": "еｅᵉEé", "i": "іｉⁱİıI", "o": "оｏºO0", "p": "рｐP", "c": "сｃC", "s": "ѕｓſS", "t": "ｔT",
    "x": "хｘX", "y": "уｙY", "n": "ｎⁿN", "r": "ｒR", "k": "ｋK", "_": "＿-‿ ", ".": "．。․",
}  # fmt: skip
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u0301\u202e\x00 \t\n"


@st.composite
def disguised(draw):
    """A granted key, and one that reads like it or like something below it."""
    key = ".".join(draw(KEYS))
    asked = key + draw(st.sampled_from(["", ".sub", ".sub.sub"]))
    at = draw(st.integers(0, len(asked) - 1))
    swaps = LOOK_ALIKES.get(asked[at], "")
    if swaps and draw(st.booleans()):
        asked = asked[:at] + draw(st.sampled_from(swaps)) + asked[at + 1 :]
    elif draw(st.booleans()):
        at = draw(st.integers(0, len(asked)))
        asked = asked[:at] + draw(st.sampled_from(INVISIBLE)) + asked[at:]
    else:
        asked = draw(st.sampled_from([asked.upper(), asked.title(), asked.swapcase()]))
    return key, asked


@given(disguised())
def test_no_look_alike_no_case_and_no_normalisation_is_covered(pair):
    key, asked = pair
    truly = asked == key or (asked.startswith(key + ".") and is_key(asked))
    assert covers(key, asked) is truly
    if not asked.isascii():
        assert not covers(key, asked), "whatever a normalisation would make of it"


@given(KEYS, st.text(max_size=12))
def test_whatever_is_appended_only_a_well_formed_key_below_is_covered(key, tail):
    whole = ".".join(key)
    below = tail.startswith(".") and is_key(whole + tail)
    assert covers(whole, whole + tail) is (tail == "" or below)


@given(st.text(), st.text())
def test_a_decomposed_letter_is_another_key(one, two):
    assert covers(one, two) is (one == two != "" or (two.startswith(one + ".") and is_key(two)))


@given(KEYS)
def test_a_prohibition_is_met_however_it_is_written(key):
    plain = ".".join(w.strip("_") or "a" for w in key)
    plain = "_".join(p for p in plain.split("_") if p) if "__" in plain else plain
    for written in (plain.upper(), f" {plain} ", plain.replace("_", " "), plain.replace("_", "-"),
                    "".join(chr(ord(c) + 0xFEE0) if c != "." else c for c in plain), f"\u200b{plain}"):  # fmt: skip
        assert folded(written) == folded(plain)
    assert folded("Social  Scoring") == "social_scoring"
