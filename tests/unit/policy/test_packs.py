"""What a pack asks for: actions and their dates, several packs, packs of users, and what is no pack.

Matrix: action of a line (none, softer, harder) × a date (to come, come) × baseline or not × override × mode; then every
way in which a user's ConfigMap is no pack.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import asked, clinic_world, decide, facts_of, finding, policy, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.model import Action, Dependency, Verdict
from mlprivacy.policy.pack_check import pack_errors, shelf_of
from mlprivacy.policy.packs import Pack, PackRule, Shelf, built_in_packs, built_in_shelf
from mlprivacy.policy.packs.reading import MAX_BYTES, PackError, read_pack

DAY = datetime(2027, 12, 2, tzinfo=UTC)
BEFORE, AFTER = DAY - timedelta(seconds=1), DAY
# In the data's own namespace, so that one finding is all there is.
BAD = training_job(namespace="clinic", datasets=[asked(namespace="clinic")], assurance="Gated")
FLAGGED = training_job(namespace="clinic", datasets=[asked(namespace="clinic")], highRisk={})


def pack(name: str, *lines: dict, version: str = "1") -> Pack:
    body = {"name": name, "version": version, "title": name, "notice": "For a test.", "rules": list(lines)}
    return Pack.model_validate(body)


def line(rule: str = "high-risk-ai", **more: object) -> dict:
    return {"id": rule, **more}


def judged(job: dict, packs: list[Pack], *policies: dict, now: datetime = BEFORE, bad: dict | None = None):
    names = [{"name": p.name} for p in packs]
    world = clinic_world(*(policies or [policy(packs=names)]))
    facts = facts_of(world, now=now)
    shelf = {**built_in_packs(), **{p.name: p for p in packs}}
    return evaluate(job, replace(facts, packs=shelf, bad_packs=bad or {}))


class TestActions:
    def test_a_rule_that_no_pack_asks_for_is_off(self):
        assert "high-risk-ai" not in {f.rule for f in decide(FLAGGED).findings}

    def test_without_an_action_the_rules_own_counts(self):
        found = judged(FLAGGED, [pack("pa", line())])
        assert {f.action for f in found.findings if f.rule == "high-risk-ai"} == {Action.WARN}

    @pytest.mark.parametrize("action", ["Deny", "Hold", "Warn", "Evidence"])
    def test_a_pack_sets_the_action(self, action):
        found = judged(FLAGGED, [pack("pa", line(action=action))])
        assert {f.action for f in found.findings if f.rule == "high-risk-ai"} == {Action(action)}

    def test_of_two_packs_the_stricter_wins_and_is_named(self):
        found = judged(FLAGGED, [pack("pa", line(action="Warn")), pack("pb", line(action="Deny"))])
        one = finding(found, "high-risk-ai", "spec.highRisk.instructions")
        assert (one.action, one.pack, one.packs) == (Action.DENY, "pb", ("pb", "pa"))
        assert one.as_dict()["packs"] == ["pb", "pa"]

    def test_no_pack_softens_the_baseline(self):
        found = judged(BAD, [pack("pa", line("assurance", action="Evidence"))])
        one = finding(found, "assurance")
        assert (one.action, one.pack) == (Action.DENY, "baseline")

    def test_an_override_counts_before_packs(self):
        override = policy(packs=[{"name": "pa"}], rules=[{"id": "high-risk-ai", "action": "Evidence"}])
        found = judged(FLAGGED, [pack("pa", line(action="Deny"))], override)
        assert {f.action for f in found.findings} == {Action.EVIDENCE}

    def test_an_override_switches_a_rule_on(self):
        found = judged(FLAGGED, [], policy(rules=[{"id": "high-risk-ai", "action": "Deny"}]))
        assert found.verdict is Verdict.DENY

    @pytest.mark.parametrize(("mode", "action"), [("Enforce", "Deny"), ("Warn", "Warn"), ("Audit", "Evidence")])
    def test_the_mode_softens_what_a_pack_asks(self, mode, action):
        softened = policy(packs=[{"name": "pa"}], mode=mode)
        found = judged(FLAGGED, [pack("pa", line(action="Deny"))], softened)
        assert {f.action for f in found.findings if f.rule == "high-risk-ai"} == {Action(action)}

    def test_a_policy_that_does_not_name_the_pack_does_not_harden_it(self):
        soft = policy("a", packs=[{"name": "pa"}], mode="Warn")
        hard = policy("b")
        found = judged(FLAGGED, [pack("pa", line(action="Deny"))], soft, hard)
        assert {f.action for f in found.findings if f.rule == "high-risk-ai"} == {Action.WARN}


class TestDates:
    CHANGING = pack("pa", line(action="Warn", changes=[{"from": "2027-12-02", "action": "Deny"}]))

    @pytest.mark.parametrize(("now", "verdict"), [(BEFORE, Verdict.ALLOW), (AFTER, Verdict.DENY)])
    def test_a_change_whose_day_has_come_wins(self, now, verdict):
        assert judged(FLAGGED, [self.CHANGING], now=now).verdict is verdict

    def test_the_decision_is_valid_until_the_day_even_where_nothing_is_wrong(self):
        job = training_job(namespace="clinic", datasets=[asked(namespace="clinic")])
        assert judged(job, [self.CHANGING]).valid_until == DAY
        assert judged(job, [self.CHANGING], now=AFTER).valid_until is None

    def test_of_several_days_the_next_one_counts(self):
        days = [{"from": "2027-01-01", "action": "Warn"}, {"from": "2028-01-01", "action": "Hold"}]
        later = pack("pb", line(changes=[{"from": "2027-12-02", "action": "Deny"}]))
        sooner = pack("pa", line(action="Evidence", changes=days))
        found = judged(FLAGGED, [sooner, later], now=DAY - timedelta(days=400))
        assert found.valid_until == datetime(2027, 1, 1, tzinfo=UTC)

    def test_of_two_packs_the_stricter_at_that_moment_is_named(self):
        later = pack("pz", line(changes=[{"from": "2027-12-02", "action": "Deny"}]))
        other = pack("pb", line(action="Hold"))
        named = [finding(judged(FLAGGED, [later, other], now=n), "high-risk-ai", "spec.highRisk.instructions")
                 for n in (BEFORE, AFTER)]  # fmt: skip
        assert [(f.pack, f.action) for f in named] == [("pb", Action.HOLD), ("pz", Action.DENY)]

    def test_the_ai_act_pack_warns_until_its_day(self):
        act = [built_in_packs()["eu-ai-act"]]
        for now, action in ((BEFORE, Action.WARN), (AFTER, Action.DENY)):
            found = judged(FLAGGED, act, now=now)
            assert {f.action for f in found.findings if f.rule == "high-risk-ai"} == {action}
        assert judged(FLAGGED, act).valid_until == DAY

    @given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
    def test_the_action_is_that_of_the_latest_day_that_has_come(self, now):
        days = [("2010-01-01", "Warn"), ("2020-06-30", "Hold"), ("2050-12-31", "Deny")]
        one = PackRule.model_validate(line(action="Evidence", changes=[{"from": d, "action": a} for d, a in days]))
        come = [a for d, a in days if now >= datetime.fromisoformat(d).replace(tzinfo=UTC)]
        assert one.action_at(now, Action.DENY) == (come or ["Evidence"])[-1]


def configmap(text: str | None = None, name: str = "acme", labels: dict | None = None, **data: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "mlprivacy-system",
            "labels": {"mlprivacy.dev/pack": "true"} if labels is None else labels,
        },
        "data": ({"pack.yaml": text} if text is not None else {}) | data,
    }


ACME = """\
name: acme
version: "1"
title: Acme's own
notice: House rules.
rules:
  - {id: high-risk-ai, action: Deny}
  - {id: dp-required, parameters: PARAMETERS}
