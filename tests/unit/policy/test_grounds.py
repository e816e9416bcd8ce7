"""What a job stands under: the packs in force with their versions, and whose value of a parameter counts."""

from __future__ import annotations

from dataclasses import replace

from builders import clinic_world, facts_of, policy, selecting, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.engine import evaluate, grounds_of
from mlprivacy.policy.packs import Pack, built_in_packs


def pack(name: str, days: int) -> Pack:
    lines = [{"id": "audit-retention", "parameters": {"minimumDays": days}}]
    return Pack.model_validate({"name": name, "version": "7", "title": name, "notice": "For a test.", "rules": lines})


def look(*policies: dict, packs: tuple[Pack, ...] = ()):
    facts = facts_of(clinic_world(*policies))
    return grounds_of(training_job(), replace(facts, packs={**built_in_packs(), **{p.name: p for p in packs}}))


def the(found, name: str):
    return next(p for p in found.parameters if p.name == name)


def test_of_two_packs_the_stricter_value_is_in_force_and_both_are_named():
    one, two = pack("acme", 400), pack("zeta", 900)
    found = the(
        look(policy(packs=[{"name": "acme"}, {"name": "zeta"}]), packs=(one, two)), "audit-retention.minimumDays"
    )
    assert (found.value, found.set_by, found.outdone) == (900, ("pack zeta",), ("pack acme",))
    assert found.as_json()["setBy"] == ["pack zeta"]


def test_a_policy_can_be_the_stricter_one():
    named = policy(packs=[{"name": "acme"}], parameters={"audit-retention.minimumDays": 1000})
    found = the(look(named, packs=(pack("acme", 400),)), "audit-retention.minimumDays")
    assert (found.value, found.set_by, found.outdone) == (1000, ("policy eu",), ("pack acme",))


def test_a_namespace_that_leaves_it_unset_may_be_the_stricter_one():
    lax = policy(namespaceSelector=selecting("research"))
    found = the(look(lax), "special-category.minimumAssurance")
    assert (found.value, found.set_by, found.outdone) == ("Gated", (), ("policy eu",))


def test_the_laws_disagree_about_the_log_and_the_longest_counts():
    named = policy(packs=[{"name": n} for n in ("eu-ai-act", "us-hipaa", "cn-pipl", "in-dpdp")])
    found = the(look(named), "audit-retention.minimumDays")
    assert (found.value, found.set_by) == (2192, ("pack us-hipaa",))


def test_packs_say_their_version_and_what_was_not_read():
    found = {p.name: p for p in look(policy(packs=[{"name": "eu-gdpr"}])).packs}
    assert found["eu-gdpr"].unverified == found["eu-gdpr"].rules > 12
    assert found["baseline"].unverified == 0


@given(st.lists(st.integers(183, 5000), min_size=1, max_size=6))
def test_what_it_says_is_what_the_decision_used(days):
    packs = tuple(pack(f"p{n}", d) for n, d in enumerate(days))
    named = policy(packs=[{"name": p.name} for p in packs])
    found = the(look(named, packs=packs), "audit-retention.minimumDays")
    assert found.value == max(days)
    assert set(found.set_by) == {f"pack p{n}" for n, d in enumerate(days) if d == max(days)}
    facts = replace(facts_of(clinic_world(named)), packs={p.name: p for p in packs}, audit_retention_days=0)
    said = [f.message for f in evaluate(training_job(), facts).findings if f.rule == "audit-retention"]
    assert f"{max(days)} days are needed" in said[0]
