"""egress: a job reaches nothing but what a policy lists, and nothing at all where a class seals it."""

import pytest
from builders import asked, data_class, decide, finding, health_class, policy, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.model import Action, Verdict
from mlprivacy.policy.rules.network.egress import parse_entry

OPEN = data_class(network={"egress": "Allowlist"})
LISTED = "192.0.2.0/24:443"
AGE_ONLY = training_job(datasets=[asked(columns=["age"])])


def allowing(*entries, **spec):
    parameters = {"special-category.minimumAssurance": "Declared", "egress.allow": ",".join(entries)}
    return policy(parameters=parameters, **spec)


def test_sealed_is_the_default():
    obligations = decide(AGE_ONLY, allowing(LISTED)).obligations
    assert (obligations.egress, obligations.egress_allow) == ("Sealed", ())


def test_where_no_class_seals_the_list_of_the_policy_is_open():
    obligations = decide(AGE_ONLY, OPEN, allowing(LISTED)).obligations
    assert (obligations.egress, obligations.egress_allow) == ("Allowlist", (LISTED,))


def test_open_means_no_more_than_the_list():
    decision = decide(AGE_ONLY, data_class(network={"egress": "Open"}))
    assert (decision.obligations.egress, decision.obligations.egress_allow) == ("Allowlist", ())


def test_one_class_that_seals_is_enough():
    decision = decide(training_job(), OPEN, health_class(network={"egress": "Sealed"}), allowing(LISTED))
    assert (decision.obligations.egress, decision.obligations.egress_allow) == ("Sealed", ())


def test_a_class_that_is_not_known_opens_nothing():
    decision = decide(AGE_ONLY, allowing(LISTED), leave_out=["DataClass/demographic"])
    assert (decision.verdict, decision.obligations.egress) == (Verdict.HOLD, "Sealed")


@pytest.mark.parametrize("entry", ["anywhere", "192.0.2.0/24", "192.0.2.1/24:443", "192.0.2.0/24:0", "192.0.2.0/24:x"])
def test_an_entry_that_can_not_be_read_holds(entry):
    decision = decide(AGE_ONLY, OPEN, allowing(LISTED, entry))
    found = finding(decision, "egress")
    assert (found.action, found.path) == (Action.HOLD, "metadata.namespace")
    assert "CIDR:PORT, such as 192.0.2.0/24:443" in found.remedy


def test_in_softer_modes_such_an_entry_opens_nothing_and_the_others_stay():
    decision = decide(AGE_ONLY, OPEN, allowing(LISTED, "anywhere", mode="Warn"))
    assert decision.verdict is Verdict.ALLOW
    assert decision.obligations.egress_allow == (LISTED,)


def test_two_policies_open_what_both_list():
    decision = decide(
        AGE_ONLY, OPEN, allowing(LISTED, "198.51.100.0/24:80"), policy("b", parameters={"egress.allow": LISTED})
    )
    assert decision.obligations.egress_allow == (LISTED,)


@given(st.text(max_size=40))
def test_reading_an_entry_gives_a_network_and_a_port_or_a_sentence(text):
    try:
        network, port = parse_entry(text)
    except ValueError:
        return
    assert "/" in network
    assert 0 < port < 65536
