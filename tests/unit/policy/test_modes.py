"""Modes: of policies, packs and namespaces the strictest is in force, under the ceiling of the namespaces' labels.

Matrix: label (audit, warn, enforce, junk, none) × policy mode × override × which namespace a policy selects.
"""

import itertools

import pytest
from builders import (
    asked,
    change,
    clinic_world,
    consent_scope,
    dataset,
    decide,
    facts_of,
    finding,
    inference_job,
    policy,
    selecting,
    training_job,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.engine import custom_asked, evaluate, grounds_of
from mlprivacy.policy.model import Action, Verdict

MODES = ("Audit", "Warn", "Enforce")
EFFECT = {"Audit": Action.EVIDENCE, "Warn": Action.WARN, "Enforce": Action.DENY}
VERDICT = {"Audit": Verdict.ALLOW, "Warn": Verdict.ALLOW, "Enforce": Verdict.DENY}
DECLARED = {"special-category.minimumAssurance": "Declared"}

# A job in the data's own namespace that breaks one rule: nothing else is found.
BAD = training_job(namespace="clinic", datasets=[asked(namespace="clinic")], assurance="Gated")
FOREIGN = training_job(assurance="Gated")
JOB = training_job()
NONE = ["PrivacyPolicy/eu"]


def packs_of(decision):
    return {pack for found in decision.findings for pack in found.packs}


ASKED = inference_job(legalBasis=None, consentScope={"name": "triage", "namespace": "clinic"})


def rank(mode: str) -> int:
    return [m.lower() for m in MODES].index(mode.lower())


@pytest.mark.parametrize(("label", "mode"), list(itertools.product(("audit", "warn", "enforce"), MODES)))
def test_a_policy_can_be_softer_than_the_label_and_never_harder(label, mode):
    decision = decide(BAD, policy(mode=mode), modes={"clinic": label})
    expected = MODES[min(rank(label), rank(mode))]
    assert decision.mode == expected
    assert finding(decision, "assurance").action is EFFECT[expected]
    assert decision.verdict is VERDICT[expected]


@pytest.mark.parametrize("label", ["audit", "warn", "enforce"])
def test_without_a_policy_the_baseline_applies_at_the_mode_of_the_label(label):
    decision = decide(BAD, leave_out=["PrivacyPolicy/eu"], modes={"clinic": label})
    assert decision.mode == label.title()
    assert finding(decision, "assurance").action is EFFECT[label.title()]


@pytest.mark.parametrize("junk", ["", "Enforce", "AUDIT", "off", "audit ", "none"])
def test_a_label_that_is_no_mode_is_the_strictest(junk):
    assert decide(BAD, modes={"clinic": junk}).mode == "Enforce"


@pytest.mark.parametrize(("one", "two"), list(itertools.product(MODES, MODES)))
def test_of_two_policies_the_stricter_wins(one, two):
    decision = decide(
        BAD,
        policy("a", mode=one, parameters={}),
        policy("b", mode=two, parameters=DECLARED),
        leave_out=["PrivacyPolicy/eu"],
    )
    expected = MODES[max(rank(one), rank(two))]
    assert decision.mode == expected
    assert finding(decision, "assurance").action is EFFECT[expected]
    assert finding(decision, "assurance").policy == ("a" if rank(one) >= rank(two) else "b")


@pytest.mark.parametrize("action", ["Deny", "Warn", "Evidence"])
def test_a_policy_overrides_the_action_of_one_rule(action):
    decision = decide(BAD, policy(rules=[{"id": "assurance", "action": action}]))
    assert finding(decision, "assurance").action == action


def test_an_override_of_one_policy_does_not_soften_another():
    soft = policy("a", rules=[{"id": "assurance", "action": "Evidence"}])
    assert finding(decide(BAD, soft), "assurance").action is Action.DENY


def test_an_override_to_deny_stays_under_the_mode():
    hard = policy(mode="Warn", rules=[{"id": "assurance", "action": "Deny"}])
    assert finding(decide(BAD, hard), "assurance").action is Action.WARN


def test_a_policy_that_selects_another_namespace_does_not_count():
    elsewhere = policy("a", namespaceSelector=selecting("shop"), mode="Audit")
    decision = decide(BAD, elsewhere, leave_out=["PrivacyPolicy/eu"])
    assert decision.mode == "Enforce"


class TestNamespaceOfTheData:
    @pytest.mark.parametrize(("job", "data"), list(itertools.product(("audit", "warn", "enforce"), repeat=2)))
    def test_the_stricter_label_is_the_ceiling(self, job, data):
        decision = decide(FOREIGN, modes={"research": job, "clinic": data})
        assert decision.mode == MODES[max(rank(job), rank(data))]

    def test_a_policy_of_the_jobs_namespace_does_not_soften_data_that_has_none(self):
        soft = policy(namespaceSelector=selecting("research"), mode="Audit")
        decision = decide(FOREIGN, soft)
        assert decision.mode == "Enforce"
        assert finding(decision, "assurance").action is Action.DENY

    def test_nor_does_it_soften_a_parameter(self):
        lax = policy(namespaceSelector=selecting("research"))
        found = finding(decide(training_job(), lax), "special-category")
        assert "needs assurance Gated" in found.message
        strict = policy("clinic", namespaceSelector=selecting("clinic"), parameters={})
        assert decide(training_job(), lax, strict).verdict is Verdict.DENY
        agreed = policy("clinic", namespaceSelector=selecting("clinic"))
        assert decide(training_job(), lax, agreed).verdict is Verdict.ALLOW

    def test_a_policy_of_the_datas_namespace_counts(self):
        hard = policy("clinic", namespaceSelector=selecting("clinic"))
        soft = policy("research", namespaceSelector=selecting("research"), mode="Audit")
        assert decide(FOREIGN, hard, soft, leave_out=["PrivacyPolicy/eu"]).mode == "Enforce"

    def test_a_namespace_without_a_label_adds_nothing(self):
        decision = decide(FOREIGN, policy(mode="Warn"), modes={"research": "enforce", "clinic": None})
        assert decision.mode == "Warn"

    def test_a_namespace_that_is_not_known_holds(self):
        """Its label could be the stricter one."""
        decision = decide(training_job(), modes={"research": "audit"})
        found = finding(decision, "references")
        assert (decision.verdict, found.reason) == (Verdict.HOLD, Reason.FACT_MISSING)
        assert "namespace clinic" in found.message

    def test_the_namespace_of_a_consent_scope_governs_inference(self):
        job = inference_job(
            dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"}, assurance="Gated"
        )
        assert decide(job, modes={"research": "audit", "clinic": "enforce"}).mode == "Enforce"
        assert finding(decide(job, modes={"research": "audit"}), "references").reason is Reason.FACT_MISSING


class TestHoldsInEveryMode:
    @pytest.mark.parametrize("mode", MODES)
    def test_an_unreadable_policy_holds_every_job(self, mode):
        broken = policy("broken", mode="Sometimes", namespaceSelector=selecting("nowhere"))
        decision = decide(training_job(), broken, policy(mode=mode))
        found = finding(decision, "references")
        assert (decision.verdict, found.reason) == (Verdict.HOLD, Reason.INVALID_POLICY)

    @pytest.mark.parametrize("labels", [{"research": None, "clinic": "enforce"}, {"clinic": "enforce"}])
    def test_a_job_in_a_namespace_that_is_not_governed_holds(self, labels):
        decision = decide(training_job(), modes=labels)
        found = finding(decision, "references")
        assert (decision.verdict, decision.mode, found.reason) == (Verdict.HOLD, None, Reason.NAMESPACE_NOT_GOVERNED)
        assert "kubectl label namespace research mlprivacy.dev/enforce=enforce" in found.remedy

    def test_a_job_without_a_namespace_is_in_default(self):
        job = training_job()
        del job["metadata"]["namespace"]
        assert decide(job).subject[1] == "default"
        assert finding(decide(job), "references", "metadata.namespace").reason is Reason.NAMESPACE_NOT_GOVERNED

    @pytest.mark.parametrize("mode", MODES)
    def test_a_pack_that_is_not_installed_holds(self, mode):
        decision = decide(training_job(), policy(mode=mode, packs=[{"name": "atlantis"}]))
        found = finding(decision, "references")
        assert (decision.verdict, found.reason) == (Verdict.HOLD, Reason.PACK_NOT_FOUND)
        assert "eu-gdpr" in found.remedy

    def test_an_override_of_no_rule_holds(self):
        decision = decide(training_job(), policy(rules=[{"id": "purpose-limitatoin", "action": "Warn"}]))
        assert finding(decision, "references").reason is Reason.INVALID_POLICY

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        "parameters",
        [
            {"consent.maxAge": "12h"},
            {"consent-valid.maxSnapshotAge": "soon"},
            {"consent-valid.maxSnapshotAge": "99999999999d"},
            {"special-category.minimumAssurance": "declared"},
            {"encryption.nodeStorageEncrypted": "yes"},
        ],
    )
    def test_a_parameter_that_can_not_be_read_holds(self, mode, parameters):
        decision = decide(training_job(), policy(mode=mode, parameters=DECLARED | parameters))
        found = [f for f in decision.findings if f.rule == "references"]
        assert [f.reason for f in found] == [Reason.INVALID_POLICY]
        assert next(iter(parameters)) in found[0].message
        assert decision.verdict in (Verdict.HOLD, Verdict.DENY)


