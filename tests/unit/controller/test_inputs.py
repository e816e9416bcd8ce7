"""What the status of inputs says: words that no vocabulary has, packs that are missing or can not be used."""

from __future__ import annotations

from typing import Any, cast

from builders import data_class, parsed, policy

from mlprivacy.api.reasons import ConditionType
from mlprivacy.controller.inputs import Inputs
from mlprivacy.policy.pack_check import shelf_of
from mlprivacy.policy.packs import Shelf, built_in_shelf
from mlprivacy.policy.policy_check import policy_warnings

BAD = {"metadata": {"name": "acme", "labels": {"mlprivacy.dev/pack": "true"}}, "data": {"pack.yaml": "name: 1\n"}}


class Facts:
    """Packs, and nothing else."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def packs(self) -> Shelf:
        return self._shelf


def judged(raw: dict[str, Any], shelf: Shelf | None = None) -> dict[ConditionType, tuple[str, Any, str]]:
    unused = cast("Any", None)
    inputs = Inputs(cast("Any", Facts(shelf or built_in_shelf())), unused, unused, unused)
    return inputs._judge(parsed(raw), {})


def test_an_unknown_key_is_told_and_not_refused():
    said = judged(data_class(categories=["user.helth"]))
    assert said[ConditionType.ACCEPTED][0] == "True"
    assert "user.helth is no data category of Fideslang; did you mean" in said[ConditionType.ACCEPTED][2]
    assert said[ConditionType.READY][0] == "True"


def test_a_known_key_is_no_news():
    assert judged(data_class())[ConditionType.ACCEPTED][2] == "the spec can be read."


def test_a_pack_that_is_not_there():
    said = judged(policy(packs=[{"name": "acme"}]))
    assert said[ConditionType.READY][0] == "False"
    assert "The pack acme is not installed" in said[ConditionType.READY][2]


def test_a_pack_that_can_not_be_used_says_why():
    said = judged(policy(packs=[{"name": "acme"}]), shelf_of([BAD]))
    assert said[ConditionType.READY][0] == "False"
    assert "The pack acme can not be used, so jobs under this policy hold: line 1: " in said[ConditionType.READY][2]


def test_at_apply_it_is_a_warning():
    (said,) = policy_warnings(parsed(policy(packs=[{"name": "acme"}])).spec, shelf_of([BAD]))
    assert said.path == "spec.packs[0].name"
    assert "can not be used (line 1: " in said.message
    assert policy_warnings(parsed(policy(packs=[{"name": "baseline"}, {"name": "us-hipaa"}])).spec) == ()
