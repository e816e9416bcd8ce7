"""trained-personnel: whoever asks for a job has a current attestation of privacy training."""

import re

import pytest
from builders import change, decide, finding, inference_job, only, policy, rules_of, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Dependency, Verdict
from mlprivacy.policy.people import attestation_key, attestations_of, end_of_attestation, is_register, requester_of

ON = only("trained-personnel")
ALICE = "alice@example.org"
KEY = "alice_40example.org"


def by(user, job=None):
    return change(job or training_job(), "metadata.annotations", {"mlprivacy.dev/requested-by": user})


@pytest.mark.parametrize("until", ["2026-06-01", "2027-01-01", "2026-06-01T12:00:01Z", " 2027-01-01\n"])
@pytest.mark.parametrize("job", [training_job(), inference_job()], ids=["training", "inference"])
def test_a_current_attestation_passes(job, until):
    decision = decide(by(ALICE, job), ON, attestations={KEY: until})
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until is not None


@pytest.mark.parametrize("until", ["2026-05-31", "2026-06-01T12:00:00Z"])
def test_one_that_ended_is_refused(until):
    decision = decide(by(ALICE), ON, attestations={KEY: until})
    found = finding(decision, "trained-personnel")
    assert (decision.verdict, found.action) == (Verdict.DENY, Action.DENY)
    assert KEY in found.remedy


def test_somebody_who_is_not_in_the_register_is_refused():
    found = finding(decide(by("mallory"), ON, attestations={KEY: "2027-01-01"}), "trained-personnel")
    assert found.action is Action.DENY
    assert "the entry mallory of a ConfigMap" in found.remedy


@pytest.mark.parametrize(
    ("job", "attestations", "reason"),
    [
        pytest.param(by(ALICE), None, Reason.STATEMENT_MISSING, id="no register"),
        pytest.param(training_job(), {KEY: "2027-01-01"}, Reason.FACT_MISSING, id="no stamp"),
        pytest.param(by(ALICE), {KEY: "next year"}, Reason.STATEMENT_MISSING, id="no day"),
        pytest.param(by(ALICE), {KEY: "2027-01-01T00:00:00"}, Reason.STATEMENT_MISSING, id="no time zone"),
    ],
)
def test_what_is_not_known_holds(job, attestations, reason):
    decision = decide(job, ON, attestations=attestations)
    found = finding(decision, "trained-personnel")
    assert (decision.verdict, found.action, found.reason) == (Verdict.HOLD, Action.HOLD, reason)


def test_the_decision_rests_on_the_register():
    decision = decide(by(ALICE), ON, attestations=None)
    assert Dependency("TrainingAttestations", "", "*") in decision.dependencies
    known = decide(by(ALICE), ON, attestations={})
    assert Dependency("TrainingAttestations", "", attestation_key(ALICE)) in known.dependencies


def test_an_attestation_for_a_service_account_never_counts():
    """Whoever may mint its tokens asks through it, trained or not."""
    account = "system:serviceaccount:ci:runner"
    decision = decide(by(account), ON, attestations={attestation_key(account): "2027-01-01"})
    assert decision.verdict is Verdict.DENY
    assert "no person" in finding(decision, "trained-personnel").message


def test_a_policy_may_only_warn():
    decision = decide(by(ALICE), only("trained-personnel", action="Warn"), attestations={})
    assert (decision.verdict, finding(decision, "trained-personnel").action) == (Verdict.ALLOW, Action.WARN)


def test_it_is_off_without_a_pack_or_an_override():
    assert "trained-personnel" not in rules_of(decide(by(ALICE), policy(packs=[])))


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("alice", "alice"),
        (ALICE, KEY),
        ("system:serviceaccount:ci:runner", "system_3Aserviceaccount_3Aci_3Arunner"),
        ("a_b", "a_5Fb"),
        ("_sha256_" + "0" * 64, "_5Fsha256_5F" + "0" * 64),
        ("jürgen", "j_C3_BCrgen"),
        ("а", "_D0_B0"),  # a Cyrillic letter that looks like a
        (".", "_sha256_cdb4ee2aea69cc6a83331bbe96dc2caa9a299d21329efb0336fc02a82e1839a8"),
    ],
)
def test_a_user_s_key_fits_a_config_map(user, key):
    assert attestation_key(user) == key


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_no_two_users_share_a_key(one, two):
    keys = attestation_key(one), attestation_key(two)
    assert (keys[0] == keys[1]) is (one == two)
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in keys)


def test_long_names_get_keys_of_their_own():
    one, two = attestation_key("x" * 254), attestation_key("x" * 255)
    assert len({one, two, attestation_key("x" * 253)}) == 3
    assert len(one) <= 253


def test_registers_add_up_and_the_later_day_counts():
    registers = [{"data": {"a": "2027-01-01", "b": "junk"}}, {"data": {"a": "2026-01-01", "b": "2026-01-01", "c": 3}}]
    assert attestations_of(registers) == {"a": "2027-01-01", "b": "2026-01-01"}
    assert attestations_of([]) is None
    assert attestations_of([{"data": None}]) == {}


def test_only_a_labelled_config_map_is_a_register():
    assert is_register({"metadata": {"labels": {"mlprivacy.dev/training-attestations": "true"}}})
    assert not is_register({"metadata": {"labels": {"mlprivacy.dev/training-attestations": "false"}}})
    assert not is_register({"metadata": {"labels": None}})
    assert not is_register({})


def test_the_last_day_counts_whole():
    assert end_of_attestation("2026-12-31").isoformat() == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"metadata": {"annotations": []}}])
def test_an_object_without_a_stamp_has_no_requester(raw):
    assert requester_of(raw) is None


@pytest.mark.parametrize("until", ["20270201", "2027-W05-1", "2027-2-1", "\u0662\u0660\u0662\u0667-01-01"])
def test_a_day_in_any_other_form_is_none(until):
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        end_of_attestation(until)
