"""What a job's promise comes to in numbers: asked under a key, counted off the event loop, handed back as a fact. Pure.

A loss takes milliseconds to minutes of arithmetic, which is too long within a decision. So the core says which numbers
it needs (`LossKey`), an adapter has `count` work them out and remembers the answer, and the decision finds it among its
facts. Two jobs with the same numbers have the same key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final

from mlprivacy.budget.accounting.events import (
    Composed,
    Event,
    Refused,
    Repeated,
    SampledGaussian,
    Selected,
    for_groups,
    with_trials,
)
from mlprivacy.budget.accounting.rdp import EPSILON_MAX, curve_of, epsilon_for_people
from mlprivacy.budget.accounting.serialised import parse
from mlprivacy.budget.curves import Curve
from mlprivacy.budget.ledger.units import Units, capacity_units, to_units
from mlprivacy.budget.left import least_noise
from mlprivacy.budget.orders import Orders
from mlprivacy.budget.planner import Question, solve
from mlprivacy.policy.charge import Loss

HALVINGS: Final = 20  # of the search for the least noise that fits: to a part in 50,000 of it
REMEMBERED: Final = 4096
ROWS_AT_ONCE: Final = 32  # of a person, up to which a loss is counted in a second
ROUNDING: Final = 1e-9  # of a rate that was written as 1/N
LOOK_AGAIN: Final = timedelta(minutes=1)  # where a loss was not counted in time


@dataclass(frozen=True, slots=True)
class Sampled:
    """DP-SGD with Poisson sampling, in the numbers that a job states.

    Attributes:
        records: public lower bound on the units after filtering (N).
        batch_size: expected size of a sample.
        epochs: passes, each of N / batch size steps.
        noise: standard deviation of the noise over the clipping bound; None: as much as `epsilon` asks for.
        epsilon: the ceiling.
        rows: of one unit for whom the ceiling holds; the noise that is derived keeps it for them.
    """

    records: int
    batch_size: int
    epochs: int
    noise: float | None
    epsilon: float
    rows: int


@dataclass(frozen=True, slots=True)
class Serialised:
    """A serialised DpEvent, as its author wrote it: what one record more or less changes.

    ``records`` is the public lower bound on the units after filtering (N), where it is known.
    """

    text: str
    records: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """What a block holds at most: the promise of a budget, and the share of it that the job's namespace may take."""

    epsilon: float
    delta: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class LossKey:
    """Everything that a loss depends on.

    Attributes:
        mechanism: in the job's numbers.
        rows: of one unit in the data that is charged.
        trials: mean number of runs of which the best is kept.
        delta: of the job, for ε.
        orders: of the budget; none where only ε is asked for.
        limit: what an empty block takes; None where nothing is charged.
    """

    mechanism: Sampled | Serialised
    rows: int
    trials: int
    delta: float
    orders: Orders = ()
    limit: Limit | None = None


def takes_long(key: LossKey) -> bool:
    """Whether counting may take many seconds: many rows of a person, or an event, which may hold anything."""
    return not isinstance(key.mechanism, Sampled) or max(key.rows, key.mechanism.rows) > ROWS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Counted:
    """A loss and what follows from it.

    Attributes:
        loss: of the job.
        least_noise: the smallest noise multiplier that keeps the ceiling, where the stated one does not and one does.
        fits: whether an empty block takes it; True without a limit.
        largest: the largest ε, as the job's ceiling, that an empty block takes, where this loss does not fit: 0 when
            none does, None when it is not known.
    """

    loss: Loss
    least_noise: float | None = None
    fits: bool = True
    largest: float | None = None


@dataclass(frozen=True, slots=True)
class NotCounted:
    """Why a loss can not be counted, as a sentence. It never counts as 0."""

    why: str


LossOutcome = Counted | NotCounted


def count(key: LossKey) -> LossOutcome:
    """The loss of these numbers. Never raises on them; takes from milliseconds to minutes (`takes_long`)."""
    try:
        return _sampled(key, key.mechanism) if isinstance(key.mechanism, Sampled) else _serialised(key, key.mechanism)
    except (ValueError, ArithmeticError) as error:  # Refused is one, too
        return NotCounted(str(error))


@lru_cache(maxsize=REMEMBERED)
def remembered(key: LossKey) -> LossOutcome:
    """As `count`, for callers that may wait: tools and tests. The same numbers are counted once."""
    return count(key)


