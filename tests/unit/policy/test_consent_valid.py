"""consent-valid: where the basis is consent, a scope covers purpose, processing and data classes, and is in force."""

from datetime import timedelta

import pytest
from builders import (
    NOW,
    asked,
    change,
    consent_scope,
    consent_use,
    data_class,
    dataset,
    decide,
    finding,
    grant,
    grant_to,
    inference_job,
    policy,
    rules_of,
    training_job,
    triage_grant,
    triage_scope,
    use,
    without,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.facts import IN_FORCE, Capability
from mlprivacy.policy.model import Action, Verdict

NAME = "spec.datasets[0].name"
WITH_GATE = IN_FORCE | {Capability.DATA_GATE}
TRIAGE = inference_job(dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"})


def taken(at: object) -> dict:
    return {**consent_scope(), "status": {"snapshot": {"takenAt": at}}}


def ago(**delta: float) -> str:
    return (NOW - timedelta(**delta)).isoformat()


def test_a_scope_that_covers_the_job_passes():
    assert decide(training_job()).verdict is Verdict.ALLOW


def test_a_withdrawn_scope_is_refused():
    found = finding(decide(training_job(), consent_scope(state="Withdrawn")), "consent-valid")
    assert (found.action, found.path) == (Action.DENY, NAME)
    assert "under a new ConsentScope, or leave the data out" in found.remedy


def test_consent_to_inference_is_not_consent_to_training():
    found = finding(decide(training_job(), consent_scope(processing=["Inference"])), "consent-valid")
    assert (found.action, found.path) == (Action.DENY, NAME)
    assert found.remedy == (
        "ask the data owner of clinic to ask people and to set consentScope of the use to one whose processing lists "
        "Training"
    )
    assert decide(training_job(), consent_scope(processing=["Inference", "Training"])).verdict is Verdict.ALLOW


def test_a_purpose_people_did_not_agree_to_is_refused():
    found = finding(decide(training_job(), consent_scope(purposes=["train_ai_system.vision"])), "consent-valid")
    assert (found.action, found.path) == (Action.DENY, "spec.purpose")
    assert found.remedy.startswith("set spec.purpose to one of these, or ask the data owner of clinic to ask people")


def test_a_class_people_did_not_agree_to_is_refused_until_it_is_left_out():
    narrow = consent_scope(dataClasses=["demographic"])
    found = finding(decide(training_job(), narrow), "consent-valid")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].columns[1]")
    assert "leave it out" in found.remedy
    assert decide(without(training_job(), found.path), narrow).verdict is Verdict.ALLOW


def test_a_public_class_needs_no_consent():
    narrow = consent_scope(dataClasses=["health"])
    assert "consent-valid" not in rules_of(decide(training_job(), narrow, data_class(sensitivity="Public")))


def test_a_scope_that_is_not_there_holds():
    decision = decide(training_job(), leave_out=["ConsentScope/research-consent"])
    found = finding(decision, "consent-valid")
    assert decision.verdict is Verdict.HOLD
    assert (found.reason, found.path) == (Reason.CONSENT_SCOPE_NOT_FOUND, NAME)
    assert found.private


def test_a_scope_that_can_not_be_read_holds():
    found = finding(decide(training_job(), consent_scope(processing=["Guessing"])), "consent-valid")
    assert (found.action, found.reason) == (Action.HOLD, Reason.INVALID_REFERENCE)


def test_consent_without_a_scope_is_refused():
    found = finding(decide(training_job(), dataset(uses=[without(consent_use(), "consentScope")])), "consent-valid")
    assert (found.action, found.path) == (Action.DENY, NAME)
    assert "set consentScope in that entry of spec.uses" in found.remedy


@pytest.mark.parametrize(
    "basis",
    ["eu-gdpr:A6-1-a", "eu-gdpr:A6-1-a-explicit-consent", "eu-gdpr:A6-1-a-non-explicit-consent", "eu-gdpr:a6-1-A"],
)
def test_every_kind_of_consent_is_consent(basis):
    """DPV names explicit and non-explicit consent below A6-1-a; spelling must not turn consent into something else."""
    decision = decide(training_job(), dataset(uses=[use(legalBasis=basis, condition="eu-gdpr:A9-2-j")]))
    assert finding(decision, "consent-valid").action is Action.DENY


def test_a_key_that_merely_begins_like_consent_is_not_consent():
    decision = decide(training_job(), dataset(uses=[use(legalBasis="eu-gdpr:A6-1-ab", condition="eu-gdpr:A9-2-j")]))
    assert decision.verdict is Verdict.ALLOW


def test_a_policy_says_which_bases_are_consent():
    more = policy(
        parameters={"special-category.minimumAssurance": "Declared", "consent-valid.consentBases": "br-lgpd:A7-I"}
    )
    uses = [use(legalBasis="br-lgpd:A7-I", condition="eu-gdpr:A9-2-j")]
    assert finding(decide(training_job(), dataset(uses=uses), more), "consent-valid").action is Action.DENY
    no_scope = dataset(uses=[without(consent_use(), "consentScope")])
    alone = policy(
        parameters={"special-category.minimumAssurance": "Declared", "consent-valid.consentBases": "eu-gdpr:A6-1-a"}
    )
    assert finding(decide(training_job(), no_scope, alone), "consent-valid").action is Action.DENY


def test_another_basis_beside_consent_passes():
    uses = [use(condition="eu-gdpr:A9-2-j"), consent_use()]
    assert decide(training_job(), dataset(uses=uses), consent_scope(state="Withdrawn")).verdict is Verdict.ALLOW


def test_a_condition_of_one_use_and_the_basis_of_another_are_no_permission():
    """One use must carry the job alone: consent is withdrawn, and legitimate interest opens no special category."""
    uses = [use(), consent_use()]
    decision = decide(training_job(), dataset(uses=uses), consent_scope(state="Withdrawn"))
    assert decision.verdict is Verdict.DENY
    assert finding(decision, "consent-valid").action is Action.DENY


def test_of_two_scopes_the_one_that_only_waits_decides():
    """The second scope does not exist yet: the job may be allowed once it does, so it is held and not refused."""
    uses = [consent_use(), consent_use(consentScope="coming")]
    withdrawn = consent_scope(state="Withdrawn")
    assert decide(training_job(), dataset(uses=uses), withdrawn).verdict is Verdict.HOLD
    assert decide(training_job(), dataset(uses=uses[::-1]), withdrawn).verdict is Verdict.HOLD


class TestSnapshotAge:
    """The age counts once a data gate takes snapshots; without a gate no data flows."""

    def test_without_a_gate_a_missing_snapshot_passes(self):
        assert decide(training_job()).verdict is Verdict.ALLOW

    def test_with_a_gate_a_missing_snapshot_holds(self):
        found = finding(decide(training_job(), capabilities=WITH_GATE), "consent-valid")
        assert (found.action, found.reason, found.path) == (Action.HOLD, Reason.FACT_MISSING, NAME)
        assert "no consent snapshot" in found.message

    def test_a_fresh_snapshot_passes_until_it_is_too_old(self):
        decision = decide(training_job(), taken(ago(hours=23)), capabilities=WITH_GATE)
        assert decision.verdict is Verdict.ALLOW
        assert decision.valid_until == NOW + timedelta(hours=1)
        later = decide(training_job(), taken(ago(hours=23)), capabilities=WITH_GATE, now=decision.valid_until)
        assert later.verdict is Verdict.HOLD

    def test_an_old_snapshot_holds(self):
        found = finding(decide(training_job(), taken(ago(hours=24))), "consent-valid")
        assert found.action is Action.HOLD
        assert "longer ago than 86400 s" in found.message

    def test_a_policy_can_ask_for_fresher_snapshots_and_not_for_older_ones(self):
        def parameters(age):
            return policy(
                parameters={"special-category.minimumAssurance": "Declared", "consent-valid.maxSnapshotAge": age}
            )

        assert decide(training_job(), taken(ago(hours=13)), parameters("12h")).verdict is Verdict.HOLD
        assert decide(training_job(), taken(ago(hours=25)), parameters("48h")).verdict is Verdict.HOLD

    @pytest.mark.parametrize(
        "junk", [5, True, [], {}, "", "yesterday", "2026-05-31T12:00:00", "9999-12-31T23:59:59-05:00", "0001-01-01"]
    )
    def test_a_moment_that_can_not_be_read_holds(self, junk):
        found = finding(decide(training_job(), taken(junk)), "consent-valid")
        assert found.action is Action.HOLD
        assert "status.snapshot.takenAt" in found.message

    def test_a_snapshot_of_the_future_holds_and_is_looked_at_again_then(self):
        decision = decide(training_job(), taken("2027-01-01T00:00:00Z"))
        assert decision.verdict is Verdict.HOLD
        again = decide(training_job(), taken("2027-01-01T00:00:00Z"), now=decision.valid_until)
        assert again.verdict is Verdict.ALLOW

    @pytest.mark.parametrize("status", [None, [], "x", {"snapshot": "x"}, {"snapshot": []}])
    def test_a_status_of_another_type_is_no_snapshot(self, status):
        scope = {**consent_scope(), "status": status}
        assert decide(training_job(), scope, capabilities=WITH_GATE).verdict is Verdict.HOLD

    def test_an_age_beyond_the_calendar_is_never_reached(self):
        scope = {**taken(ago(hours=1)), "spec": consent_scope(maxSnapshotAge="99999999d")["spec"]}
        long = policy(
            parameters={"special-category.minimumAssurance": "Declared", "consent-valid.maxSnapshotAge": "99999999d"}
        )
        assert decide(training_job(), scope, long).verdict is Verdict.ALLOW


class TestInference:
    def test_a_granted_scope_passes(self):
        assert decide(TRIAGE).verdict is Verdict.ALLOW

    @pytest.mark.parametrize("field", ["legalBasis", "condition"])
    def test_consent_without_a_scope_is_refused(self, field):
        decision = decide(change(inference_job(), f"spec.{field}", "eu-gdpr:A9-2-a"))
        found = finding(decision, "consent-valid")
        assert (found.action, found.path) == (Action.DENY, "spec.consentScope")
        assert "set spec.consentScope" in found.remedy

    def test_a_scope_for_training_is_none_for_inference(self):
        found = finding(decide(TRIAGE, triage_scope(processing=["Training"])), "consent-valid")
        assert (found.action, found.path) == (Action.DENY, "spec.consentScope")

    def test_an_uncovered_class_names_its_entry(self):
        found = finding(decide(TRIAGE, triage_scope(dataClasses=["demographic"])), "consent-valid")
        assert found.path == "spec.dataClasses[0]"

    def test_a_withdrawn_scope_is_refused(self):
        assert decide(TRIAGE, triage_scope(state="Withdrawn")).verdict is Verdict.DENY

    @pytest.mark.parametrize(
        ("narrow", "verdict"),
        [
            ({}, Verdict.ALLOW),
            ({"purposes": ["provide_diagnosis"]}, Verdict.ALLOW),
            ({"processing": ["Inference"]}, Verdict.ALLOW),
            ({"purposes": ["advertise"]}, Verdict.HOLD),
            ({"processing": ["Training"]}, Verdict.HOLD),
        ],
    )
    def test_what_the_grant_of_a_scope_lists_is_its_limit(self, narrow, verdict):
        assert decide(TRIAGE, triage_grant(**narrow)).verdict is verdict

    def test_a_scope_of_another_namespace_says_the_same_whether_it_exists_or_not(self):
        with_scope = decide(TRIAGE, leave_out=["DatasetGrant/triage-to-research"])
        without_scope = decide(TRIAGE, leave_out=["DatasetGrant/triage-to-research", "ConsentScope/triage"])
        assert with_scope.as_dict() == without_scope.as_dict()
        assert with_scope.verdict is Verdict.HOLD
        assert finding(with_scope, "references").reason is Reason.REF_NOT_PERMITTED

    def test_a_granted_scope_that_does_not_exist_holds(self):
        found = finding(decide(TRIAGE, leave_out=["ConsentScope/triage"]), "references")
        assert found.reason is Reason.CONSENT_SCOPE_NOT_FOUND

    def test_a_scope_that_can_not_be_read_holds(self):
        found = finding(decide(TRIAGE, triage_scope(purposes=[])), "references")
        assert found.reason is Reason.INVALID_REFERENCE

    def test_a_grant_that_counts_uses_holds(self):
        counted = triage_grant()
        counted["spec"]["maxUses"] = 3
        found = finding(decide(TRIAGE, counted), "not-enforced-here")
        assert (found.action, found.reason) == (Action.HOLD, Reason.NOT_ENFORCED_HERE)

    def test_the_grant_that_lasts_longest_bounds_the_decision(self):
        short, long = triage_grant(), triage_grant()
        short["spec"]["expiresAt"], long["spec"]["expiresAt"] = "2026-07-01T00:00:00Z", "2026-09-01T00:00:00Z"
        long["metadata"]["name"] = "zz-longer"
        assert decide(TRIAGE, short, long).valid_until.month == 9


def test_two_datasets_are_looked_at_each():
    job = training_job(datasets=[asked(), asked(name="stays", mountPath="/data/stays")])
    worse = dataset("stays", uses=[consent_use(consentScope="old")])
    old = consent_scope("old", state="Withdrawn")
    both = grant(to=[grant_to(), grant_to(name="stays")])
    found = finding(decide(job, worse, old, both), "consent-valid")
    assert found.path == "spec.datasets[1].name"
