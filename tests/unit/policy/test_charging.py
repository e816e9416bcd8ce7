"""Charges: what a job takes of each subject domain, in the numbers that are reserved.

accounting.md 1: a row filter bounds blocks only where blocks are the time at which a record came in. accounting.md 2:
rows of a person add up over datasets. accounting.md 6: N is the smallest public bound. accounting.md 13: a retrain is
charged again, whatever was erased.
"""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from builders import (
    DIGEST,
    NOW,
    asked,
    budget,
    change,
    clinic_world,
    counted,
    dataset,
    facts_of,
    grant,
    grant_to,
    health_class,
    parsed,
    template,
    training_job,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.budget.planner import Question, solve
from mlprivacy.policy.charge import Registered, Selection
from mlprivacy.policy.domains import books, effective, homes
from mlprivacy.policy.engine import evaluate, losses_asked
from mlprivacy.policy.loss import Counted, Limit, LossKey, NotCounted, Sampled, count

PLAIN = health_class(differentialPrivacy={"required": False})
BY_DAY = {"by": "IngestionTime", "period": "Day"}


def charges_of(job, *world, **facts):
    found = facts_of(clinic_world(PLAIN, *world), **facts)
    return evaluate(job, counted(job, found)).charges


def two_domains(**fields):
    """``visits`` in one domain, ``stays`` in another, and a grant for both."""
    return (
        dataset("stays", **fields),
        grant(to=[grant_to(), grant_to(name="stays")]),
        budget(),
        budget("guests", identities=["urn:clinic:stays"]),
    )


def job_of_two(first=None, second=None, **spec):
    sets = [asked(**(first or {})), asked(name="stays", mountPath="/stays", **(second or {}))]
    return training_job(datasets=sets, **spec)


# -- domains -----------------------------------------------------------------------------------------------------------


def test_one_charge_for_each_domain_in_the_order_of_their_names():
    found = charges_of(job_of_two(), *two_domains())
    assert [(c.domain, c.datasets) for c in found] == [
        ("clinic-guests", ("clinic/stays",)),
        ("clinic-patients", ("clinic/visits",)),
    ]
    assert len({c.loss.noise_multiplier for c in found}) == 1  # one run has one noise


def test_the_noise_is_derived_for_the_domain_whose_people_have_most_rows():
    few, many = charges_of(job_of_two(second={"maxRecordsPerUnit": 8}), *two_domains())[::-1]
    assert many.loss.epsilon == pytest.approx(3, rel=1e-3)
    assert few.loss.epsilon < 1
    assert few.loss.noise_multiplier == many.loss.noise_multiplier


def test_the_first_made_of_two_budgets_counts_and_then_the_name():
    old, new = parsed(budget("b", made="2026-01-01T00:00:00Z")), parsed(budget("a", made="2026-01-02T00:00:00Z"))
    assert effective([new, old]).in_force == {"clinic-b": old}
    assert effective([new, old]).idle == {"a": "the PrivacyBudget b has one of its identities already"}
    same = parsed(budget("a", made="2026-01-01T00:00:00Z"))
    assert set(effective([old, same]).in_force) == {"clinic-a"}
    unmade = parsed(without(budget("0"), "metadata.creationTimestamp"))
    assert set(effective([unmade, old]).in_force) == {"clinic-b"}


def test_a_budget_without_effect_takes_no_identity_from_one_that_has():
    """Its domain is taken, so what it lists besides is not taken away from a third."""
    first = parsed(budget("a", identities=["urn:clinic:a"], made="2026-01-01T00:00:00Z"))
    idle = parsed(budget("b", subjectDomain="clinic-a", identities=["urn:clinic:c"], made="2026-01-02T00:00:00Z"))
    third = parsed(budget("c", identities=["urn:clinic:c"], made="2026-01-03T00:00:00Z"))
    assert set(effective([first, idle, third]).in_force) == {"clinic-a", "clinic-c"}


@pytest.mark.parametrize(
    ("uri", "domains"),
    [
        ("s3://clinic/visits/2026/*.parquet", ("others",)),
        ("s3://CLINIC/%76isits/", ("others",)),
        ("s3://clinic/*/2026", ("others",)),
        ("s3://clinic", ("others",)),
        ("s3://clinic/stays", ()),
        ("gs://clinic/visits", ()),
    ],
)
def test_sources_are_compared_as_they_are_normalised(uri, domains):
    facts = facts_of([], registered=(Registered("others", "urn:x", "s3://clinic/visits"),))
    assert tuple(home.domain for home in homes(books(facts), "urn:new", uri, "clinic")) == domains


def test_budgets_and_registrations_are_made_ready_once():
    facts = facts_of([budget()])
    assert books(facts) is books(facts)
    assert books(facts) is not books(facts_of([budget()]))


def test_a_job_on_an_address_that_climbs_is_not_compared_and_not_let_through():
    facts = facts_of([budget()])
    (home,) = homes(books(facts), "urn:clinic:visits", "s3://clinic/%2e%2e/visits", "clinic")
    assert "can not be compared" in home.problem.message


# -- blocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ({"since": "90d"}, Selection(since=datetime(2026, 3, 3, 12, tzinfo=UTC))),
        (
            {"from": "2026-03-01", "to": "2026-03-31"},
            Selection(
                since=datetime(2026, 3, 1, tzinfo=UTC), until=datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
            ),
        ),
    ],
)
def test_a_row_filter_bounds_blocks_by_ingestion_time(rows, wanted):
    job = change(training_job(datasets=[asked(rows=rows)]), "spec.privacy.unit", "Event")
    assert charges_of(job, budget(unit="Event", blocks=BY_DAY))[0].selections == (wanted,)


