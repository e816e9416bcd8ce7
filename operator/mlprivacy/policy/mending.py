"""What to change in a job whose loss can not be counted, or is more than it declares: numbers that mend it. Pure.

A remedy is one change of fields of spec.privacy, or several with "and" between them; "; or" stands between remedies
each of which is enough. Every number in them is one that the schema takes, and with which the job was counted here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, TypeVar

from mlprivacy.api.training_job import NOISE_MULTIPLIER_MAX
from mlprivacy.budget.accounting.events import NOISE_MAX, NOISE_MIN, STEPS_MAX, Event
from mlprivacy.budget.accounting.rdp import EPSILON_MAX, NOISE_WANTED_MAX
from mlprivacy.budget.accounting.serialised import RELATION, parse
from mlprivacy.budget.figures import at_least, at_most, exact
from mlprivacy.budget.left import least_noise
from mlprivacy.budget.planner import Question, solve

HALVINGS: Final = 20  # of the search for the least noise that fits: to a part in 50,000 of it
ROWS_AT_ONCE: Final = 32  # of a person, up to which a loss is counted in a few seconds
DERIVED: Final = "leave noiseMultiplier out so that it is derived from epsilon"
_NOISES: Final = ("noise_multiplier", "standard_deviation")
_FORMS: Final = "a form that is accounted (PoissonSampledDpEvent, GaussianDpEvent, LaplaceDpEvent and others), such as"


Largest = Callable[[Question], float | None]
"""Of a job that can be counted the largest ε, as its ceiling, that a block takes: 0 for none, None where not known."""


def of_job(asked: Question, largest: Largest | None = None, before: Sequence[str] = ()) -> str | None:
    """What makes the loss of this DP-SGD job one that can be counted, keeps its ceiling, and is taken by a block.

    Args:
        asked: records, batch size, epochs, ceiling and δ are given; the noise may be.
        largest: of the block that is to take it; None where none is.
        before: changes that were made already.

    Returns:
        The remedy; None where the job keeps its ceiling, or no number of its own mends it.
    """
    records, batch = asked.records or 1, asked.batch_size or 1
    epochs = math.ceil(asked.epochs or 1)
    changes = list(before)
    if batch > records:
        batch = records
        changes.append(f"batchSize to {records} or less")
    most = STEPS_MAX * batch // records  # epochs
    job = replace(asked, batch_size=batch)
    if epochs <= most:
        ways = [(job, changes)]
    else:
        larger = math.ceil(Fraction(epochs * records, STEPS_MAX))
        ways = [(replace(job, batch_size=larger), [*before, f"batchSize to {larger} or more"])]
        if most >= 1:
            ways.insert(0, (replace(job, epochs=Fraction(most)), [*changes, f"epochs to {most} or less"]))
    try:
        return _either([_with_noise(way, told, largest) for way, told in ways])
    except ValueError:
        return None


def _either(ways: Iterable[str | None]) -> str | None:
    return "; or ".join(dict.fromkeys(way for way in ways if way)) or None


def _with_noise(job: Question, changes: list[str], largest: Largest | None) -> str | None:
    """The same of a job whose batches and length can be counted. Raises ValueError on what can not be mended."""
    ceiling, given = job.epsilon or EPSILON_MAX, job.noise_multiplier
    room = None if largest is None else largest(job)
    most = EPSILON_MAX if room is None else float(at_most(room))
    if most <= 0:
        return None
    if most < ceiling:
        ceiling, job = most, replace(job, epsilon=most)
        changes = [*changes, f"epsilon to {at_most(most)}"]
    own = math.inf if given is None or given < NOISE_MIN else solve(replace(job, epsilon=None)).epsilon
    least = solve(replace(job, epsilon=None, noise_multiplier=NOISE_WANTED_MAX)).epsilon
    out = "" if given is None else f" and {DERIVED}"
    if own <= ceiling or (given is None and least <= ceiling):
        return _set(changes) or None
    if least <= ceiling:
        noise = solve(replace(job, noise_multiplier=None)).noise_multiplier
        if changes:
            return _set(changes) + out
        if noise > NOISE_MULTIPLIER_MAX:
            return DERIVED
        return f"set noiseMultiplier to {exact(noise)} or more, or {DERIVED.replace('noiseMultiplier', 'it')}"
    found = [] if own > most else [_set([*changes, f"epsilon to {at_least(own)} or more"])]
    if least <= most:
        found.append(_set([*changes, f"epsilon to {at_least(least)} or more"]) + out)
    elif (fewer := _fewest(job, ceiling)) is not None:
        found.append(_set([*changes, f"epochs to {fewer} or less"]) + out)
    return _either(found)


def _fewest(job: Question, ceiling: float) -> int | None:
    """The most epochs with which some noise keeps the ceiling."""

    def keeps(epochs: int) -> bool:
        asked = replace(job, epochs=Fraction(epochs), epsilon=None, noise_multiplier=NOISE_WANTED_MAX)
        return solve(asked).epsilon <= ceiling

    return most_epochs(math.ceil(job.epochs or 1), job.rows_per_unit, keeps)


def most_epochs(epochs: int, rows: int, keeps: Callable[[int], bool]) -> int | None:
    """The most epochs below these at which it holds, taken to hold up to there; None when there are none.

    With many rows of a person each look takes seconds, and no number is worth so many: None then, too.
    """
    if rows > ROWS_AT_ONCE or not keeps(1):
        return None
    low, high = 1, epochs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def _set(changes: list[str]) -> str:
    return "set " + " and ".join(changes) if changes else ""


@dataclass(frozen=True, slots=True)
class EventJob:
    """A job that states its mechanism as a serialised event.

    Attributes:
        text: the event, as its author wrote it.
        records: N.
        rows: of one unit.
        whole: from an event to what one unit is charged, rows and trials included. Raises ValueError when it refuses.
        epsilon: of a whole event, at the job's δ.
    """

    text: str
    records: int | None
    rows: int
    whole: Callable[[Event], Event]
    epsilon: Callable[[Event], float]


def of_event(
    job: EventJob,
    ceiling: float | None,
    fit: Callable[[Event], bool] | None = None,
    before: Sequence[str] = (),
) -> str:
    """What makes the loss of this event one that can be counted, and keeps the ceiling where there is one.

    Args:
        job: of the event.
        ceiling: of the job.
        fit: whether the block that is to take it takes a whole event; None where none is.
        before: changes of the job that were made already.
    """
    most = EPSILON_MAX if ceiling is None else ceiling

    def fits(event: Event, ceiling: float) -> bool:
        whole = job.whole(event)
        return job.epsilon(whole) <= ceiling and (fit is None or fit(whole))

    body = _loaded(job.text)
    mended, changes = _repaired(body, job.records)
    changes = [*(f"set {change}" for change in before), *changes]
    event = known(lambda: parse(mended))
    own = None if event is None else known(lambda: job.epsilon(job.whole(event)))
    stands = event is not None and own is not None and fits(event, EPSILON_MAX)
    if stands and own is not None and own <= most:
        return " and ".join(changes) if changes else _another(job, lambda event: fits(event, most))
    noise = known(lambda: _least(job, mended, lambda event: fits(event, most)))
    ways = [] if noise is None else [" and ".join([*changes, _raise(body, noise)])]
    if stands and own is not None:
        ways.append(" and ".join([*changes, f"set epsilon to {at_least(own)} or more"]))
    return _either(ways) or _another(job, lambda event: fits(event, most))


_Found = TypeVar("_Found")


def known(find: Callable[[], _Found]) -> _Found | None:
    """What is found; None where it can not be counted, since a remedy without a number is better than none."""
    try:
        return find()
    except (ValueError, ArithmeticError):
        return None


def for_block(job: EventJob, fit: Callable[[Event], bool]) -> str | None:
    """What makes an empty block take a whole event (``fit``), and how large an ε the job may then declare at least."""
    try:
        body = _loaded(job.text)
        noise = _least(job, body, lambda event: fit(job.whole(event)))
        if noise is None:
            return None
        told = job.epsilon(job.whole(parse(_raised(body, noise))))
    except ValueError:
        return None
    return f"{_raise(body, noise)} (it then comes to an epsilon of {at_least(told)})"


def _another(job: EventJob, fits: Callable[[Event], bool]) -> str:
    """An event of the simplest kind that fits, for what has no numbers that could be mended."""
    shown: dict[str, Any] = {"class_name": "GaussianDpEvent", "noise_multiplier": 1}
    noise = known(lambda: _least(job, shown, fits))
    text = json.dumps(_raised(shown, noise or 4))
    return (
        f"write what the trainer does in {_FORMS} {text}; or set "
        "mechanism to DPSGD, with epsilon, batchSize, epochs and maxGradNorm, and leave event out"
    )


def _least(job: EventJob, body: Any, fit: Callable[[Event], bool]) -> float | None:
    """The least noise, for all that the event has less of, with which it fits.

    None where none does, it has none, or a person has so many rows that each look takes seconds.
    """
    rows = max((_number(value) for _, value in _fields(body, ("rows",))), default=1.0)
    if not _noises(body) or job.rows * rows > ROWS_AT_ONCE:
        return None
    return least_noise(lambda sigma: fit(parse(_raised(body, sigma))), halvings=HALVINGS)


def _raise(body: Any, noise: float) -> str:
    names = " and ".join(dict.fromkeys(name for name, _ in _noises(body)))
    several = "each " if sum(1 for _ in _noises(body)) > 1 else ""
    limit = f", at most {NOISE_MAX:.0f}" if any(_number(value) > NOISE_MAX for _, value in _noises(body)) else ""
    return f"set {several}{names} of the event to {exact(noise)} or more{limit}"


def _noises(body: Any) -> list[tuple[str, Any]]:
    """The noises of an event, with the names of their fields."""
    return list(_fields(body, _NOISES))


def _fields(body: Any, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Name and value of the fields that are called so, at any depth."""
    for name, inner in body.items() if isinstance(body, Mapping) else ():
        if name in names:
            yield name, inner
    inside = body.values() if isinstance(body, Mapping) else body if isinstance(body, list) else ()
    for inner in inside:
        yield from _fields(inner, names)