"""
OF_RULE = ACME[: ACME.index("  - ")] + "  - {{id: {}, parameters: {}}}\n"
SIMPLE = ACME.replace("\n  - {id: dp-required, parameters: PARAMETERS}", "")
NESTED = "[" * 50 + "]" * 50
BOMB = "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"


class TestPacksOfUsers:
    def test_a_labelled_config_map_is_a_pack(self):
        shelf = shelf_of([configmap(SIMPLE)])
        assert shelf.packs["acme"].line("high-risk-ai") == PackRule(id="high-risk-ai", action=Action.DENY)
        assert set(built_in_packs()) < set(shelf.packs)
        assert not shelf.bad

    @pytest.mark.parametrize(
        ("rule", "parameters"),
        [
            ("audit-retention", "{minimumDays: 3650}"),
            ("pod-hardening", "{extendedResources: nvidia.com/gpu}"),
            ("rdma-segregation", "{vlans: research=100}"),
            ("prohibited-use", "{purposes: gambling}"),
            ("special-category", "{minimumAssurance: Attested}"),
        ],
    )
    def test_a_pack_sets_what_is_as_strict_as_the_default_or_adds_to_it(self, rule, parameters):
        assert not shelf_of([configmap(OF_RULE.format(rule, parameters))]).bad

    def test_without_any_the_shelf_is_always_the_same(self):
        assert shelf_of([]) is built_in_shelf()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (None, "data has no key pack.yaml"),
            ("", "there are 0 documents"),
            ("- a\n", "a pack is a map"),
            (SIMPLE + "---\n" + SIMPLE, "there are 2 documents"),
            (SIMPLE.replace("name: acme", "name: acme\nname: acme"), "line 2: the key 'name' is given twice"),
            (SIMPLE + "extra: 1\n", "line 7: extra: is no field of a pack"),
            (SIMPLE.replace('"1"', "1.5"), "line 2: version: must be a string, and YAML reads 1.5"),
            (SIMPLE.replace("House rules.", "!!python/object:os.system x"), "tags are not accepted"),
            (SIMPLE.replace("House rules.", "!!str x"), "tags are not accepted"),
            (SIMPLE.replace("House rules.", "&a x"), "anchors and aliases are not accepted"),
            (BOMB, "line 1: anchors and aliases are not accepted"),
            ("name: *nobody\n", "anchors and aliases are not accepted"),
            ("a: 1\n<<: {b: 2}\n", "the key '<<' is not accepted"),
            ("rules: " + NESTED, "nested deeper than 8 levels"),
            ("rules:\n" + "\n".join(" " * n + "-" for n in range(1, 40)), "nested deeper than 8 levels"),
            ("{" + '"a":{' * 50 + "}" * 51, "nested deeper than 8 levels"),
            ("# " + "x" * MAX_BYTES, "64 KiB is the most"),
            (SIMPLE.replace("high-risk-ai", "no-such-rule"), "no-such-rule is no rule"),
            (SIMPLE.replace("action: Deny", "action: Forbid"), "rules[0].action"),
            (SIMPLE.replace("action: Deny", "unverified: maybe"), "rules[0].unverified"),
            (SIMPLE.replace("action: Deny", "changes: [{from: 2027-13-01, action: Deny}]"), "rules[0].changes[0].from"),
            (SIMPLE.replace("action: Deny", "changes: [{from: 0000-01-01, action: Deny}]"), "rules[0].changes[0].from"),
            (
                SIMPLE.replace(
                    "action: Deny", "changes: [{from: 2027-01-02, action: Deny}, {from: 2027-01-01, action: Warn}]"
                ),
                "each change must be later",
            ),
            (SIMPLE + "  - {id: high-risk-ai}\n", "line 7: rules[1].id: high-risk-ai has a line already"),
            (ACME.replace("PARAMETERS", "{nope: 1}"), "dp-required has no parameter nope"),
            (OF_RULE.format("residency", "{mechanism: A49}"), "looser than the default (None), and a pack only makes"),
            (OF_RULE.format("residency", "{transferRegions: us-east}"), "set residency.transferRegions in a Privacy"),
            (OF_RULE.format("encryption", "{storageClasses: standard}"), "looser than the default (nothing)"),
            (OF_RULE.format("encryption", "{nodeStorageEncrypted: 'true'}"), "looser than the default"),
            (OF_RULE.format("egress", "{allow: 192.0.2.0/24:443}"), "needs the verb weaken"),
            (OF_RULE.format("pod-hardening", "{extendedResources: vendor.example/any}"), "nvidia.com/gpu, amd.com/gpu"),
            (OF_RULE.format("audit-retention", "{minimumDays: 182}"), "182 is looser than the default (183)"),
            (SIMPLE.replace("name: acme", "name: other"), "the pack is called other, and its ConfigMap acme"),
            (SIMPLE.replace("name: acme", "name: ACME"), "line 1: name"),
            ("\tname: x", "tab"),
            ("name: \x00", "character"),
            ("name: \ud800", "which is no character"),
            ("name: [", "it is not YAML"),
        ],
    )
    def test_what_is_no_pack_is_a_sentence(self, text, says):
        shelf = shelf_of([configmap(text)])
        assert "acme" not in shelf.packs
        assert says in shelf.bad["acme"]
        assert len(shelf.bad["acme"]) <= 600

    @pytest.mark.parametrize("name", [*built_in_packs()])
    def test_no_built_in_pack_is_replaced(self, name):
        shelf = shelf_of([configmap(SIMPLE.replace("name: acme", f"name: {name}"), name)])
        assert shelf.packs[name] is built_in_packs()[name]
        assert "which no other replaces" in shelf.bad[name]

    @given(st.text(max_size=300))
    def test_reading_never_raises_anything_but_a_pack_error(self, text):
        for tried in (text, SIMPLE[:40] + text, SIMPLE + text):
            with contextlib.suppress(PackError):
                read_pack(tried)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        )
    )
    def test_a_config_map_of_any_form_is_no_crash(self, junk):
        for raw in ({"metadata": junk}, {"metadata": {"name": "x"}, "data": junk}, {"data": {"pack.yaml": junk}}):
            assert isinstance(shelf_of([raw]), Shelf)

    def test_a_thousand_packs_are_too_many_and_no_crash(self):
        maps = [configmap(SIMPLE.replace("acme", f"p{n:04}"), f"p{n:04}") for n in range(300)]
        shelf = shelf_of(maps)
        assert len(shelf.packs) == 256 + len(built_in_packs())
        assert "there are more than 256 packs" in shelf.bad["p0299"]

    def test_a_policy_that_names_it_asks_for_its_rules(self):
        facts_objects = [*clinic_world(policy(packs=[{"name": "acme"}])), configmap(SIMPLE)]
        shelf = ObjectLookup(facts_objects).packs()
        facts = replace(facts_of(clinic_world(policy(packs=[{"name": "acme"}]))), packs=shelf.packs)
        found = evaluate(FLAGGED, facts)
        assert found.verdict is Verdict.DENY
        assert finding(found, "high-risk-ai", "spec.highRisk.instructions").pack == "acme"
        assert Dependency("Pack", "", "acme") in found.dependencies

    def test_a_config_map_without_the_label_is_none(self):
        assert ObjectLookup([configmap(SIMPLE, labels={})]).packs() is built_in_shelf()
        assert ObjectLookup([configmap(SIMPLE, labels={"mlprivacy.dev/pack": "false"})]).packs() is built_in_shelf()

    def test_a_policy_that_names_a_bad_one_holds_and_says_why(self):
        named = policy(packs=[{"name": "acme"}])
        found = judged(FLAGGED, [], named, bad={"acme": "line 2: the key 'name' is given twice"})
        one = finding(found, "references")
        assert (found.verdict, one.reason) == (Verdict.HOLD, Reason.INVALID_POLICY)
        assert "which can not be used: line 2: the key 'name' is given twice" in one.message
        assert "the ConfigMap acme" in one.remedy
        assert Dependency("Pack", "", "acme") in found.dependencies

    def test_a_policy_that_names_one_that_is_not_there_rests_on_it(self):
        found = judged(FLAGGED, [], policy(packs=[{"name": "acme"}]))
        assert finding(found, "references").reason is Reason.PACK_NOT_FOUND
        assert Dependency("Pack", "", "acme") in found.dependencies

    def test_a_built_in_pack_is_nothing_to_wait_for(self):
        found = judged(FLAGGED, [], policy(packs=[{"name": "eu-gdpr"}]))
        assert not [d for d in found.dependencies if d.kind == "Pack"]


def test_unknown_rules_and_parameters_are_told():
    wrong = pack("pa", line("nope"), line("special-category", parameters={"minimumAssurance": "Total", "x": 1}))
    told = " ".join(pack_errors(wrong))
    assert "nope is no rule" in told
    assert "has no parameter x" in told
    assert "rules[1].parameters.minimumAssurance" in told
