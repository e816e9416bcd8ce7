"""Rules are found by the folder and tell everything about themselves; packs name rules that exist, and their law."""

import re
from pathlib import Path

import pytest
from builders import asked, dataset, decide, finding, grant, grant_to, policy, training_job

import mlprivacy.policy.rules as folder
from mlprivacy.policy.model import Action
from mlprivacy.policy.pack_check import pack_errors
from mlprivacy.policy.packs import PackRule, built_in_packs
from mlprivacy.policy.rules import all_rules, rules_by_id

ISSUE = {
    "purpose-declared",
    "purpose-limitation",
    "consent-valid",
    "minimisation",
    "special-category",
    "dp-required",
    "assurance",
    "egress",
    "pod-hardening",
    "encryption",
}
DECLARED = {"special-category.minimumAssurance": "Declared"}
BAD = training_job(assurance="Gated")


def test_every_rule_is_found():
    assert set(rules_by_id()) >= ISSUE


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.id)
def test_a_rule_holds_what_people_need(rule):
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", rule.id)
    assert rule.reason.endswith(".")
    assert rule.citations
    assert rule.remedy
    assert Path(folder.__path__[0], rule.family, rule.id.replace("-", "_") + ".py").is_file()
    assert all(p.description.endswith(".") for p in rule.parameters)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.id)
def test_a_rule_has_a_test_of_its_own(rule):
    assert Path(__file__).with_name(f"test_{rule.id.replace('-', '_')}.py").is_file()


@pytest.mark.parametrize("pack", built_in_packs().values(), ids=lambda p: p.name)
def test_a_pack_names_rules_that_exist_and_their_parameters(pack):
    assert "not legal advice" in pack.notice
    ids = [line.id for line in pack.rules]
    assert len(ids) == len(set(ids))
    assert pack_errors(pack) == ()
    for line in pack.rules:
        rule = rules_by_id()[line.id]
        law = pack.name != "baseline"
        assert bool(line.citations) is law, "a law is cited, and the baseline is none"
        assert line.unverified is law, "no text was read; a line whose text was read says so in the table of rules"
        assert set(line.citations) <= set(rule.citations), "a citation that the table of rules does not have"
        assert {change.action for change in line.changes} <= {Action.DENY, Action.WARN}


def test_the_baseline_is_what_the_rules_say_of_themselves():
    assert {line.id for line in built_in_packs()["baseline"].rules} == {r.id for r in all_rules() if r.baseline}
    assert all(line == PackRule(id=line.id) for line in built_in_packs()["baseline"].rules)


def test_every_rule_is_asked_for_by_a_pack_or_is_the_organisations_own():
    asked = {line.id for pack in built_in_packs().values() for line in pack.rules}
    assert {r.id for r in all_rules() if r.family != "rdma"} <= asked


def test_a_finding_cites_the_law_of_the_pack_that_asked():
    found = finding(decide(BAD, policy(packs=[{"name": "eu-gdpr"}])), "assurance")
    assert (found.pack, found.packs) == ("eu-gdpr", ("eu-gdpr", "baseline"))
    assert (found.pack, found.citations) == ("eu-gdpr", ("GDPR 25", "GDPR 32"))
    assert "[GDPR 25, GDPR 32]" in found.sentence()


def test_without_a_pack_it_cites_the_rule_s_own_sources():
    found = finding(decide(training_job(datasets=[asked(columns=["age", "x"])]), policy(packs=[])), "minimisation")
    assert found.pack == "baseline"
    assert found.citations == rules_by_id()["minimisation"].citations


def test_baseline_may_be_named_and_is_on_anyway():
    named = decide(BAD, policy(packs=[{"name": "baseline"}]))
    assert finding(named, "assurance").pack == "baseline"


def test_texts_of_a_finding_fit_the_status():
    many = [{"name": f"column_{n}_{'x' * 90}", "dataClass": "demographic"} for n in range(200)]
    wide = dataset(columns=[{"name": "patient_id", "dataClass": "direct-identifier"}, *many])
    all_of_them = grant(to=[grant_to(columns=[c["name"] for c in many])])
    found = finding(decide(training_job(datasets=[asked(columns=["no_such"])]), wide, all_of_them), "minimisation")
    assert len(found.remedy) > 20_000
    assert len(found.as_dict()["remedy"]) == 1024
    assert found.as_dict()["message"] == found.message