def test_for_persons_a_row_filter_charges_every_block():
    """accounting.md 1: a person sits in one block, and so do all days of theirs."""
    job = training_job(datasets=[asked(rows={"since": "90d"})])
    assert charges_of(job, budget())[0].selections == (Selection(),)


def test_blocks_of_several_datasets_are_joined():
    both = budget(identities=["urn:clinic:visits", "urn:clinic:stays"])
    job = job_of_two({"blocks": {"to": "2026-W09"}}, {"blocks": {"from": "2026-W20"}})
    found = charges_of(job, dataset("stays"), grant(to=[grant_to(), grant_to(name="stays")]), both)
    assert found[0].selections == (Selection(last="2026-W09"), Selection(first="2026-W20"))


# -- the image ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("containers", "digest"),
    [
        ([{"name": "a", "image": "x"}, {"name": "trainer", "image": f"r/t@{DIGEST}"}], DIGEST),
        ([{"name": "a", "image": f"r/t@{DIGEST}"}, {"name": "b", "image": "x"}], DIGEST),
        ([{"name": "a", "image": f"r/t@{DIGEST}0"}], None),
        ([{"name": "a"}], None),
        (["junk", 3], None),
        ([], None),
    ],
)
def test_the_digest_is_that_of_the_trainer_or_of_the_first(containers, digest):
    job = training_job(template=template(containers=containers))
    assert charges_of(job, budget())[0].image == digest


# -- numbers -----------------------------------------------------------------------------------------------------------


def keys_of(job, *world):
    return losses_asked(job, facts_of(clinic_world(PLAIN, *world)))


def test_the_loss_is_asked_in_the_job_s_numbers():
    job = training_job(datasets=[asked(unitsAtLeast=150_000, maxRecordsPerUnit=4)], trials=3)
    promise, charge = keys_of(job, budget(orders=[2, 8.5, 64]))
    mechanism = Sampled(records=150_000, batch_size=256, epochs=10, noise=None, epsilon=3.0, rows=4)
    assert promise == LossKey(mechanism, 4, 3, 1e-8)
    assert charge == LossKey(mechanism, 4, 3, 1e-8, (2.0, 8.5, 64.0), Limit(10.0, 1e-8, 1.0))


def test_without_a_delta_it_is_that_of_the_largest_population():
    small = dataset("stays", subjects={"column": "patient_id", "kind": "patient", "atLeast": 1_000})
    job = without(job_of_two(), "spec.privacy.delta")
    keys = keys_of(job, *two_domains()[1:], small)
    assert {(key.mechanism.records, key.delta) for key in keys} == {(1_000, 1 / (100 * 200_000))}


def test_records_of_single_events_are_one_row_each():
    job = change(training_job(datasets=[asked(maxRecordsPerUnit=9)]), "spec.privacy.unit", "Event")
    assert {key.rows for key in keys_of(job, budget(unit="Event", blocks=BY_DAY))} == {1}


