"""What the status of inputs says: words that no vocabulary has, packs that are missing or can not be used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from builders import data_class, parsed, policy, selecting

from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.controller.inputs import Inputs
from mlprivacy.policy.pack_check import shelf_of
from mlprivacy.policy.packs import Shelf, built_in_shelf
from mlprivacy.policy.policy_check import policy_warnings

BAD = {"metadata": {"name": "acme", "labels": {"mlprivacy.dev/pack": "true"}}, "data": {"pack.yaml": "name: 1\n"}}


WHERE = {"clinic": "enforce", "research": "audit"}


class Facts:
    """Packs, namespaces, and expressions that are wrong when their text says so."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def packs(self) -> Shelf:
        return self._shelf

    def governed(self) -> dict[str, dict[str, str]]:
        return {
            name: {"mlprivacy.dev/enforce": level, "kubernetes.io/metadata.name": name} for name, level in WHERE.items()
        }

    async def expression_errors(self, texts: Sequence[str]) -> dict[str, str]:
        return {text: "at 1:1: Syntax error" for text in texts if text == "1 +"}

    async def expression_trial(self, texts: Sequence[str]) -> dict[str, dict[str, str]]:
        kinds = ("TrainingJob", "InferenceJob")
        return {t: {k: "no such key" for k in kinds if k in t or "never" in t} for t in texts if t != "true"}


def judged(raw: dict[str, Any], shelf: Shelf | None = None) -> dict[ConditionType, tuple[str, Any, str]]:
    unused = cast("Any", None)
    inputs = Inputs(cast("Any", Facts(shelf or built_in_shelf())), unused, unused, unused)
    return asyncio.run(inputs._judge(parsed(raw)))


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


def custom(expression: str) -> dict[str, Any]:
    return policy(custom=[{"id": "own", "expression": expression, "message": "No."}])


def test_what_only_people_can_mend_is_stalled():
    for raw, reason in (
        (policy(packs=[{"name": "us-hippa"}]), Reason.PACK_NOT_FOUND),
        (policy(parameters={"audit-retention.minimumDays": "-10"}), Reason.INVALID_POLICY),
        (custom("1 +"), Reason.INVALID_POLICY),
    ):
        said = judged(raw)
        assert said[ConditionType.READY][:2] == ("False", reason)
        assert said[ConditionType.STALLED] == ("True", reason, said[ConditionType.READY][2])
    assert "did you mean us-hipaa?" in judged(policy(packs=[{"name": "us-hippa"}]))[ConditionType.READY][2]


def test_a_custom_rule_that_works_for_no_job_makes_the_policy_not_ready():
    said = judged(custom("never"))
    assert said[ConditionType.READY][:2] == said[ConditionType.CUSTOM_RULES_WORK][:2] == ("False", "CustomRuleFails")
    assert "The custom rule own does not work: on a sample TrainingJob" in said[ConditionType.READY][2]
    assert said[ConditionType.STALLED][0] == "True"


def test_one_that_works_for_one_kind_of_job_is_told():
    said = judged(custom("job.kind == 'InferenceJob'"))
    assert said[ConditionType.CUSTOM_RULES_WORK][0] == "False"
    assert said[ConditionType.READY][0] == "True"
    assert "so InferenceJobs under this policy hold" in said[ConditionType.READY][2]
    assert judged(custom("true"))[ConditionType.CUSTOM_RULES_WORK][0] == "True"


def test_a_policy_says_which_namespaces_it_selects():
    def note(**spec: Any) -> str:
        return judged(policy(**spec))[ConditionType.ACCEPTED][2]

    assert "It selects 2 governed namespaces: clinic, research." in note()
    assert "It selects 1 governed namespace: clinic." in note(namespaceSelector=selecting("clinic"))
    assert "It selects no governed namespace" in note(namespaceSelector=selecting("moon"))


def test_a_table_shows_the_packs_by_name_and_how_many_namespaces():
    unused = cast("Any", None)
    inputs = Inputs(cast("Any", Facts(built_in_shelf())), unused, unused, unused)
    several = parsed(policy(packs=[{"name": "eu-gdpr"}, {"name": "eu-ai-act"}]))
    assert inputs._summary(several) == {"packs": "eu-gdpr, eu-ai-act", "namespaces": 2}
    assert inputs._summary(parsed(data_class())) == {}
