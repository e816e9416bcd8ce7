"""dp-consistent: noise, batches and epochs, or the serialised event, keep the epsilon that the job declares.

accounting.md 3: only Poisson sampling under AddOrRemoveOne is accounted; batches of a fixed size and replace-one are
refused. accounting.md 7: pre-processing has no number here, so that a job with it can not claim a smaller loss.
"""

import json
import re
from dataclasses import replace

import pytest
from builders import (
    asked,
    budget,
    change,
    clinic_world,
    dataset,
    decide,
    facts_of,
    finding,
    grant,
    grant_to,
    health_class,
    policy,
    rules_of,
    training_job,
)

from mlprivacy.budget.accounting.serialised import REFUSED
from mlprivacy.budget.ledger.units import to_units
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.policy.engine import evaluate, losses_asked
from mlprivacy.policy.loss import Counted, Limit, LossKey, NotCounted, Sampled, Serialised, count
from mlprivacy.policy.model import Action, Verdict


def with_privacy(job=None, **fields):
    job = job or training_job()
    return change(job, "spec.privacy", job["spec"]["privacy"] | fields)


def of_event(event, **fields):
    text = event if isinstance(event, str) else json.dumps(event)
    return training_job(privacy={"mechanism": "Event", "event": text, "epsilon": 3, "delta": 1e-8} | fields)


def gaussian(noise):
    return {"class_name": "GaussianDpEvent", "noise_multiplier": noise}


def test_noise_that_keeps_the_ceiling_passes():
    assert decide(with_privacy(noiseMultiplier=0.8)).verdict is Verdict.ALLOW


def test_too_little_noise_is_refused_and_the_noise_of_the_remedy_passes():
    found = finding(decide(with_privacy(noiseMultiplier=0.6)), "dp-consistent")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy.noiseMultiplier")
    assert re.search(r"epsilon is 5\.\d+ at a delta of 1e-08, more than the 3 that the job declares", found.message)
    told = float(re.search(r"set noiseMultiplier to ([0-9.]+) or more", found.remedy)[1])
    assert decide(with_privacy(noiseMultiplier=told)).verdict is Verdict.ALLOW
    assert decide(with_privacy(noiseMultiplier=told * 0.999)).verdict is Verdict.DENY


def test_noise_that_is_left_out_is_derived_and_asks_for_nothing_without_a_budget():
    decision = decide(training_job())
    assert decision.verdict is Verdict.ALLOW
    assert losses_asked(training_job(), facts_of(clinic_world())) == ()


def test_a_ceiling_that_no_noise_keeps_is_refused_where_a_budget_is_charged():
    decision = decide(with_privacy(epsilon=1e-7), budget(), health_class())
    assert "no noise multiplier up to 100000 keeps epsilon" in finding(decision, "dp-consistent").message
    assert decision.verdict is Verdict.DENY


def test_rows_of_one_person_are_counted():
    """accounting.md 2: k rows of a person are k draws from the same sampling rate."""
    one = with_privacy(noiseMultiplier=0.8)
    assert decide(one).verdict is Verdict.ALLOW
    five = with_privacy(training_job(datasets=[asked(maxRecordsPerUnit=5)]), noiseMultiplier=0.8)
    assert finding(decide(five), "dp-consistent").action is Action.DENY


def test_trials_are_counted():
    """Of thirty runs the best is kept: that costs more than one, and less than thirty."""
    once = with_privacy(noiseMultiplier=0.8)
    assert decide(once).verdict is Verdict.ALLOW
    found = finding(decide(change(once, "spec.trials", 30)), "dp-consistent")
    epsilon = float(re.search(r"epsilon is ([0-9.]+) at", found.message)[1])
    assert 3 < epsilon < 9
    assert "not-enforced-here" not in rules_of(decide(change(once, "spec.trials", 30)))


def test_of_several_datasets_the_smallest_population_counts():
    """accounting.md 6: N is a public lower bound; halving it raises the sampling rate and with it the loss."""
    small = dataset("stays", subjects={"column": "patient_id", "kind": "patient", "atLeast": 1_000})
    both = training_job(datasets=[asked(), asked(name="stays", mountPath="/stays")])
    granted = grant(to=[grant_to(), grant_to(name="stays")])
    found = finding(decide(with_privacy(both, noiseMultiplier=0.8), small, granted), "dp-consistent")
    assert "with the sampling rate 0.256" in found.message


@pytest.mark.parametrize("units", [100_000, 200_000])
def test_what_the_job_says_of_its_units_can_only_cost_more(units):
    (key,) = losses_asked(
        with_privacy(training_job(datasets=[asked(unitsAtLeast=units)]), noiseMultiplier=1.0), facts_of(clinic_world())
    )
    assert isinstance(key.mechanism, Sampled)
    assert key.mechanism.records == units
    more = with_privacy(training_job(datasets=[asked(unitsAtLeast=10**9)]), noiseMultiplier=1.0)
    (bounded,) = losses_asked(more, facts_of(clinic_world()))
    assert bounded.mechanism.records == 200_000


