"""What `mlprivacy plan` computes: from all but one of ε, noise, length, batch size and records, the one left out.

Everything here is arithmetic on public numbers; nothing is looked up. ε is by Rényi accounting on fine orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

from mlprivacy.budget.accounting.events import STEPS_MAX, Event, Refused, dp_sgd, for_groups, with_trials
from mlprivacy.budget.accounting.rdp import check_ceiling, delta_warning, epsilon_for_people, noise_for
from mlprivacy.budget.curves import check_delta

RECORDS_MAX: Final = 10**12
SWEPT: Final = ("noise_multiplier", "epochs", "batch_size", "rows_per_unit")
"""What ε can be drawn against."""


@dataclass(frozen=True)
class Question:
    """What is known of a DP-SGD job. None is what is not; one thing may be left to compute.

    Attributes:
        records: a public lower bound on the records (N).
        batch_size: expected size of a Poisson sample.
        sampling_rate: instead of records and batch size.
        epochs: passes over the records, exact; the steps are epochs · N / batch size, rounded up.
        steps: instead of epochs.
        noise_multiplier: standard deviation of the noise over the clipping bound.
        epsilon: a ceiling on ε.
        delta: of the job; 1/(100·N) unless given.
        rows_per_unit: the most rows of one privacy unit.
        stability: of the pre-processing; 1 for none or row by row.
        trials: mean number of runs of which the best is released.
        drawn: how their number is drawn (`events.with_trials`).
    """

    records: int | None = None
    batch_size: int | None = None
    sampling_rate: Fraction | None = None
    epochs: Fraction | None = None
    steps: int | None = None
    noise_multiplier: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    rows_per_unit: int = 1
    stability: int = 1
    trials: int = 1
    drawn: str = "geometric"


@dataclass(frozen=True)
class Plan:
    """A job with every number known.

    Attributes:
        solved_for: which of them was computed: ``epsilon``, ``noise_multiplier``, ``steps``, ``batch_size`` or
            ``records``; ``nothing`` where all were given and the ceiling was checked.
        epsilon: of the job at ``delta``, by Rényi accounting.
        ceiling: what was asked for, if anything.
        within: whether ε keeps the ceiling; True without one.
        warnings: sentences.
    """

    solved_for: str
    sampling_rate: float
    steps: int
    noise_multiplier: float
    epsilon: float
    delta: float
    records: int | None
    batch_size: int | None
    epochs: Fraction
    rows_per_unit: int
    stability: int
    trials: int
    drawn: str
    ceiling: float | None
    within: bool
    warnings: tuple[str, ...]

    @property
    def event(self) -> Event:
        """The mechanism, trials and stability included: what a block is charged."""
        return _event(
            self.sampling_rate,
            self.steps,
            self.noise_multiplier,
            (self.rows_per_unit, self.stability, self.trials, self.drawn),
        )


def exact(value: str | float) -> Fraction:
    """The decimal number as it is written: 0.04 is 1/25, and 90/0.04 is 2250 and never 2249.

    Raises:
        Refused: when it is no finite number.
    """
    try:
        return Fraction(Decimal(str(value).strip()))
    except (InvalidOperation, ValueError, OverflowError):
        raise Refused(f"{value!r} is not a number; write for instance 10 or 0.5") from None


def steps_of(epochs: str | float | Fraction, records: int, batch_size: int) -> int:
    """Optimiser steps: epochs · N / batch size, rounded up, without rounding on the way.

    Raises:
        Refused: when a number is out of range, or there would be no step.
    """
    _check_count("records", records, RECORDS_MAX)
    _check_count("batch size", batch_size, RECORDS_MAX)
    return _steps(epochs if isinstance(epochs, Fraction) else exact(epochs), Fraction(batch_size, records))


def solve(question: Question) -> Plan:
    """The plan: what the question leaves out is computed from the rest.

    The largest batch and the smallest number of records are found by bisection, ε being taken to rise with the one
    and to fall with the other; the plan's ε is always that of the plan's own numbers.

    Raises:
        Refused: when too little or too much is given, a number is out of range, or no value keeps the ceiling.
    """
    _check(question)
    delta = _delta(question)
    missing = [name for name, known in _known(question).items() if not known]
    if question.epsilon is None:
        missing = [name for name in missing if name != "epsilon"]
        if missing:
            also = ", or --epsilon to compute it" if len(missing) == 1 else ""
            raise Refused(f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing; give it{also}")
        return _plan(question, delta, "epsilon")
    check_ceiling(question.epsilon, delta)
    if not missing:
        return _plan(question, delta, "nothing")
    if len(missing) > 1:
        raise Refused(f"{_listed(missing)} are missing; one of them can be computed, give the others")
    solver = {
        "noise_multiplier": _for_noise,
        "steps": _for_steps,
        "batch_size": _for_batch,
        "records": _for_records,
    }[missing[0]]
    return _plan(solver(question, question.epsilon, delta), delta, missing[0])


def asked_of(plan: Plan) -> Question:
    """The question that this plan answers, with epsilon left out: to ask what other numbers come to."""
    return Question(
        records=plan.records,
        batch_size=plan.batch_size,
        sampling_rate=None if plan.batch_size else exact(plan.sampling_rate),
        epochs=plan.epochs,
        noise_multiplier=plan.noise_multiplier,
        delta=plan.delta,
        rows_per_unit=plan.rows_per_unit,
        stability=plan.stability,
        trials=plan.trials,
        drawn=plan.drawn,
    )


def sweep(plan: Plan, along: str, values: Sequence[float]) -> tuple[float, ...]:
    """ε of the plan at other values of one number. NaN where the value is out of range.

    Args:
        plan: whose other numbers stay; a longer epoch or another batch changes steps and sampling rate as it should.
        along: one of `SWEPT`.
        values: shape (n,), whole for batch size and rows.
    """
    question = asked_of(plan)
    return tuple(_epsilon_at(question, along, value) for value in values)


def _epsilon_at(question: Question, along: str, value: float) -> float:
    changes: dict[str, dict[str, object]] = {
        "noise_multiplier": {"noise_multiplier": value},
        "epochs": {"epochs": exact(value), "steps": None},
        "batch_size": {"batch_size": int(value)},
        "rows_per_unit": {"rows_per_unit": int(value)},
    }
    try:
        return solve(replace(question, **changes[along])).epsilon  # type: ignore[arg-type]
    except Refused:
        return math.nan


def _known(question: Question) -> dict[str, bool]:
    by_rate = question.sampling_rate is not None
    return {
        "epsilon": question.epsilon is not None,
        "noise_multiplier": question.noise_multiplier is not None,
        "steps": question.steps is not None or question.epochs is not None,
        "batch_size": by_rate or question.batch_size is not None,
        "records": by_rate or question.records is not None,
    }


def _listed(names: Sequence[str]) -> str:
    words = {"steps": "--epochs or --steps", "batch_size": "--batch-size or --sampling-rate"}
    return " and ".join(words.get(name, f"--{name.replace('_', '-')}") for name in names)


def _rate(question: Question) -> Fraction:
    if question.sampling_rate is not None:
        return question.sampling_rate
    if question.batch_size is None or question.records is None:
        raise Refused("--batch-size and --records, or --sampling-rate, are missing")
    return Fraction(question.batch_size, question.records)


def _length(question: Question, rate: Fraction) -> int:
    if question.steps is not None:
        return question.steps
    if question.epochs is None:
        raise Refused("--epochs or --steps is missing")
    return _steps(question.epochs, rate)


def _steps(epochs: Fraction, rate: Fraction) -> int:
    steps = math.ceil(epochs / rate)
    if not 1 <= steps <= STEPS_MAX:
        raise Refused(f"{float(epochs):g} epochs are {steps} steps; a job has from 1 to {STEPS_MAX}")
    return steps


def _event(rate: float, steps: int, noise: float, charge: tuple[int, int, int, str]) -> Event:
    rows, stability, trials, drawn = charge
    return for_groups(with_trials(dp_sgd(rate, steps, noise, rows), trials, drawn), stability)


def _charge(question: Question) -> tuple[int, int, int, str]:
    return question.rows_per_unit, question.stability, question.trials, question.drawn


def _epsilon(question: Question, delta: float) -> float:
    rate = _rate(question)
    noise = question.noise_multiplier
    if noise is None:
        raise Refused("--noise-multiplier is missing")
    return epsilon_for_people(_event(float(rate), _length(question, rate), noise, _charge(question)), delta)


def _for_noise(question: Question, ceiling: float, delta: float) -> Question:
    rate = _rate(question)
    steps = _length(question, rate)
    charge = _charge(question)
    noise = noise_for(ceiling, delta, lambda sigma: _event(float(rate), steps, sigma, charge))
    return replace(question, noise_multiplier=noise)


def _for_steps(question: Question, ceiling: float, delta: float) -> Question:
    steps = _last(1, STEPS_MAX, lambda n: _epsilon(replace(question, steps=n), delta) <= ceiling)
    if steps is None:
        raise Refused(
            f"not even one step keeps epsilon within {ceiling:g}; give more noise, smaller batches or a larger epsilon"
        )
    return replace(question, steps=steps)


def _for_batch(question: Question, ceiling: float, delta: float) -> Question:
    records = question.records or 1
    batch = _last(1, records, lambda n: _epsilon(replace(question, batch_size=n), delta) <= ceiling)
    if batch is None:
        raise Refused(
            f"not even batches of one record keep epsilon within {ceiling:g}; "
            "give more noise, fewer epochs or a larger epsilon"
        )
    return replace(question, batch_size=batch)


def _for_records(question: Question, ceiling: float, delta: float) -> Question:
    batch = question.batch_size or 1

    def too_few(records: int) -> bool:
        return _epsilon(replace(question, records=records), delta) > ceiling

    last = _last(batch, RECORDS_MAX, too_few)
    if last == RECORDS_MAX:
        raise Refused(f"no number of records keeps epsilon within {ceiling:g}; give more noise or a larger epsilon")
    return replace(question, records=batch if last is None else last + 1)


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The last n of low … high at which it holds, taken to hold up to there; None when not even at low."""
    if not holds(low):
        return None
    step = 1
    while low + step <= high and holds(low + step):
        low, step = low + step, step * 2
    high = min(high, low + step - 1)
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _plan(question: Question, delta: float, solved_for: str) -> Plan:
    rate = _rate(question)
    steps = _length(question, rate)
    epsilon = _epsilon(question, delta)
    epochs = question.epochs if question.epochs is not None else steps * rate
    warned = delta_warning(delta, question.records) if question.records is not None else None
    return Plan(
        solved_for=solved_for,
        sampling_rate=float(rate),
        steps=steps,
        noise_multiplier=question.noise_multiplier or math.nan,
        epsilon=epsilon,
        delta=delta,
        records=question.records,
        batch_size=question.batch_size,
        epochs=epochs,
        rows_per_unit=question.rows_per_unit,
        stability=question.stability,
        trials=question.trials,
        drawn=question.drawn,
        ceiling=question.epsilon,
        within=question.epsilon is None or epsilon <= question.epsilon,
        warnings=() if warned is None else (warned,),
    )