def test_a_rule_that_lacks_a_fact_holds_under_enforce_and_warns_under_warn():
    gone = ["ConsentScope/research-consent"]
    assert finding(decide(training_job(), leave_out=gone), "consent-valid").action is Action.HOLD
    softer = decide(training_job(), policy(mode="Warn"), leave_out=gone)
    assert finding(softer, "consent-valid").action is Action.WARN


@pytest.mark.parametrize("mode", MODES)
def test_obligations_are_the_same_in_every_mode(mode):
    world = clinic_world(policy(mode=mode), dataset(uses=[]), consent_scope())
    decision = evaluate(training_job(), facts_of(world))
    assert decision.obligations == decide(training_job()).obligations


def test_a_job_in_a_namespace_softer_than_the_datas_holds_until_it_is_labelled_as_strictly():
    """The guards are bound by the job's namespace alone: there they would only warn."""
    softer = decide(training_job(), modes={"research": "warn", "clinic": "enforce"})
    found = finding(softer, "references", "metadata.namespace")
    assert (softer.verdict, found.reason) == (Verdict.HOLD, Reason.NAMESPACE_TOO_SOFT)
    assert "--overwrite namespace research mlprivacy.dev/enforce=enforce" in found.remedy
    assert decide(training_job(), modes={"research": "enforce", "clinic": "enforce"}).verdict is Verdict.ALLOW


