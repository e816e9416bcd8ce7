"""Specs that are too large: refused by one sentence, whatever is in them, and the looking stops where the bound is."""

import json

import pytest
from builders import change, decide, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Verdict
from mlprivacy.policy.size import SPEC_MAX, too_large

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
)


@given(JSON)
def test_small_things_are_not_too_large(value):
    assert not too_large(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * SPEC_MAX,
        ["x" * 1000] * 200,
        [0] * SPEC_MAX,
        [[]] * SPEC_MAX,
        {str(n): None for n in range(SPEC_MAX // 8)},
        {"a": {"b": [{"c": "x" * SPEC_MAX}]}},
    ],
)
def test_large_things_are(value):
    assert len(json.dumps(value)) >= SPEC_MAX
    assert too_large(value)


def test_depth_alone_is_no_matter():
    deep = "x"
    for _ in range(20_000):
        deep = [deep]
    assert not too_large(deep)


def test_the_decision_says_so_in_one_finding():
    job = change(training_job(), "spec.template.spec.containers[0].args", ["x" * 1000] * 1000)
    decision = decide(job)
    assert [(f.reason, f.path) for f in decision.findings] == [(Reason.INVALID_SPEC, "spec")]
    assert (decision.verdict, "128 KiB" in decision.findings[0].message) == (Verdict.DENY, True)
