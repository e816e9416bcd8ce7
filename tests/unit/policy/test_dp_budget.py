"""dp-budget: what a job takes of people's privacy is counted, fits their budget, and is taken by who may take it.

accounting.md 5: in Warn, and under an override, a job that can not be counted is refused all the same. accounting.md 6:
N and delta come from the data owner. accounting.md 12: no query limit stands in for a loss.
"""

import re

import pytest
from builders import (
    ALL_CAPABILITIES,
    DIGEST,
    IMAGE,
    asked,
    budget,
    change,
    clinic_world,
    consent_scope,
    counted,
    dataset,
    decide,
    exception,
    facts_of,
    finding,
    grant,
    grant_to,
    health_class,
    inference_job,
    policy,
    rules_of,
    template,
    training_job,
    without,
)

from mlprivacy.api.base import Assurance
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.charge import Registered, Room
from mlprivacy.policy.engine import evaluate, losses_asked
from mlprivacy.policy.model import Action, Dependency, Verdict

EVERYWHERE = {"research": "audit", "clinic": "audit"}
PLAIN = health_class(differentialPrivacy={"required": False})  # so that no class asks for a promise
UNPROMISED = without(training_job(), "spec.privacy")
NO_PROMISE = {"mechanism": "None"}
OTHER_DIGEST = "sha256:" + "1" * 64


def decide_in(mode, job, *changed, **facts):
    """The decision where the label and the policy say ``mode``."""
    labels = dict.fromkeys(("research", "clinic"), mode.lower())
    return decide(job, PLAIN, budget(), policy(mode=mode), *changed, modes=labels, **facts)


def excepting(*covered, rule="dp-budget"):
    return exception("uncounted", rule=rule, **({"covers": list(covered)} if covered else {}))


def number_of(remedy):
    return float(re.search(r"set epsilon to ([0-9.e+-]+) or less", remedy)[1])


# -- it is counted -----------------------------------------------------------------------------------------------------


def test_a_job_that_is_counted_and_fits_is_allowed():
    decision = decide(training_job(), budget())
    assert decision.verdict is Verdict.ALLOW
    (charge,) = decision.charges
    assert (charge.domain, charge.budget, charge.datasets) == ("clinic-patients", "patients", ("clinic/visits",))
    assert charge.image == DIGEST
    assert charge.outside is None
    assert charge.loss.epsilon == pytest.approx(3, rel=1e-3)
    assert charge.loss.noise_multiplier == pytest.approx(0.75, rel=0.05)  # derived from the ceiling


def test_what_it_charges_is_no_part_of_the_digest():
    assert decide(training_job(), budget()).digest == decide(training_job()).digest


@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
@pytest.mark.parametrize(
    ("job", "path"),
    [
        (UNPROMISED, "spec.privacy"),
        (training_job(privacy=NO_PROMISE), "spec.privacy.mechanism"),
        (training_job(privacy={"mechanism": "SecureComputation"}), "spec.privacy.mechanism"),
        (training_job(privacy={"mechanism": "Federated", "epsilon": 1}), "spec.privacy.mechanism"),
    ],
    ids=["no privacy", "None", "SecureComputation", "Federated"],
)
def test_what_can_not_be_counted_is_refused_in_warn_as_in_enforce(mode, job, path):
    decision = decide_in(mode, job)
    found = finding(decision, "dp-budget")
    assert (found.action, found.path) == (Action.DENY, path)
    assert "PolicyException from dp-budget" in found.remedy
    assert decision.verdict is Verdict.DENY
    assert [(c.loss, c.outside) for c in decision.charges] == [(None, None)]


@pytest.mark.parametrize("action", ["Evidence", "Warn"])
def test_no_override_softens_it(action):
    soft = policy(rules=[{"id": "dp-budget", "action": action}])
    assert finding(decide(UNPROMISED, PLAIN, budget(), soft), "dp-budget").action is Action.DENY


def test_audit_lets_it_pass_outside_accounting():
    decision = decide_in("Audit", UNPROMISED)
    found = finding(decision, "dp-budget")
    assert (found.action, found.enforced) == (Action.EVIDENCE, Action.DENY)
    assert decision.verdict is Verdict.ALLOW
    assert [c.outside for c in decision.charges] == ["Audit"]