def _delta(question: Question) -> float:
    delta = question.delta
    if delta is None:
        if question.records is None:
            raise Refused("--delta is missing; give it, or --records, from which it follows")
        delta = 1 / (100 * question.records)
    try:
        check_delta(delta)
    except ValueError as error:
        raise Refused(str(error)) from None
    return delta


def _check(question: Question) -> None:
    if question.sampling_rate is not None and question.batch_size is not None:
        raise Refused("give either --sampling-rate or --batch-size, not both")
    if question.steps is not None and question.epochs is not None:
        raise Refused("give either --epochs or --steps")
    if question.records is not None:
        _check_count("records", question.records, RECORDS_MAX)
    if question.batch_size is not None:
        _check_count("batch size", question.batch_size, RECORDS_MAX)
    if question.steps is not None:
        _check_count("steps", question.steps, STEPS_MAX)
    if question.records is not None and question.batch_size is not None and question.batch_size > question.records:
        raise Refused(
            f"the batch size {question.batch_size} is larger than the {question.records} records, "
            "a sampling rate above 1; make it smaller"
        )
    if question.sampling_rate is not None and not 0 < question.sampling_rate <= 1:
        raise Refused(f"the sampling rate is {float(question.sampling_rate):g}; it must be above 0 and at most 1")
    if question.epochs is not None and question.epochs <= 0:
        raise Refused(f"{float(question.epochs):g} epochs are refused; write a number above 0")
    if question.epsilon is not None:
        try:
            check_ceiling(question.epsilon, 0.5)
        except ValueError as error:
            raise Refused(str(error)) from None


def _check_count(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise Refused(f"{name} {value} is refused; write a whole number from 1 to {most}")