def test_a_dataset_that_is_not_known_leaves_the_loss_open():
    """N could be any, so nothing is counted; the reference holds the job."""
    job = job_of_two()
    assert keys_of(job, budget()) == ()
    assert charges_of(job, budget())[0].loss is None


def test_the_same_numbers_have_the_same_key_whatever_the_job_is_called():
    world = (budget(),)
    assert keys_of(training_job("a"), *world) == keys_of(training_job("b"), *world)


def test_raw_junk_asks_for_nothing():
    facts = facts_of(clinic_world(budget()))
    for raw in ({"kind": "TrainingJob"}, {"kind": "TrainingJob", "spec": []}, {"kind": "Pod"}, {}):
        assert losses_asked(raw, facts) == ()


@settings(max_examples=40, deadline=None)
@given(
    units=st.lists(st.integers(1_000, 2_000_000), min_size=1, max_size=3),
    rows=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    batch=st.integers(1, 1_000),
    epochs=st.integers(1, 30),
    epsilon=st.floats(0.5, 20),
    trials=st.sampled_from([1, 1, 4]),
    noise=st.one_of(st.none(), st.floats(0.5, 20)),
)
def test_a_charge_never_understates_what_the_planner_says_of_the_same_run(
    units, rows, batch, epochs, epsilon, trials, noise
):
    """At every order, for the people of all datasets together, at the noise that is reserved; and the ceiling holds."""
    names = [f"set-{n}" for n in range(len(units))]
    sets = [
        dataset(name, subjects={"column": "patient_id", "kind": "patient", "atLeast": atleast})
        for name, atleast in zip(names, units, strict=True)
    ]
    job = training_job(
        datasets=[asked(name=name, mountPath=f"/{name}", maxRecordsPerUnit=rows[n]) for n, name in enumerate(names)],
        trials=trials,
        privacy={"mechanism": "DPSGD", "unit": "User", "epsilon": epsilon, "delta": 1e-10, "maxGradNorm": 1.0}
        | {"batchSize": batch, "epochs": epochs}
        | ({} if noise is None else {"noiseMultiplier": noise}),
    )
    given_all = grant(to=[grant_to(name=name) for name in names])
    (charge,) = charges_of(job, *sets, given_all, budget(identities=[f"urn:clinic:{name}" for name in names]))
    reserved = charge.loss
    own = solve(
        Question(
            records=min(units),
            batch_size=batch,
            epochs=Fraction(epochs),
            noise_multiplier=reserved.noise_multiplier,
            delta=1e-10,
            rows_per_unit=sum(rows[: len(units)]),
            trials=trials,
        )
    )
    assert all(a >= b for a, b in zip(reserved.curve, curve_of(own.event, DEFAULT_ORDERS), strict=True))
    assert reserved.epsilon >= own.epsilon
    assert reserved.steps == own.steps
    assert reserved.noise_multiplier == noise if noise is not None else reserved.epsilon <= epsilon


def test_a_retrain_is_charged_as_the_first_run_was():
    """accounting.md 13: erasing people and training anew spends again; nothing is given back for it."""
    assert charges_of(training_job("first"), budget()) == charges_of(training_job("again"), budget(), now=NOW)


# -- counting ----------------------------------------------------------------------------------------------------------

DPSGD = Sampled(records=200_000, batch_size=256, epochs=10, noise=None, epsilon=3.0, rows=1)


def test_counting_never_raises_on_numbers():
    for odd in (
        LossKey(DPSGD, 1, 1, 1e-8, DEFAULT_ORDERS, Limit(10.0, 1e-8)),
        LossKey(DPSGD, 20_000, 1, 1e-8, DEFAULT_ORDERS),
        LossKey(DPSGD, 1, 10**9, 1e-8),
        LossKey(DPSGD, 1, 1, 1.5),
        LossKey(Sampled(1, 2, 1, None, 3.0, 1), 1, 1, 1e-8),
        LossKey(Sampled(10**11, 1, 10**6, 1e-9, 1e-300, 1), 1, 1, 1e-300),
    ):
        assert isinstance(count(odd), Counted | NotCounted)


def test_units_without_a_bound_of_rows_that_can_be_counted_are_refused():
    refused = count(LossKey(DPSGD, 20_000, 1, 1e-8, DEFAULT_ORDERS))
    assert isinstance(refused, NotCounted)
    assert "20000 rows per unit are refused" in refused.why