def test_in_audit_a_job_that_is_counted_is_counted():
    decision = decide_in("Audit", training_job())
    assert [c.outside for c in decision.charges] == [None]
    assert decision.charges[0].loss is not None


@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_an_accepted_exception_lets_it_pass_outside_accounting(mode):
    decision = decide_in(mode, UNPROMISED, excepting())
    found = finding(decision, "dp-budget")
    assert (found.action, found.exception) == (Action.WARN, "uncounted")
    assert decision.verdict is Verdict.ALLOW
    assert [c.outside for c in decision.charges] == ["Exception"]


def test_an_exception_from_dp_required_does_not_reach_it():
    decision = decide(UNPROMISED, budget(), excepting(rule="dp-required"))
    assert finding(decision, "dp-required").action is Action.WARN
    assert finding(decision, "dp-budget").action is Action.DENY
    assert decision.verdict is Verdict.DENY


def test_an_exception_for_one_finding_leaves_the_others():
    said = finding(decide(UNPROMISED, PLAIN, budget()), "dp-budget")
    covered = {"path": said.path, "message": said.message}
    assert decide(UNPROMISED, PLAIN, budget(), excepting(covered)).verdict is Verdict.ALLOW
    with_quota = budget(quotas=[{"namespace": "elsewhere", "share": 0.5}])
    assert decide(UNPROMISED, PLAIN, with_quota, excepting(covered)).verdict is Verdict.DENY


def test_in_an_ungoverned_namespace_it_says_what_it_would_find_and_the_job_holds():
    decision = decide(UNPROMISED, PLAIN, budget(), modes={"research": None, "clinic": "enforce"})
    assert decision.verdict is Verdict.HOLD
    assert finding(decision, "dp-budget").action is Action.WARN


def test_data_without_a_budget_is_not_charged():
    decision = decide(UNPROMISED, PLAIN, budget(identities=["urn:clinic:other"]))
    assert decision.verdict is Verdict.ALLOW
    assert decision.charges == ()


def test_an_inference_job_is_never_charged():
    decision = decide(inference_job(), budget())
    assert decision.charges == ()
    assert losses_asked(inference_job(), facts_of(clinic_world(budget()))) == ()
    assert "dp-budget" not in rules_of(decision)


@pytest.mark.parametrize("mode", ["Audit", "Warn", "Enforce"])
def test_a_loss_that_is_not_counted_yet_holds_in_every_mode(mode):
    """A moment's wait; let pass, it would taint the blocks for good."""
    labels = dict.fromkeys(("research", "clinic"), mode.lower())
    facts = facts_of(clinic_world(budget(), policy(mode=mode)), modes=labels)
    decision = evaluate(training_job(), facts)
    found = finding(decision, "dp-budget")
    assert (found.action, found.reason) == (Action.HOLD, Reason.FACT_MISSING)
    assert decision.verdict is Verdict.HOLD
    assert (decision.valid_until - facts.now).total_seconds() == 60
    assert evaluate(training_job(), counted(training_job(), facts)).verdict is Verdict.ALLOW


# -- it fits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"noiseMultiplier": 0.3}], ids=["derived", "noise given"])
def test_more_than_a_whole_block_is_refused_and_the_epsilon_of_the_remedy_passes(given):
    """The largest that an empty block takes: a hundredth more is refused again."""
    small = budget(epsilon=2)
    greedy = change(training_job(), "spec.privacy", training_job()["spec"]["privacy"] | {"epsilon": 500} | given)
    found = finding(decide(greedy, PLAIN, small), "dp-budget")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy.epsilon")
    assert "more than a whole block of patients holds" in found.message
    largest = number_of(found.remedy)
    mended = without(greedy, "spec.privacy.noiseMultiplier") if given else greedy
    assert decide(change(mended, "spec.privacy.epsilon", largest), PLAIN, small).verdict is Verdict.ALLOW
    more = decide(change(mended, "spec.privacy.epsilon", largest * 1.01), PLAIN, small)
    assert finding(more, "dp-budget").action is Action.DENY