def _sampled(key: LossKey, job: Sampled) -> LossOutcome:
    asked = Question(
        records=job.records,
        batch_size=job.batch_size,
        epochs=Fraction(job.epochs),
        noise_multiplier=job.noise,
        epsilon=job.epsilon,
        delta=key.delta,
        rows_per_unit=job.rows,
        trials=key.trials,
    )
    promised = solve(asked)
    noise = promised.noise_multiplier
    charged = promised
    if key.rows != job.rows:
        charged = solve(replace(asked, noise_multiplier=noise, epsilon=None, rows_per_unit=key.rows))
    loss = Loss(
        curve=curve_of(charged.event, key.orders),
        epsilon=charged.epsilon,
        delta=key.delta,
        noise_multiplier=noise,
        sampling_rate=charged.sampling_rate,
        steps=charged.steps,
    )
    _check(loss, key)
    least = None if promised.within else _known(lambda: solve(replace(asked, noise_multiplier=None)).noise_multiplier)
    if _fits(key, loss.curve):
        return Counted(loss, least)

    def largest() -> float:
        def fit(sigma: float) -> bool:
            return _fits(key, curve_of(replace(charged, noise_multiplier=sigma).event, key.orders))

        fitting = least_noise(fit, noise, HALVINGS)
        if fitting is None:
            return 0.0
        event = replace(promised, noise_multiplier=fitting).event
        return min(EPSILON_MAX, epsilon_for_people(event, key.delta))

    return Counted(loss, least, fits=False, largest=_known(largest))


def largest_within(key: LossKey, fit: Callable[[Curve], bool]) -> float | None:
    """The largest ε, as the job's ceiling, whose loss is taken by what there is. Takes seconds at most.

    Args:
        key: of the job; only a sampled mechanism has noise that can be chosen.
        fit: whether a curve at the key's orders is taken; taken to stay true as the noise grows.

    Returns:
        0 when no noise is enough, None when it is not known.
    """
    job = key.mechanism
    if not isinstance(job, Sampled):
        return None

    def at(sigma: float, rows: int) -> Event:
        asked = Question(
            records=job.records,
            batch_size=job.batch_size,
            epochs=Fraction(job.epochs),
            noise_multiplier=sigma,
            delta=key.delta,
            rows_per_unit=rows,
            trials=key.trials,
        )
        return solve(asked).event

    def largest() -> float:
        fitting = least_noise(lambda sigma: fit(curve_of(at(sigma, key.rows), key.orders)), halvings=HALVINGS)
        return 0.0 if fitting is None else min(EPSILON_MAX, epsilon_for_people(at(fitting, job.rows), key.delta))

    return _known(largest)


def _known(find: Callable[[], float]) -> float | None:
    """What is found, or None: a remedy without a number is better than none."""
    try:
        return find()
    except ValueError:
        return None


def _serialised(key: LossKey, job: Serialised) -> LossOutcome:
    read = _read(job.text)
    if job.records is not None:
        _check_batches(read, job.records)
    event = with_trials(for_groups(read, key.rows), key.trials)
    loss = Loss(curve_of(event, key.orders), epsilon_for_people(event, key.delta), key.delta)
    _check(loss, key)
    return Counted(loss, fits=_fits(key, loss.curve))


def _read(text: str) -> Event:
    try:
        body = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (json.JSONDecodeError, RecursionError):
        raise Refused(
            'the event is no JSON; write an object such as {"class_name": "GaussianDpEvent", "noise_multiplier": 4}'
        ) from None
    return parse(body)


def _check_batches(event: Event, records: int) -> None:
    """No sample is empty more often than not: nobody trains so, and what is said to look at nobody costs nothing."""
    match event:
        case SampledGaussian(sampling_rate=rate) if rate * records < 1 - ROUNDING:
            raise Refused(
                f"the event draws each of {records:,} records with the probability {rate:g}, which is less than one in "
                "a batch; write the expected batch size over the number of records"
            )
        case Repeated(event=inner) | Selected(event=inner):
            _check_batches(inner, records)
        case Composed(events=events):
            for inner in events:
                _check_batches(inner, records)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    body = dict(pairs)
    if len(body) < len(pairs):
        raise Refused("the event has a field twice; which one counts is not known")
    return body


def _no_number(text: str) -> float:
    raise Refused(f"the event has the number {text}, which JSON does not know; write infinity as the text Infinity")


def _check(loss: Loss, key: LossKey) -> None:
    """A charge of nothing is none: whoever looks at data takes something of it."""
    if key.orders and not any(loss.curve):
        raise Refused("the loss is 0 at every order, and a job that looks at the data has one; state its mechanism")
    if not all(spent for spent, room in zip(to_units(loss.curve), _room(key), strict=True) if room):
        raise Refused(
            "the loss is 0 at an order that the budget counts at, so it is too small to be computed; state the "
            "mechanism with the sampling and the noise that it has"
        )
    if math.isnan(loss.epsilon):
        raise Refused("the numbers are so far from usual that no loss can be computed; look at noise, batch and epochs")


def _room(key: LossKey) -> Units:
    """What an empty block holds at each order; 1 where no promise is known, so that every order is of use."""
    if key.limit is None:
        return (1,) * len(key.orders)
    return capacity_units(key.orders, key.limit.epsilon, key.limit.delta)


def _fits(key: LossKey, curve: Curve) -> bool:
    """Whether an empty block takes it, in the ledger's own whole numbers."""
    if key.limit is None:
        return True
    share = key.limit.share
    return any(
        room > 0 and asked <= math.floor(room * share) for asked, room in zip(to_units(curve), _room(key), strict=True)
    )