# -- selectors that name a level ---------------------------------------------------------------------------------------

LABELS = ("audit", "warn", "enforce")


def at_level(level, name="by-level", **spec):
    return policy(name, namespaceSelector={"matchLabels": {"mlprivacy.dev/enforce": level}}, **spec)


@pytest.mark.parametrize(("level", "label"), list(itertools.product(LABELS, LABELS)))
def test_a_policy_that_names_a_level_holds_there_and_at_each_stricter_one(level, label):
    decision = decide(BAD, at_level(level, packs=[{"name": "us-hipaa"}]), leave_out=NONE, modes={"clinic": label})
    assert ("us-hipaa" in packs_of(decision)) is (rank(label) >= rank(level))


def test_a_softer_level_s_policy_is_added_and_stands_in_for_nothing():
    """So that one which is selected by a softer level never softens what the stricter one has by itself."""
    soft = at_level("audit", mode="Audit", parameters=DECLARED, rules=[{"id": "assurance", "action": "Evidence"}])
    alone, with_it = (decide(BAD, *more, leave_out=NONE, modes={"clinic": "enforce"}) for more in ([], [soft]))
    assert (with_it.mode, with_it.verdict) == ("Enforce", Verdict.DENY)
    assert finding(with_it, "assurance").action is finding(alone, "assurance").action is Action.DENY
    assert "needs assurance Gated" in finding(decide(JOB, soft, leave_out=NONE), "special-category").message