def test_a_quota_is_the_whole_of_what_a_namespace_may_take():
    hundredth = budget(quotas=[{"namespace": "research", "share": 0.01}])
    found = finding(decide(training_job(), hundredth), "dp-budget")
    assert "more than the 1% of a block that research may take" in found.message
    mended = change(training_job(), "spec.privacy.epsilon", number_of(found.remedy))
    assert decide(mended, hundredth).verdict is Verdict.ALLOW


def test_where_no_noise_is_enough_no_epsilon_is_named():
    everybody = {"batchSize": 200_000, "epochs": 1_000_000, "noiseMultiplier": 1.0}
    job = training_job(datasets=[asked(maxRecordsPerUnit=10_000)])
    job = change(job, "spec.privacy", job["spec"]["privacy"] | everybody)
    found = finding(decide(job, PLAIN, budget()), "dp-budget")
    assert found.action is Action.DENY
    assert "as it is, no epsilon can be granted" in found.remedy


def test_a_namespace_without_a_quota_gets_nothing_when_there_are_quotas():
    decision = decide(training_job(), budget(quotas=[{"namespace": "elsewhere", "share": 0.5}]))
    found = finding(decision, "dp-budget")
    assert found.action is Action.DENY
    assert "none for the namespace research" in found.message


def test_what_the_ledger_rules_out_for_ever_is_refused_with_the_largest_epsilon():
    rooms = {"clinic-patients": Room(never="2026-W10 has no room for it any more", largest=0.5)}
    found = finding(decide(training_job(), budget(), rooms=rooms), "dp-budget")
    assert (found.action, found.message) == (Action.DENY, "2026-W10 has no room for it any more")
    assert number_of(found.remedy) == 0.5


def test_a_job_that_holds_its_reservation_keeps_running():
    rooms = {"clinic-patients": Room(held=True, never="there is no room any more")}
    assert decide(training_job(), budget(), rooms=rooms).verdict is Verdict.ALLOW
    assert decide(training_job(), budget(epsilon=1), rooms=rooms).verdict is Verdict.ALLOW


def test_what_waits_for_room_is_no_refusal():
    assert decide(training_job(), budget(), rooms={"clinic-patients": Room()}).verdict is Verdict.ALLOW


# -- who may take it, and in which unit --------------------------------------------------------------------------------


def test_a_minimum_assurance_above_what_is_achieved_is_refused():
    demanding = budget(minimumAssurance="Gated")
    found = finding(decide(training_job(), demanding), "dp-budget")
    assert found.action is Action.DENY
    assert "demands assurance Gated of who spends, and this job reaches Declared" in found.message
    fresh = {**consent_scope(), "status": {"snapshot": {"takenAt": "2026-06-01T11:00:00Z"}}}
    every = decide(training_job(), demanding, fresh, capabilities=ALL_CAPABILITIES)
    assert every.achieved.rank >= Assurance.GATED.rank
    assert every.verdict is Verdict.ALLOW


def test_reviewed_images_alone_may_spend():
    assert decide(training_job(), budget(reviewedImages=[DIGEST])).verdict is Verdict.ALLOW
    found = finding(decide(training_job(), budget(reviewedImages=[OTHER_DIGEST])), "dp-budget")
    assert (found.action, found.path) == (Action.DENY, "spec.template.spec.containers")
    assert OTHER_DIGEST in found.remedy


def test_a_second_container_is_reviewed_too():
    """The reviewed trainer beside one that nobody looked at shows it what it holds."""
    beside = {"name": "beside", "image": f"registry.example/x@{OTHER_DIGEST}"}
    both = template(containers=[{"name": "trainer", "image": IMAGE}, beside])
    found = finding(decide(training_job(template=both), budget(reviewedImages=[DIGEST])), "dp-budget")
    assert "the image of beside is not among" in found.message


def test_single_records_are_no_unit_of_a_budget_for_persons():
    job = change(training_job(), "spec.privacy.unit", "Event")
    found = finding(decide(job, PLAIN, budget()), "dp-budget")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy.unit")
    records = budget(unit="Event", blocks={"by": "IngestionTime", "period": "Day"})
    assert decide(job, PLAIN, records).verdict is Verdict.ALLOW


