"""What the guard `policies` rests on: which new policies can weaken what holds, and that the free ones can not.

A policy is free to make when its mode is Enforce, it sets no parameter, overrides with Deny alone, and lets exceptions
last no longer than the default. tests/cluster/guards/test_weakening.py tests the guard itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from builders import asked, decide, policy, selecting, training_job
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.model import Action, Decision, Verdict
from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.parameters import read_parameter, stricter
from mlprivacy.policy.rules import rules_by_id

GUARDS = Path(__file__).parents[3] / "charts" / "mlprivacy" / "templates" / "guards"
BAD = training_job(namespace="clinic", datasets=[asked(namespace="clinic", columns=["age", "x"])], assurance="Gated")
NO_POLICY = ["PrivacyPolicy/eu"]
RANK = {Verdict.ALLOW: 0, Verdict.HOLD: 1, Verdict.DENY: 2}


def strictness(decision: Decision) -> dict[str, int]:
    """Of each rule that found something, the strictest action."""
    found: dict[str, int] = {}
    for finding in decision.findings:
        found[finding.rule] = max(found.get(finding.rule, 0), finding.action.rank)
    return found


@pytest.mark.parametrize(
    "soft",
    [
        {"mode": "Audit", "parameters": {}},
        {"parameters": {}, "rules": [{"id": "special-category", "action": "Warn"}]},
        {"parameters": {"special-category.minimumAssurance": "Declared"}},
    ],
    ids=["mode", "override", "parameter"],
)
def test_a_new_policy_over_a_namespace_that_none_selects_stands_in_for_the_defaults(soft: Any) -> None:
    """So making one needs the verb, although the strictest of several policies wins."""
    before = decide(training_job(), leave_out=NO_POLICY)
    after = decide(training_job(), policy("new", **soft), leave_out=NO_POLICY)
    assert before.verdict is Verdict.DENY
    assert after.verdict is Verdict.ALLOW


def test_a_parameter_that_the_others_leave_alone_is_set_for_them_too() -> None:
    """A second policy weakens the first by a parameter of its own: any parameter of a new policy needs the verb."""
    strict = policy("a", parameters={})
    assert decide(training_job(), strict, leave_out=NO_POLICY).verdict is Verdict.DENY
    lax = policy("b", parameters={"special-category.minimumAssurance": "Declared"})
    assert decide(training_job(), strict, lax, leave_out=NO_POLICY).verdict is Verdict.ALLOW


def test_a_softer_policy_beside_a_strict_one_changes_no_action() -> None:
    strict = policy("a", parameters={})
    soft = policy("b", mode="Audit", parameters={}, rules=[{"id": "assurance", "action": "Evidence"}])
    alone, both = (decide(BAD, strict, *more, leave_out=NO_POLICY) for more in ([], [soft]))
    assert strictness(both) == strictness(alone)


free = st.fixed_dictionaries(
    {
        "packs": st.lists(st.sampled_from(sorted(built_in_packs())), unique=True, max_size=4).map(
            lambda names: [{"name": name} for name in names]
        ),
        "rules": st.lists(st.sampled_from(sorted(rules_by_id())), unique=True, max_size=4).map(
            lambda ids: [{"id": i, "action": "Deny"} for i in ids]
        ),
        "namespaceSelector": st.sampled_from([{}, selecting("clinic"), selecting("research"), selecting("shop")]),
        "parameters": st.just({}),
    }
)
present = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["Audit", "Warn", "Enforce"]),
        "packs": st.sampled_from([[], [{"name": "eu-gdpr"}]]),
        "parameters": st.sampled_from([{}, {"special-category.minimumAssurance": "Declared"}]),
        "namespaceSelector": st.sampled_from([{}, selecting("clinic"), selecting("research")]),
    }
)


@settings(max_examples=150, deadline=None)
@given(new=free, old=st.none() | present, foreign=st.booleans())
def test_a_policy_that_is_free_to_make_weakens_nothing(new: Any, old: Any, foreign: bool) -> None:
    job = training_job(assurance="Gated") if foreign else BAD
    world = [] if old is None else [policy("old", **old)]
    before = decide(job, *world, leave_out=NO_POLICY)
    after = decide(job, *world, policy("new", **new), leave_out=NO_POLICY)
    assert RANK[after.verdict] >= RANK[before.verdict]
    assert before.mode is not None
    softer = {r: a for r, a in strictness(before).items() if strictness(after).get(r, -1) < a}
    assert not softer, f"weaker: {softer}; there were {[Action(f.action) for f in before.findings]}"


@pytest.mark.parametrize("pack", built_in_packs().values(), ids=lambda p: p.name)
def test_a_pack_s_parameters_are_at_least_as_strict_as_the_defaults(pack: Any) -> None:
    """So that adding a pack is free."""
    for line in pack.rules:
        for name, raw in line.parameters.items():
            parameter = rules_by_id()[line.id].parameter(name)
            value = read_parameter(parameter, raw)
            assert stricter(parameter, parameter.default, value) == value, f"{line.id}.{name}"


@pytest.mark.parametrize(("file", "model"), [("policies", PrivacyPolicySpec), ("classes", DataClassSpec)])
def test_the_guards_know_every_field(file: str, model: Any) -> None:
    """A field that a guard does not know needs the verb for every change; a new field is to be thought about there."""
    text = (GUARDS / f"{file}.yaml").read_text(encoding="utf-8")
    block = text[text.index("- name: known") :]
    known = set(re.findall(r"'(\w+)'", block[: block.index("]")]))
    assert known == {field.alias for field in model.model_fields.values()}