def test_a_batch_larger_than_the_data_is_refused():
    found = finding(decide(with_privacy(batchSize=200_001)), "dp-consistent")
    assert found.path == "spec.privacy.batchSize"
    assert found.remedy.startswith("set batchSize to 200000 or less; or, if the data holds more, ask the data owner of")
    assert decide(with_privacy(batchSize=200_000)).verdict is Verdict.ALLOW


def test_an_event_within_its_epsilon_passes():
    assert decide(of_event(gaussian(20))).verdict is Verdict.ALLOW


def test_an_event_that_comes_to_more_is_refused_and_the_epsilon_of_the_remedy_passes():
    loose = health_class(differentialPrivacy={"required": True, "unit": "User"})
    found = finding(decide(of_event(gaussian(1)), loose), "dp-consistent")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy.event")
    told = float(re.search(r"set epsilon to ([0-9.]+)", found.remedy)[1])
    assert decide(of_event(gaussian(1), epsilon=told), loose).verdict is Verdict.ALLOW


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_what_has_no_valid_bound_is_refused_with_the_reason(name, mode):
    """accounting.md 3: batches of a fixed size, shuffling and replace-one; a budget is charged in no mode with them."""
    labels = dict.fromkeys(("research", "clinic"), mode.lower())
    decision = decide(of_event({"class_name": name}), budget(), policy(mode=mode), modes=labels)
    assert decision.verdict is Verdict.DENY
    told = next(f for f in decision.findings if f.rule in ("dp-consistent", "dp-budget"))
    assert f"{name} is refused: {REFUSED[name]}" in told.message
    assert decision.charges[0].loss is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[" * 3000, "no JSON"),
        ('{"class_name": "GaussianDpEvent", "noise_multiplier": NaN}', "NaN"),
        ('{"class_name": "GaussianDpEvent", "noise_multiplier": 1e999}', "noise multiplier is inf"),
        ('{"class_name": "GaussianDpEvent", "noise_multiplier": 0}', "noise multiplier is 0"),
        ('{"class_name": "GaussianDpEvent", "noise_multiplier": 9, "noise_multiplier": 1}', "twice"),
        ('{"class_name": "GaussianDpEvent", "noise_multiplier": 9, "neighboring_relation": "REPLACE_ONE"}', "REPLACE"),
        ('{"class_name": "Unheard"}', "Unheard is refused"),
    ],
)
def test_what_is_no_event_is_refused(text, why):
    found = finding(decide(of_event(text)), "dp-consistent")
    assert found.action is Action.DENY
    assert why in found.message


def test_an_event_that_costs_nothing_is_charged_to_no_budget():
    decision = decide(of_event({"class_name": "NoOpDpEvent"}), budget())
    assert "the loss is 0 at every order" in finding(decision, "dp-budget").message


def sampled(rate, noise=4):
    inner = {"class_name": "GaussianDpEvent", "noise_multiplier": noise}
    return {"class_name": "PoissonSampledDpEvent", "sampling_probability": rate, "event": inner}


@pytest.mark.parametrize("rate", [1e-300, 1e-9])
def test_an_event_that_draws_less_than_one_record_is_refused(rate):
    found = finding(decide(of_event({"class_name": "SelfComposedDpEvent", "count": 3, "event": sampled(rate)})),
                    "dp-consistent")  # fmt: skip
    assert found.action is Action.DENY
    assert "less than one in a batch" in found.message


def test_a_loss_of_zero_at_an_order_of_use_is_none():
    """1e-300 squared is 0 for a computer, at all orders but those at which rare events count."""
    key = LossKey(Serialised(json.dumps(sampled(1e-300, 0.1))), 1, 1, 1e-8, DEFAULT_ORDERS, Limit(10, 1e-8))
    counted = count(key)
    assert isinstance(counted, NotCounted)
    assert "the loss is 0 at " in counted.why
    small = count(replace(key, mechanism=Serialised(json.dumps(sampled(1e-5, 4)))))
    assert isinstance(small, Counted)
    assert all(to_units(small.loss.curve))


def test_under_warn_the_false_promise_is_told_and_the_true_loss_is_charged():
    labels = {"research": "warn", "clinic": "warn"}
    decision = decide(with_privacy(noiseMultiplier=0.6), budget(), policy(mode="Warn"), modes=labels)
    assert finding(decision, "dp-consistent").action is Action.WARN
    assert decision.verdict is Verdict.ALLOW
    assert decision.charges[0].loss.epsilon > 5


def test_a_loss_that_is_not_counted_yet_holds():
    decision = evaluate(with_privacy(noiseMultiplier=0.8), facts_of(clinic_world()))
    assert finding(decision, "dp-consistent").action is Action.HOLD
    assert decision.verdict is Verdict.HOLD