def test_delta_is_at_most_one_in_a_hundred_n_of_the_owners_word():
    """accounting.md 6: whatever the job says of its units, and also where no class asks for it."""
    job = change(training_job(datasets=[asked(unitsAtLeast=1000)]), "spec.privacy.delta", 1e-6)
    found = finding(decide(job, PLAIN, budget()), "dp-budget")
    assert (found.path, found.remedy) == ("spec.privacy.delta", "set delta to 5e-08 or less")


def test_a_budget_that_can_not_be_kept_takes_no_job():
    found = finding(decide(training_job(), budget(delta=1e-3)), "dp-budget")
    assert found.action is Action.DENY
    assert "patients can not be kept: its spec.delta" in found.message


@pytest.mark.parametrize(
    ("span", "path"),
    [
        ({"from": "last week"}, "spec.datasets[0].blocks.from"),
        ({"to": "2026-03-14"}, "spec.datasets[0].blocks.to"),
        ({"from": "2026-W10", "to": "2026-W09"}, "spec.datasets[0].blocks"),
    ],
)
def test_blocks_are_those_of_the_budget(span, path):
    found = finding(decide(training_job(datasets=[asked(blocks=span)]), budget()), "dp-budget")
    assert (found.action, found.path) == (Action.DENY, path)


def test_named_blocks_are_charged_alone():
    named = asked(blocks={"from": "2026-W09", "to": "2026-W10"})
    decision = decide(training_job(datasets=[named]), budget())
    assert decision.verdict is Verdict.ALLOW
    assert [(s.first, s.last) for s in decision.charges[0].selections] == [("2026-W09", "2026-W10")]


# -- to whom the data belongs ------------------------------------------------------------------------------------------


def test_of_a_budget_that_is_gone_the_spent_stays_and_the_job_holds():
    """accounting.md 14, threats 15: deleting the budget gives nobody a fresh one."""
    kept = (Registered("clinic-patients", "urn:clinic:visits"),)
    decision = decide(training_job(), registered=kept)
    found = finding(decision, "dp-budget")
    assert (found.action, found.reason) == (Action.HOLD, Reason.FACT_MISSING)
    assert "whose PrivacyBudget is gone; what was spent of it stays spent" in found.message
    assert [(c.domain, c.budget, c.loss) for c in decision.charges] == [("clinic-patients", "", None)]
    assert Dependency("PrivacyBudget", "", "*") in decision.dependencies
    assert decide(training_job(), budget(), registered=kept).verdict is Verdict.ALLOW


def test_in_audit_data_of_a_budget_that_is_gone_is_used_outside_accounting():
    kept = (Registered("clinic-patients", "urn:clinic:visits"),)
    decision = decide(training_job(), policy(mode="Audit"), modes=EVERYWHERE, registered=kept)
    assert decision.verdict is Verdict.ALLOW
    assert [c.outside for c in decision.charges] == ["Audit"]


def test_a_budget_made_anew_without_the_identity_still_counts_what_the_ledger_holds():
    kept = (Registered("clinic-patients", "urn:clinic:visits"),)
    decision = decide(training_job(), budget(identities=["urn:clinic:other"]), registered=kept)
    assert [(c.domain, c.budget) for c in decision.charges] == [("clinic-patients", "patients")]
    assert decision.charges[0].loss is not None


@pytest.mark.parametrize("own", [True, False], ids=["with a budget of its own", "without a budget"])
def test_a_new_identity_over_the_same_files_is_refused_and_tells_nothing_but_the_domain(own):
    """threats 15: neither a renamed identity nor another spelling of the address gives a fresh budget."""
    renamed = dataset(identity="urn:clinic:renamed", source={"uri": "s3://CLINIC//visits/./2026/*", "format": "CSV"})
    kept = (Registered("others", "urn:secret:name", "s3://clinic/visits/2026"),)
    world = [renamed, *([budget(identities=["urn:clinic:renamed"])] if own else [])]
    decision = decide(training_job(), *world, registered=kept)
    found = finding(decision, "dp-budget")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].name")
    assert "overlaps with one of the subject domain others" in found.message
    assert "secret" not in found.sentence()
    assert decision.verdict is Verdict.DENY