@pytest.mark.parametrize("selector", ["audit", "warn", "enforce"])
def test_raising_a_label_loses_no_finding(selector):
    """Raising is free to whoever may label namespaces, so it must never take laws away."""
    laws = at_level(selector, packs=[{"name": "us-hipaa"}, {"name": "eu-gdpr"}], parameters={})
    found = [
        {f.rule: f.action.rank for f in decide(BAD, laws, leave_out=NONE, modes={"clinic": label}).findings}
        for label in LABELS
    ]
    for before, after in itertools.pairwise(found):
        assert all(after[rule] >= action for rule, action in before.items())


def test_a_value_that_is_no_level_selects_what_it_always_did():
    odd = at_level("Audit", packs=[{"name": "us-hipaa"}])
    assert "us-hipaa" in packs_of(decide(BAD, odd, leave_out=NONE, modes={"clinic": "Audit"}))
    assert "us-hipaa" not in packs_of(decide(BAD, odd, leave_out=NONE, modes={"clinic": "audit"}))


class TestANamespaceThatIsMerelyNamed:
    """What it is labelled and what its policies say is for those to whom it granted something."""

    STRICT = policy(
        "strict",
        namespaceSelector=selecting("clinic"),
        custom=[{"id": "secret", "expression": "false", "message": "The board met on Tuesday."}],
        rules=[{"id": "human-oversight", "action": "Deny"}],
        parameters={"rdma-segregation.vlans": "secret=100"},
    )
    MODES = {"research": "warn", "clinic": "enforce"}  # noqa: RUF012

    @pytest.mark.parametrize("job", [training_job(assurance="Gated"), ASKED])
    def test_tells_a_stranger_nothing_and_holds(self, job):
        everything = clinic_world(self.STRICT, leave_out=["PrivacyPolicy/eu"])
        gone = [f"DatasetGrant/{o['metadata']['name']}" for o in everything if o["kind"] == "DatasetGrant"]
        facts = facts_of(clinic_world(self.STRICT, leave_out=["PrivacyPolicy/eu", *gone]), modes=self.MODES)
        without = facts_of(clinic_world(leave_out=["PrivacyPolicy/eu", *gone]), modes={"research": "warn"})
        assert custom_asked(job, facts) is None
        assert evaluate(job, facts).as_dict() == evaluate(job, without).as_dict()
        assert grounds_of(job, facts) == grounds_of(job, without)
        assert evaluate(job, facts).verdict is Verdict.HOLD

    def test_governs_as_soon_as_it_grants(self):
        facts = facts_of(clinic_world(self.STRICT, leave_out=["PrivacyPolicy/eu"]), modes=self.MODES)
        decision = evaluate(FOREIGN, facts)
        assert {"custom/secret", "assurance"} <= {f.rule for f in decision.findings if f.action is not Action.WARN}
        assert Reason.NAMESPACE_TOO_SOFT in {f.reason for f in decision.findings}

    @pytest.mark.parametrize(("label", "mode"), list(itertools.product(("audit", "warn", "enforce"), MODES)))
    @pytest.mark.parametrize("job", [FOREIGN, BAD, ASKED, training_job()])
    def test_without_its_grant_no_job_runs_whatever_governs(self, job, label, mode):
        gone = [f"DatasetGrant/{o['metadata']['name']}" for o in clinic_world() if o["kind"] == "DatasetGrant"]
        moved = change(job, "metadata.namespace", "research")
        decision = decide(moved, policy(mode=mode), leave_out=gone, modes={"research": label, "clinic": "enforce"})
        assert decision.verdict in (Verdict.HOLD, Verdict.DENY)
