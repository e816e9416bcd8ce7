"""PolicyExceptions: one rule, one job, two people, one moment; nothing adds up and nothing else is reached."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import (
    NOW,
    asked,
    change,
    clinic_world,
    data_class,
    decide,
    exception,
    facts_of,
    finding,
    grant,
    inference_job,
    labels,
    policy,
    rules_of,
    selecting,
    training_job,
)
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.exceptions import NEVER, exceptable, exception_errors, exception_warnings, judge, terms_of
from mlprivacy.policy.model import Action, Dependency, Verdict
from mlprivacy.policy.rules import all_rules, rules_by_id

PLAIN = policy(packs=[])  # so that a test is about one rule, whatever the packs ask for
BREACH_OF_DP = change(training_job(), "spec.privacy.epsilon", 5)
DROP = data_class("demographic", identifiers="Drop")  # then minimisation refuses whoever asks for age
LATER = datetime(2026, 6, 20, 12, 0, tzinfo=UTC)


def decided(job, *objects, **facts):
    return decide(job, PLAIN, *objects, **facts)


def test_a_breach_of_the_rule_becomes_a_warning_that_names_the_exception():
    assert decided(BREACH_OF_DP).verdict is Verdict.DENY
    decision = decided(BREACH_OF_DP, exception())
    found = finding(decision, "dp-required")
    assert decision.verdict is Verdict.ALLOW
    assert (found.action, found.exception, decision.exceptions) == (Action.WARN, "visits-dp", ("visits-dp",))
    assert "Accepted for a while by the PolicyException visits-dp." in found.sentence()
    assert found.as_dict()["exception"] == "visits-dp"


def test_the_decision_rests_on_it_and_comes_back_at_its_end():
    decision = decided(BREACH_OF_DP, exception())
    assert Dependency("PolicyException", "", "visits-dp") in decision.dependencies
    assert decision.valid_until == LATER


def test_what_is_rendered_is_the_same_with_and_without_need_of_it():
    """A job that needs an exception no more is not started anew when it ends."""
    assert decided(training_job(), exception()).digest == decided(training_job()).digest


def test_it_ends_at_its_second():
    before = decided(BREACH_OF_DP, exception(), now=LATER - timedelta(microseconds=1))
    after = decided(BREACH_OF_DP, exception(), now=LATER)
    assert (before.verdict, after.verdict) == (Verdict.ALLOW, Verdict.DENY)
    assert after.valid_until is None
    assert "visits-dp does not apply: it ended at 2026-06-20T12:00:00Z" in finding(after, "dp-required").remedy


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"approved": False}, Reason.WAITING_FOR_APPROVAL),
        ({"requested_by": None}, Reason.NOT_STAMPED),
        ({"requested_by": ""}, Reason.NOT_STAMPED),
        ({"approved_by": None}, Reason.NOT_STAMPED),
        ({"approved_by": "alice"}, Reason.NOT_STAMPED),
        ({"approved": False, "requested_by": None}, Reason.NOT_STAMPED),
        ({"expiresAt": "2026-05-31T00:00:00Z"}, Reason.EXPIRED),
        ({"expiresAt": "2026-06-01T14:00:00+02:00"}, Reason.EXPIRED),
        ({"expiresAt": "2026-05-01T00:00:00Z"}, Reason.INVALID_DATES),
        ({"expiresAt": "9999-12-31T23:59:59Z"}, Reason.INVALID_DATES),
        ({"expiresAt": "9999-12-31T23:59:59-14:00"}, Reason.INVALID_DATES),
        ({"expiresAt": "2026-06-24T12:00:01Z"}, Reason.INVALID_DATES),
        ({"made": "2026-06-02T00:00:00Z"}, Reason.INVALID_DATES),
        ({"made": "no moment"}, Reason.INVALID_DATES),
        ({"made": "2026-05-25T12:00:00"}, Reason.INVALID_DATES),
        ({"made": None}, Reason.INVALID_DATES),
        ({"requested_by": "system:serviceaccount:ci:runner"}, Reason.NOT_STAMPED),
        ({"approved_by": "system:serviceaccount:ci:runner"}, Reason.NOT_STAMPED),
        ({"approval": None}, Reason.NOT_BOUND),
        ({"approval": {"uid": "of-another", "generation": 1}}, Reason.NOT_BOUND),
        ({"expiresAt": "2026-06-30"}, Reason.INVALID_SPEC),
        ({"rule": "no-such-rule"}, Reason.NOT_EXCEPTABLE),
        ({"rule": "egress"}, Reason.NOT_EXCEPTABLE),
        ({"workload": {"kind": "TrainingJob", "namespace": "research", "name": "*"}}, Reason.INVALID_SPEC),
    ],
    ids=str,
)
def test_anything_amiss_and_it_lets_nothing_pass_and_says_why(given, reason):
    facts = facts_of(clinic_world(PLAIN, exception(**given)))
    judged = judge(facts.exceptions[0], NOW, terms_of(()))
    assert (judged.reason, judged.in_force) == (reason, False)
    assert judged.sentence
    assert evaluate(BREACH_OF_DP, facts).verdict is Verdict.DENY


def test_its_last_moment_may_be_the_bound_itself():
    assert decided(BREACH_OF_DP, exception(expiresAt="2026-06-24T12:00:00Z")).verdict is Verdict.ALLOW


def test_one_made_in_the_future_begins_by_itself():
    decision = decided(BREACH_OF_DP, exception(made="2026-06-02T00:00:00Z"))
    assert decision.valid_until == datetime(2026, 6, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "workload",
    [
        {"kind": "TrainingJob", "namespace": "research", "name": "diagnosi"},
        {"kind": "TrainingJob", "namespace": "research", "name": "diagnosis2"},
        {"kind": "TrainingJob", "namespace": "clinic", "name": "diagnosis"},
        {"kind": "InferenceJob", "namespace": "research", "name": "diagnosis"},
    ],
    ids=str,
)
def test_it_is_for_one_job_only_whatever_an_adapter_hands_over(workload):
    decision = decided(BREACH_OF_DP, exception(workload=workload))
    assert decision.verdict is Verdict.DENY
    assert not any(d.kind == "PolicyException" for d in decision.dependencies)


def test_a_job_that_breaks_two_rules_needs_two_exceptions():
    one, two = exception(), exception("visits-age", rule="minimisation")
    assert decided(BREACH_OF_DP, DROP).verdict is Verdict.DENY
    assert decided(BREACH_OF_DP, DROP, one).verdict is Verdict.DENY
    assert decided(BREACH_OF_DP, DROP, two).verdict is Verdict.DENY
    both = decided(BREACH_OF_DP, DROP, one, two)
    assert (both.verdict, both.exceptions) == (Verdict.ALLOW, ("visits-age", "visits-dp"))
    assert decided(BREACH_OF_DP, DROP, one, exception("visits-age", rule="minimisation", approved=False)).verdict is (
        Verdict.DENY
    )


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"approved": False}, {"expiresAt": "2026-05-31T00:00:00Z"}),
        ({"requested_by": None}, {"approved_by": None}),
        ({"approved_by": "alice"}, {"approved": False}),
        ({"expiresAt": "2027-01-01T00:00:00Z"}, {"approved": False}),
    ],
    ids=str,
)
def test_two_that_are_each_not_enough_are_not_enough_together(one, two):
    assert decided(BREACH_OF_DP, exception("a", **one), exception("b", **two)).verdict is Verdict.DENY


def test_of_two_for_one_rule_the_longer_one_is_named_and_the_end_of_both_is_met():
    short = exception("a-short", expiresAt="2026-06-10T00:00:00Z")
    decision = decided(BREACH_OF_DP, short, exception("b-long"))
    assert decision.exceptions == ("b-long",)
    assert decision.valid_until == datetime(2026, 6, 10, tzinfo=UTC)
    assert decided(BREACH_OF_DP, short, exception("b-long"), now=decision.valid_until).verdict is Verdict.ALLOW


def test_a_hold_for_a_missing_fact_stays_a_hold():
    held = decided(training_job(), exception(), leave_out=["Dataset/visits"])
    assert (held.verdict, held.exceptions) == (Verdict.HOLD, ())


def test_what_a_grant_does_not_cover_is_access_and_stays_refused():
    narrow = grant(to=[{"kind": "Dataset", "name": "visits", "columns": ["age"], "purposes": ["train_ai_system"],
                        "processing": ["Training"]}])  # fmt: skip
    columns = exception(rule="minimisation")
    decision = decided(training_job(), narrow, columns)
    assert decision.verdict is Verdict.DENY
    assert finding(decision, "minimisation").exception is None


def test_a_spec_that_can_not_be_read_knows_no_exception():
    broken = change(BREACH_OF_DP, "spec.privacy.epsilon", "much")
    assert decided(broken, exception()).verdict is Verdict.DENY


def test_softer_modes_need_none_and_name_none():
    decision = decide(BREACH_OF_DP, policy(packs=[], mode="Warn"), exception())
    assert (decision.verdict, decision.exceptions) == (Verdict.ALLOW, ())


def test_inference_jobs_have_theirs():
    job = change(inference_job(), "spec.assurance", "Gated")
    workload = {"kind": "InferenceJob", "namespace": "research", "name": "diagnosis-api"}
    before = decided(job)
    assert (before.verdict, rules_of(before)[0]) == (Verdict.DENY, "assurance")
    assert decided(job, exception(rule="assurance", workload=workload)).verdict is Verdict.ALLOW


def ending(raw):
    """The object as it stands while a finalizer keeps it after its deletion."""
    return change(raw, "metadata.deletionTimestamp", "2026-06-01T11:00:00Z")


def test_one_that_was_deleted_counts_no_more_whatever_keeps_it():
    decision = decided(BREACH_OF_DP, ending(exception()))
    assert decision.verdict is Verdict.DENY
    assert "it is being deleted" in finding(decision, "dp-required").remedy
    facts = facts_of(clinic_world(PLAIN, ending(exception())))
    assert judge(facts.exceptions[0], NOW, terms_of(())).reason is Reason.BEING_DELETED


# -- what it covers ----------------------------------------------------------------------------------------------------


def found_in(job):
    """What `mlprivacy check` prints of the breach of dp-required in this job."""
    found = finding(decided(job), "dp-required")
    return {"path": found.path, "message": found.message}


def test_one_that_covers_a_finding_lets_that_finding_pass_and_no_other_of_its_rule():
    covering = exception(covers=[found_in(BREACH_OF_DP)])
    assert decided(BREACH_OF_DP, covering).verdict is Verdict.ALLOW
    for other in (
        change(training_job(), "spec.privacy.epsilon", 50),
        change(training_job(), "spec.privacy", {"mechanism": "None"}),
    ):
        assert decided(other, exception()).verdict is Verdict.ALLOW  # what covers nothing by name covers all
        decision = decided(other, covering)
        assert decision.verdict is Verdict.DENY
        assert "visits-dp does not apply: it was approved for other findings" in finding(decision, "dp-required").remedy


def test_what_no_rule_looks_at_may_change_meanwhile():
    job = change(BREACH_OF_DP, "spec.privacy.epochs", 3)
    assert decided(job, exception(covers=[found_in(BREACH_OF_DP)])).verdict is Verdict.ALLOW


def test_of_several_the_one_that_covers_the_finding_is_taken():
    short = exception("short", covers=[found_in(BREACH_OF_DP)], expiresAt="2026-06-10T00:00:00Z")
    other = exception("other", covers=[{"path": "spec.privacy", "message": "something else"}])
    assert decided(BREACH_OF_DP, short, other).exceptions == ("short",)


def test_one_without_says_that_it_is_for_whatever_the_rule_finds():
    facts = facts_of(clinic_world(PLAIN, exception()))
    assert "for whatever dp-required finds in that job" in judge(facts.exceptions[0], NOW, terms_of(())).sentence


# -- what policies allow -----------------------------------------------------------------------------------------------


def with_terms(name="eu", namespace=None, **terms):
    selector = {"namespaceSelector": selecting(namespace)} if namespace else {}
    return policy(name, packs=[], exceptions=terms, **selector)


def test_a_policy_shortens_them_from_the_moment_they_were_made():
    assert decide(BREACH_OF_DP, with_terms(maxDuration="26d"), exception()).verdict is Verdict.ALLOW
    decision = decide(BREACH_OF_DP, with_terms(maxDuration="25d"), exception())
    assert decision.verdict is Verdict.DENY
    assert "more than 25d after it was made" in finding(decision, "dp-required").remedy


def test_a_policy_lists_what_can_be_excepted():
    assert decide(BREACH_OF_DP, with_terms(allow=["dp-required"]), exception()).verdict is Verdict.ALLOW
    assert decide(BREACH_OF_DP, with_terms(allow=["minimisation"]), exception()).verdict is Verdict.DENY
    assert decide(BREACH_OF_DP, with_terms(allow=[]), exception()).verdict is Verdict.DENY


def test_a_list_brings_nothing_in_that_knows_no_exception():
    facts = facts_of(clinic_world(exception(rule="egress")))
    spec = facts_of([with_terms(allow=["egress"])]).policies
    assert judge(facts.exceptions[0], NOW, terms_of([spec])).reason is Reason.NOT_EXCEPTABLE


@pytest.mark.parametrize(
    "terms",
    [({"maxDuration": "90d"}, {"maxDuration": "7d"}), ({"allow": ["dp-required"]}, {"allow": ["minimisation"]})],
    ids=str,
)
def test_of_several_policies_the_strictest_holds(terms):
    lax, strict = with_terms(**terms[0]), with_terms("second", **terms[1])
    assert decide(BREACH_OF_DP, lax, exception()).verdict is Verdict.ALLOW
    assert decide(BREACH_OF_DP, lax, strict, exception()).verdict is Verdict.DENY


def test_a_policy_for_the_jobs_namespace_softens_nothing_where_the_data_is():
    long = exception(made="2026-04-25T12:00:00Z")
    everywhere = with_terms(maxDuration="90d")
    here = with_terms(namespace="research", maxDuration="90d")
    assert decide(BREACH_OF_DP, everywhere, long).verdict is Verdict.ALLOW
    found = finding(decide(BREACH_OF_DP, here, long), "dp-required")
    assert found.exception is None
    assert "more than 30d after it was made" in found.remedy


# -- what never can ----------------------------------------------------------------------------------------------------


def test_what_keeps_a_pod_sealed_and_what_no_law_allows_knows_no_exception():
    never = {rule.id for rule in all_rules() if not exceptable(rule.id)}
    assert NEVER & set(rules_by_id()) <= never
    assert {rule.id for rule in all_rules() if rule.id.startswith("rdma-")} <= never
    assert not any(exceptable(name) for name in ("schema", "references", "not-enforced-here", "custom/mine"))
    assert exceptable("dp-required")


def test_it_is_refused_when_it_is_made():
    spec = facts_of([exception(rule="pod-hardening")]).exceptions[0].spec
    assert "knows no exception" in exception_errors(spec)[0].message
    unknown = facts_of([exception(rule="dp-requird")]).exceptions[0].spec
    assert "dp-required" in exception_errors(unknown)[0].message


@pytest.mark.parametrize(
    ("end", "word"), [("2026-05-01T00:00:00Z", "is over"), ("9999-12-31T23:59:59Z", "is too late")], ids=str
)
def test_absurd_dates_are_warned_of_when_it_is_made(end, word):
    assert word in exception_warnings(facts_of([exception(expiresAt=end)]).exceptions[0], NOW)[0].message
    assert exception_warnings(facts_of([exception()]).exceptions[0], NOW) == ()


def test_an_end_beyond_the_policies_bound_is_warned_of_with_the_latest_that_counts():
    late = facts_of([exception(expiresAt="2027-01-01T00:00:00Z")]).exceptions[0]
    (warning,) = exception_warnings(late, NOW, terms_of(()))
    assert "Write 2026-06-24T12:00:00Z at the latest: the policies in force let one last 30d" in warning.message
    assert decided(BREACH_OF_DP, exception(expiresAt="2026-06-24T12:00:00Z")).verdict is Verdict.ALLOW


def test_a_rule_that_a_policy_does_not_list_is_warned_of():
    terms = terms_of([[facts_of([policy(exceptions={"allow": ["minimisation"]})]).policies[0]]])
    (warning,) = exception_warnings(facts_of([exception()]).exceptions[0], NOW, terms)
    assert (warning.path, "allows no exception from dp-required" in warning.message) == ("spec.rule", True)


# -- what people owe ---------------------------------------------------------------------------------------------------

OWED = policy(packs=[], rules=[{"id": "impact-assessment", "action": "Deny"}])
ASSESSMENT = exception("visits-pia", rule="impact-assessment")


def test_a_statement_that_people_owe_can_be_done_without_for_a_while():
    held = decide(training_job(), OWED)
    assert (held.verdict, finding(held, "impact-assessment").reason) == (Verdict.HOLD, Reason.STATEMENT_MISSING)
    let = decide(training_job(), OWED, ASSESSMENT)
    assert (let.verdict, let.exceptions) == (Verdict.ALLOW, ("visits-pia",))
    assert finding(let, "impact-assessment").action is Action.WARN
    assert decide(training_job(), OWED, ASSESSMENT, now=LATER).verdict is Verdict.HOLD


def test_an_exception_does_not_reach_a_fact_that_is_not_known_and_the_finding_says_so():
    trained = policy(packs=[], rules=[{"id": "trained-personnel", "action": "Deny"}])
    held = decide(training_job(), trained, exception("visits-staff", rule="trained-personnel"))
    assert (held.verdict, held.exceptions) == (Verdict.HOLD, ())
    assert "The PolicyException visits-staff does not reach this" in finding(held, "trained-personnel").remedy


@pytest.mark.parametrize("rule", sorted(NEVER))
def test_what_can_not_be_excepted_is_refused_with_a_sentence(rule):
    (error,) = exception_errors(facts_of([exception(rule=rule)]).exceptions[0].spec)
    assert error.message.startswith(f"the rule {rule} knows no exception; neither do ")
    assert f" {rule}," not in error.message.split(";")[1]


def test_one_that_was_approved_once_says_who_revoked_it_and_when():
    taken_back = exception(approved=False, approved_by=None)
    taken_back["metadata"]["annotations"] |= {
        "mlprivacy.dev/revoked-by": "erin",
        "mlprivacy.dev/revoked-at": "2026-05-30T08:00:00Z",
    }
    judged = judge(facts_of([taken_back]).exceptions[0], NOW, terms_of(()))
    assert (judged.reason, judged.in_force) == (Reason.REVOKED, False)
    assert judged.sentence == "it was revoked by erin at 2026-05-30T08:00:00Z"


def test_a_softer_mode_says_what_the_exception_makes_of_it_under_enforce():
    audit = policy(packs=[], mode="Audit")
    assert finding(decide(BREACH_OF_DP, audit), "dp-required").enforced is Action.DENY
    excepted = decide(BREACH_OF_DP, audit, exception())
    assert (finding(excepted, "dp-required").enforced, excepted.exceptions) == (Action.WARN, ())


# -- properties --------------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
_PERSON = st.sampled_from([None, "", "alice", "dave"])
_MOMENT = st.sampled_from(
    [
        "2026-05-01T00:00:00Z",
        "2026-06-01T12:00:00Z",
        "2026-06-05T00:00:00Z",
        "2026-06-20T12:00:00Z",
        "2027-01-01T00:00:00Z",
    ]
)
_ONE = st.builds(
    exception,
    _NAMES,
    made=_MOMENT,
    requested_by=_PERSON,
    approved_by=_PERSON,
    rule=st.sampled_from(["dp-required", "minimisation", "purpose-limitation", "egress", "pod-hardening"]),
    expiresAt=_MOMENT,
    approved=st.booleans(),
    workload=st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["TrainingJob", "InferenceJob"]),
            "namespace": st.sampled_from(["research", "clinic"]),
            "name": st.sampled_from(["diagnosis", "diagnosis2"]),
        }
    ),
)
_SETS = st.lists(_ONE, max_size=6, unique_by=lambda raw: raw["metadata"]["name"])
_JOB = change(BREACH_OF_DP, "spec.datasets", [asked(columns=["age", "diagnosis"])])


def refused(*exceptions):
    decision = decided(_JOB, DROP, *exceptions)
    return {(f.rule, f.path, f.message) for f in decision.findings if f.action is Action.DENY}


@given(_SETS)
def test_a_set_of_exceptions_lets_pass_what_its_single_ones_let_pass_and_no_more(exceptions):
    whole = refused()
    passed = whole - refused(*exceptions)
    assert passed == set().union(*(whole - refused(one) for one in exceptions))
    assert len(whole) == 2


@given(_SETS)
def test_no_exception_changes_anything_but_refusals_of_its_rule(exceptions):
    before, after = decided(_JOB, DROP), decided(_JOB, DROP, *exceptions)
    assert len(before.findings) == len(after.findings)
    there = {(f.rule, f.path, f.message): f for f in before.findings}
    for found in after.findings:
        old = there[found.rule, found.path, found.message]
        if found.exception is None:
            assert replace(found, remedy=old.remedy) == old
        else:
            assert (old.action, found.action) == (Action.DENY, Action.WARN)
            raw = next(e for e in exceptions if e["metadata"]["name"] == found.exception)
            assert raw["spec"]["rule"] == found.rule
            assert raw["spec"]["approved"]
            people = raw["metadata"]["annotations"]
            assert len({people["mlprivacy.dev/requested-by"], people["mlprivacy.dev/approved-by"]} - {""}) == 2


def test_an_ungoverned_namespace_is_held_with_and_without():
    facts = facts_of(clinic_world(PLAIN, exception()))
    facts = replace(facts, namespaces={**facts.namespaces, "research": labels("research", None)})
    assert evaluate(BREACH_OF_DP, facts).verdict is Verdict.HOLD


def test_a_thousand_requests_neither_stall_a_decision_nor_hide_what_is_approved():
    asked_for = [exception(f"a{n}", approved=False, approved_by=None) for n in range(1000)]
    decision = decided(BREACH_OF_DP, *asked_for, exception("z"))
    assert (decision.verdict, decision.exceptions) == (Verdict.ALLOW, ("z",))
    assert len(decision.dependencies) < 100
    assert len(finding(decided(BREACH_OF_DP, *asked_for), "dp-required").remedy) < 1000