def test_under_an_exception_an_overlapping_source_taints_the_other_domain_and_its_own_is_counted():
    kept = (Registered("others", "urn:other", "s3://clinic/visits"),)
    decision = decide(training_job(), budget(), excepting(), registered=kept)
    assert decision.verdict is Verdict.ALLOW
    own, other = decision.charges
    assert (own.domain, own.outside, own.loss is not None) == ("clinic-patients", None, True)
    assert (other.domain, other.outside, other.loss) == ("others", "Exception", None)


def test_an_identity_registered_elsewhere_is_refused():
    kept = (Registered("others", "urn:clinic:visits"),)
    found = finding(decide(training_job(), budget(), registered=kept), "dp-budget")
    assert "registered for ever in the subject domain others" in found.message


def test_of_two_budgets_of_a_domain_the_first_made_counts():
    later = budget("zeal", made="2026-02-01T00:00:00Z", subjectDomain="clinic-patients", epsilon=1000)
    decision = decide(change(training_job(), "spec.privacy.epsilon", 1000), PLAIN, budget(), later)
    assert [c.budget for c in decision.charges] == ["patients"]
    assert "than a whole block of patients holds" in finding(decision, "dp-budget").message


def test_data_that_only_a_later_budget_lists_holds():
    """It has no effect; silence would leave the data uncounted."""
    first = budget(identities=["urn:clinic:other"])
    later = budget("zeal", made="2026-02-01T00:00:00Z", subjectDomain="clinic-patients")
    found = finding(decide(training_job(), first, later), "dp-budget")
    assert (found.action, found.reason) == (Action.HOLD, Reason.DOMAIN_TAKEN)
    assert "zeal, which has no effect" in found.message


def test_a_budget_that_can_not_be_read_holds_the_data_that_it_lists():
    newer = change(budget(), "spec.unit", "Household")
    found = finding(decide(training_job(), newer), "dp-budget")
    assert (found.action, found.reason) == (Action.HOLD, Reason.INVALID_REFERENCE)


# -- what the decision rests on ----------------------------------------------------------------------------------------


def test_it_rests_on_the_budgets_concerned_and_on_all_where_a_dataset_has_none():
    mine, all_of_them = Dependency("PrivacyBudget", "", "patients"), Dependency("PrivacyBudget", "", "*")
    listed = decide(training_job(), budget()).dependencies
    assert mine in listed
    assert all_of_them not in listed
    assert all_of_them in decide(training_job()).dependencies


def test_every_job_that_is_allowed_is_counted_or_outside():
    """No mode, promise or state of the ledger lets a charge pass in silence."""
    kept = (Registered("clinic-patients", "urn:clinic:visits"), Registered("others", "urn:x", "s3://clinic"))
    jobs = [training_job(), UNPROMISED, training_job(privacy=NO_PROMISE), change(training_job(), "spec.trials", 5)]
    worlds = [(budget(),), (), (budget(epsilon=0.5),), (budget(unit="Event", blocks={"by": "Subject"}),)]
    for mode in ("audit", "warn", "enforce"):
        for job in jobs:
            for world in worlds:
                for registered in ((), kept, kept[:1]):
                    labels = {"research": mode, "clinic": mode}
                    decision = decide(job, PLAIN, policy(mode="Enforce"), *world, modes=labels, registered=registered)
                    for charge in decision.charges:
                        counted_or_said = charge.loss is not None or charge.outside is not None
                        assert counted_or_said or decision.verdict is not Verdict.ALLOW


def test_several_datasets_about_the_same_people_are_one_charge():
    """accounting.md 2: the rows of a person add up over the datasets of one job."""
    stays = dataset("stays")
    both = budget(identities=["urn:clinic:visits", "urn:clinic:stays"])
    given = grant(to=[grant_to(), grant_to(name="stays")])
    job = training_job(datasets=[asked(maxRecordsPerUnit=2), asked(name="stays", mountPath="/s", maxRecordsPerUnit=3)])
    together = decide(job, stays, both, given)
    alone = decide(training_job(datasets=[asked(maxRecordsPerUnit=5)]), budget())
    assert together.verdict is Verdict.ALLOW
    assert together.charges[0].datasets == ("clinic/visits", "clinic/stays")
    assert together.charges[0].loss == alone.charges[0].loss
