"""The planner: every direction, what it refuses, and that its answer keeps the ceiling and the next one would not."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.budget.accounting.events import Refused
from mlprivacy.budget.planner import Question, exact, solve, steps_of, sweep

MNIST = Question(records=60_000, batch_size=256, epochs=Fraction(60), noise_multiplier=1.1, delta=1e-5)


def test_epsilon_of_a_job() -> None:
    plan = solve(MNIST)
    assert (plan.solved_for, plan.steps, plan.sampling_rate) == ("epsilon", 14_063, 256 / 60_000)
    assert plan.epsilon == pytest.approx(2.5967, abs=5e-5)
    assert len(plan.warnings) == 1  # delta is above 1/(100 N)


def test_delta_is_1_over_100_n_unless_given() -> None:
    plan = solve(replace(MNIST, delta=None))
    assert plan.delta == pytest.approx(1 / 6_000_000)
    assert plan.warnings == ()


def test_noise_for_an_epsilon() -> None:
    plan = solve(replace(MNIST, noise_multiplier=None, epsilon=2.5967))
    assert plan.solved_for == "noise_multiplier"
    assert plan.noise_multiplier == pytest.approx(1.1, abs=1e-4)
    assert plan.epsilon <= 2.5967


def test_steps_for_an_epsilon_and_one_more_is_too_many() -> None:
    plan = solve(replace(MNIST, epochs=None, epsilon=3.0))
    assert plan.solved_for == "steps"
    assert plan.epsilon <= 3 < solve(replace(MNIST, epochs=None, steps=plan.steps + 1)).epsilon
    assert plan.epochs == Fraction(plan.steps * 256, 60_000)


def test_batch_size_for_an_epsilon_and_one_more_is_too_large() -> None:
    plan = solve(replace(MNIST, batch_size=None, epsilon=3.0))
    assert (plan.solved_for, plan.batch_size) == ("batch_size", 329)
    assert plan.epsilon <= 3 < solve(replace(MNIST, batch_size=330)).epsilon


def test_records_for_an_epsilon_and_one_fewer_is_too_few() -> None:
    plan = solve(replace(MNIST, records=None, epsilon=2.0))
    assert plan.solved_for == "records"
    assert plan.records is not None
    assert plan.epsilon <= 2 < solve(replace(MNIST, records=plan.records - 1)).epsilon


def test_when_all_is_given_the_ceiling_is_checked() -> None:
    assert solve(replace(MNIST, epsilon=2.6)).within
    assert not solve(replace(MNIST, epsilon=2.5)).within


def test_a_sampling_rate_instead_of_records_and_batch_size() -> None:
    plan = solve(Question(sampling_rate=exact("0.04"), epochs=exact("90"), noise_multiplier=1.5, delta=1e-5))
    assert plan.steps == 2_250
    assert plan.epsilon == pytest.approx(7.329335, abs=5e-7)


def test_rows_stability_and_trials_raise_the_charge() -> None:
    one = solve(MNIST).epsilon
    assert solve(replace(MNIST, rows_per_unit=5)).epsilon == pytest.approx(17.3, abs=0.05)
    assert solve(replace(MNIST, stability=5)).epsilon == solve(replace(MNIST, rows_per_unit=5)).epsilon
    assert one < solve(replace(MNIST, trials=10, drawn="logarithmic")).epsilon
    assert solve(replace(MNIST, trials=10)).epsilon < solve(replace(MNIST, trials=10, drawn="fixed")).epsilon


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"records": None}, "--records is missing"),
        ({"records": None, "batch_size": None}, "are missing"),
        ({"noise_multiplier": None}, "--noise-multiplier is missing"),
        ({"noise_multiplier": None, "epochs": None, "epsilon": 1.0}, "are missing; one of them can be computed"),
        ({"records": 0}, "records 0"),
        ({"batch_size": -1}, "batch size -1"),
        ({"batch_size": 60_001}, "sampling rate above 1"),
        ({"epochs": Fraction(0)}, "0 epochs"),
        ({"epochs": None, "steps": 0}, "steps 0"),
        ({"steps": 5}, "either --epochs or --steps"),
        ({"sampling_rate": Fraction(1, 2)}, "either --sampling-rate or --batch-size"),
        ({"sampling_rate": Fraction(3, 2), "batch_size": None, "records": None}, "sampling rate is 1.5"),
        ({"noise_multiplier": 0.0}, "noise multiplier is 0"),
        ({"noise_multiplier": math.nan}, "noise multiplier is nan"),
        ({"noise_multiplier": 1e300}, "noise multiplier is 1e[+]300"),
        ({"epsilon": 0.0}, "epsilon is 0"),
        ({"epsilon": math.nan}, "epsilon is nan"),
        ({"epsilon": 1e9}, "promises nothing"),
        ({"delta": 0.0}, "delta is 0"),
        ({"delta": 1e300}, "delta is 1e[+]300"),
        ({"epochs": Fraction(10**12)}, "a job has from 1 to"),
        ({"rows_per_unit": 0}, "0 rows"),
        ({"trials": -1}, "-1 trials"),
        ({"stability": 0}, "stability of 0"),
        ({"epochs": None, "epsilon": 1e-9}, "not even one step"),
        ({"batch_size": None, "epsilon": 1e-9}, "not even batches of one record"),
        ({"sampling_rate": Fraction(1, 2), "batch_size": None, "records": None, "delta": None}, "--delta is missing"),
    ],
)
def test_questions_that_are_refused(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        solve(replace(MNIST, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["abc", "", "nan", "inf", "1e"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(Refused, match="is not a number"):
        exact(text)


@given(st.decimals("0.01", "200", places=2), st.integers(1, 10**7), st.data())
def test_steps_are_rounded_up_from_the_exact_number(epochs: object, records: int, data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, records))
    steps = steps_of(str(epochs), records, batch)
    assert (steps - 1) * batch < Fraction(str(epochs)) * records <= steps * batch


@given(st.floats(0.3, 20), st.integers(1_000, 10**6), st.sampled_from([0.001, 0.01, 0.1]), st.sampled_from([1, 5, 20]))
@settings(max_examples=10, deadline=None)
def test_what_was_solved_for_epsilon_keeps_it(epsilon: float, records: int, share: float, epochs: int) -> None:
    batch = max(1, int(records * share))
    plan = solve(Question(records=records, batch_size=batch, epochs=Fraction(epochs), epsilon=epsilon))
    assert plan.epsilon <= epsilon
    again = solve(
        Question(records=records, batch_size=batch, epochs=Fraction(epochs), noise_multiplier=plan.noise_multiplier)
    )
    assert again.epsilon == plan.epsilon


def test_epsilon_along_each_axis() -> None:
    plan = solve(MNIST)
    assert sweep(plan, "noise_multiplier", [0.8, 1.1, 2.0])[1] == plan.epsilon
    for along, values in (("epochs", [1, 60, 100]), ("batch_size", [16, 256, 1024]), ("rows_per_unit", [1, 2, 3])):
        found = sweep(plan, along, values)
        assert sorted(found) == list(found)
        assert plan.epsilon in found
    assert math.isnan(sweep(plan, "batch_size", [100_000])[0])


def test_a_plan_in_steps_keeps_its_steps_along_the_noise() -> None:
    """Its epochs are no decimal number; they are kept as a fraction, so that no step is gained on the way."""
    plan = solve(Question(records=60_001, batch_size=257, steps=1_003, noise_multiplier=1.0, delta=1e-7))
    assert sweep(plan, "noise_multiplier", [1.0]) == (plan.epsilon,)
