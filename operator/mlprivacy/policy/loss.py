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
from typing import Final, Literal

from mlprivacy.budget.accounting.events import (
    NOISE_MIN,
    Composed,
    Event,
    Refused,
    Repeated,
    SampledGaussian,
    Selected,
    for_groups,
    with_trials,
)
from mlprivacy.budget.accounting.rdp import EPSILON_MAX, NOISE_WANTED_MAX, curve_of, epsilon_for_people
from mlprivacy.budget.accounting.serialised import parse
from mlprivacy.budget.curves import Curve
from mlprivacy.budget.figures import at_most
from mlprivacy.budget.ledger.units import Units, capacity_units, to_units
from mlprivacy.budget.left import least_noise
from mlprivacy.budget.orders import Orders
from mlprivacy.budget.planner import Plan, Question, solve
from mlprivacy.policy.charge import Loss
from mlprivacy.policy.mending import (
    DERIVED,
    HALVINGS,
    ROWS_AT_ONCE,
    EventJob,
    for_block,
    known,
    most_epochs,
    of_event,
    of_job,
)

Lane = Literal["quick", "usual", "long"]
"""By how long counting may take; see `lane_of`."""
NOISE_PLAIN: Final = 1e4  # with which the most epochs are looked for: well within what may be derived
REMEMBERED: Final = 4096
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

    Attributes:
        text: the JSON.
        records: public lower bound on the units after filtering (N), where it is known.
        epsilon: the ceiling, where there is one; only what is told of a larger loss depends on it.
    """

    text: str
    records: int | None = None
    epsilon: float | None = None


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
        delta_bound: what delta may be at most, where the job's is more and is refused; what is told as a remedy is
            counted with it.
    """

    mechanism: Sampled | Serialised
    rows: int
    trials: int
    delta: float
    orders: Orders = ()
    limit: Limit | None = None
    delta_bound: float | None = None

    @property
    def delta_to_be(self) -> float:
        """The delta of a job that is mended, as it is typed."""
        return self.delta if self.delta_bound is None else float(at_most(self.delta_bound))


def lane_of(key: LossKey) -> Lane:
    """How long counting may take: a fraction of a second, a few seconds, or minutes.

    Many rows of a person, trials of several rows, and an event, which may hold anything, take long.
    """
    if not isinstance(key.mechanism, Sampled):
        return "long"
    rows = max(key.rows, key.mechanism.rows)
    if rows == 1 and key.trials == 1:
        return "quick"
    return "usual" if rows == 1 or (rows <= ROWS_AT_ONCE and key.trials == 1) else "long"


@dataclass(frozen=True, slots=True)
class Counted:
    """A loss and what follows from it.

    Attributes:
        loss: of the job.
        remedy: what makes the job keep its ceiling, where it does not and something is known that does (`mending`).
        fits: whether an empty block takes it; True without a limit.
        largest: the largest ε, as the job's ceiling, that an empty block takes, where this loss does not fit: 0 when
            none does, None when it is not known.
        fitting: what else makes an empty block take it, where that is known and ε alone does not.
    """

    loss: Loss
    remedy: str | None = None
    fits: bool = True
    largest: float | None = None
    fitting: str | None = None


@dataclass(frozen=True, slots=True)
class NotCounted:
    """Why a loss can not be counted, as a sentence. It never counts as 0.

    ``remedy`` is what makes it one that can be counted and keeps the ceiling, where something is known that does.
    """

    why: str
    remedy: str | None = None


LossOutcome = Counted | NotCounted


def count(key: LossKey) -> LossOutcome:
    """The loss of these numbers. Never raises on them; takes from milliseconds to minutes (`lane_of`)."""
    try:
        return _sampled(key, key.mechanism) if isinstance(key.mechanism, Sampled) else _serialised(key, key.mechanism)
    except (ValueError, ArithmeticError) as error:  # Refused is one, too
        return NotCounted(str(error), _remedy(key, to_fit=True))


@lru_cache(maxsize=REMEMBERED)
def remembered(key: LossKey) -> LossOutcome:
    """As `count`, for callers that may wait: tools and tests. The same numbers are counted once."""
    return count(key)


def _sampled(key: LossKey, job: Sampled) -> LossOutcome:
    asked = _question(key, job)
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
    remedy = None if promised.within else _remedy(key)
    if _fits(key, loss.curve):
        return Counted(loss, remedy)

    def fit(curve: Curve) -> bool:
        return _fits(key, curve)

    above = noise if key.delta_bound is None else NOISE_MIN
    largest = _largest(key, replace(asked, delta=key.delta_to_be), fit, above)
    return Counted(loss, remedy, False, largest, _fewer(key, job, fit) if largest == 0 else None)