def _raised(body: Any, noise: float) -> Any:
    """The event with at least so much noise everywhere; what is more than can be counted becomes as much."""

    def change(name: str, value: Any) -> Any:
        if name not in _NOISES:
            return value
        own = _number(value)
        return max(own, noise) if own <= NOISE_MAX else noise

    return _changed(body, change)


def _repaired(body: Any, records: int | None) -> tuple[Any, list[str]]:
    """The event with counts, rates and relation that are accounted, and what was changed."""
    changes: dict[str, None] = {}
    least = 1 / (records or 1)

    def change(name: str, value: Any) -> Any:
        number = _number(value)
        if name == "count" and not 1 <= number <= STEPS_MAX:
            count, bound = (1, "or more") if number < 1 else (STEPS_MAX, "or less")
            changes[f"set count of the event to {count} {bound}"] = None
            return count
        if name == "sampling_probability" and not least <= number <= 1:
            rate = 1.0 if number > 1 else least
            bound = "or less" if number > 1 else "or more"
            changes[f"set sampling_probability of the event to {exact(rate)} {bound}"] = None
            return rate
        if name == "neighboring_relation" and value != RELATION:
            changes[f"set neighboring_relation of the event to {RELATION}, under which the noise is counted"] = None
            return RELATION
        return value

    return _changed(body, change), list(changes)


def _changed(body: Any, change: Callable[[str, Any], Any]) -> Any:
    if isinstance(body, list):
        return [_changed(inner, change) for inner in body]
    if not isinstance(body, Mapping):
        return body
    return {name: change(name, _changed(inner, change)) for name, inner in body.items()}


def _number(value: Any) -> float:
    """The number of a field; 0 for what is none."""
    if value == "Infinity":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        return 0.0 if math.isnan(value) else float(value)
    except OverflowError:
        return math.inf


def _loaded(text: str) -> Any:
    """The JSON of an event; None for what is none."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