def _question(key: LossKey, job: Sampled) -> Question:
    """What the job's own numbers come to, for those whom its promise is to hold for."""
    return Question(
        records=job.records,
        batch_size=job.batch_size,
        epochs=Fraction(job.epochs),
        noise_multiplier=job.noise,
        epsilon=job.epsilon,
        delta=key.delta,
        rows_per_unit=job.rows,
        trials=key.trials,
    )


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
    return _largest(key, replace(_question(key, job), delta=key.delta_to_be), fit, NOISE_MIN)


def _largest(key: LossKey, job: Question, fit: Callable[[Curve], bool], above: float) -> float | None:
    """The same for a job of other numbers than the key's; less noise than ``above`` is known not to do."""
    asked = replace(job, epsilon=None)

    def charged(sigma: float) -> Curve:
        return curve_of(solve(replace(asked, noise_multiplier=sigma, rows_per_unit=key.rows)).event, key.orders)

    def largest() -> float:
        fitting = least_noise(lambda sigma: fit(charged(sigma)), above, HALVINGS)
        if fitting is None or fitting > NOISE_WANTED_MAX:
            return 0.0
        found = min(EPSILON_MAX, solve(replace(asked, noise_multiplier=fitting)).epsilon)
        # People type three digits of it. Close to the least ε that there is, no noise keeps what is rounded down.
        least = solve(replace(asked, noise_multiplier=NOISE_WANTED_MAX)).epsilon
        return found if least <= float(at_most(found)) else 0.0

    return known(largest)


def _fewer(key: LossKey, job: Sampled, fit: Callable[[Curve], bool]) -> str | None:
    """How many epochs some noise makes fit, and the ε to ask for then, where none does with all of them."""
    asked = replace(_question(key, job), delta=key.delta_to_be, epsilon=None, noise_multiplier=NOISE_PLAIN)

    def plan(epochs: int, rows: int) -> Plan:
        return solve(replace(asked, epochs=Fraction(epochs), rows_per_unit=rows))

    def fewer() -> str | None:
        epochs = most_epochs(
            job.epochs, max(key.rows, job.rows), lambda n: fit(curve_of(plan(n, key.rows).event, key.orders))
        )
        if epochs is None:
            return None
        told = at_most(min(EPSILON_MAX, plan(epochs, job.rows).epsilon))
        also = "" if job.noise is None else f" and {DERIVED}"
        return f"set epochs to {epochs} or less and epsilon to {told}{also}"

    return known(fewer)


def _remedy(key: LossKey, *, to_fit: bool = False) -> str | None:
    """What mends a loss that can not be counted, or does not keep the job's ceiling; ``to_fit`` an empty block, too."""
    job = key.mechanism
    limited = to_fit and key.limit is not None
    if isinstance(job, Serialised):
        fit = (lambda whole: _fits(key, curve_of(whole, key.orders))) if limited else None
        mended = _event_job(key, job, key.delta_to_be)
        return known(lambda: of_event(mended, job.epsilon, fit, _changes(key)))

    def largest(mended: Question) -> float | None:
        return _largest(key, mended, lambda curve: _fits(key, curve), NOISE_MIN)

    quick = max(key.rows, job.rows) <= ROWS_AT_ONCE  # the rest is worth the time that it takes, a last number is not
    asked = replace(_question(key, job), delta=key.delta_to_be)
    return known(lambda: of_job(asked, largest if limited and quick else None, _changes(key)))


def _changes(key: LossKey) -> tuple[str, ...]:
    return () if key.delta_bound is None else (f"delta to {at_most(key.delta_bound)} or less",)


def _event_job(key: LossKey, job: Serialised, delta: float) -> EventJob:
    def whole(event: Event) -> Event:
        if job.records is not None:
            _check_batches(event, job.records)
        return with_trials(for_groups(event, key.rows), key.trials)

    return EventJob(job.text, job.records, key.rows, whole, lambda event: epsilon_for_people(event, delta))


def _serialised(key: LossKey, job: Serialised) -> LossOutcome:
    stated = _event_job(key, job, key.delta)
    event = stated.whole(_read(job.text))
    loss = Loss(curve_of(event, key.orders), stated.epsilon(event), key.delta)
    _check(loss, key)
    remedy = _remedy(key) if job.epsilon is not None and loss.epsilon > job.epsilon else None
    if _fits(key, loss.curve):
        return Counted(loss, remedy)
    mended = _event_job(key, job, key.delta_to_be)
    fitting = for_block(mended, lambda wider: _fits(key, curve_of(wider, key.orders)))
    return Counted(loss, remedy, fits=False, fitting=fitting)


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
