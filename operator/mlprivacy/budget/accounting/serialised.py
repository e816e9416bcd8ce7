"""Mechanisms as JSON: what a job's `mechanism: Event` carries and what the worker process is asked.

dp-accounting has no text form of its events; its named tuples name a module to import, which nothing from a user may.
So the form here is a JSON object with the class's name and the class's own field names, for instance

    {"class_name": "SelfComposedDpEvent", "count": 14063, "event":
      {"class_name": "PoissonSampledDpEvent", "sampling_probability": 0.004266666666666667, "event":
        {"class_name": "GaussianDpEvent", "noise_multiplier": 1.1}}}

One field is our own: ``rows`` of a PoissonSampledDpEvent, the most rows that a unit has (1 unless given).
Infinity is written "Infinity". ``module_name``, as the named tuples have it, may stand beside ``class_name``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from mlprivacy.budget.accounting.events import (
    Composed,
    Event,
    Gaussian,
    GaussianMixture,
    Laplace,
    NoOp,
    Refused,
    Repeated,
    SampledGaussian,
    Selected,
    ZeroConcentrated,
)

DEPTH_MAX: Final = 32
EVENTS_MAX: Final = 1_000
RELATION: Final = "ADD_OR_REMOVE_ONE"
_MODULE: Final = "dp_accounting.dp_event"

# Class of dp-accounting → why it can not be charged to a budget of curves under AddOrRemoveOne.
REFUSED: Final[Mapping[str, str]] = {
    "NonPrivateDpEvent": "it releases the data without noise",
    "UnsupportedDpEvent": "its author says that its loss is not known",
    "SampledWithoutReplacementDpEvent": (
        "batches of a fixed size are only bounded when one record is replaced, and the known Rényi bound for that is "
        "too low; draw the batches by Poisson sampling"
    ),
    "SampledWithReplacementDpEvent": (
        "no bound is known here for batches drawn with replacement; draw the batches by Poisson sampling"
    ),
    "RandomizedResponseDpEvent": (
        "randomised response is bounded when one record is replaced, and a budget adds or removes one"
    ),
    "DiscreteLaplaceDpEvent": "no Rényi bound is known here; use Laplace or Gaussian noise",
    "SingleEpochTreeAggregationDpEvent": (
        "tree aggregation is bounded when one record is blanked, and a budget adds or removes one"
    ),
    "TruncatedSubsampledGaussianDpEvent": (
        "no Rényi bound is known here for batches that are cut off; draw the batches by Poisson sampling uncut"
    ),
}


def parse(body: object) -> Event:
    """The mechanism that the JSON object describes.

    Raises:
        Refused: when it is no such object, a field is missing, unknown or of another type, the class is not one that
            can be accounted, or the whole is too deep (32) or too large (1,000 events).
    """
    if isinstance(body, Mapping) and "neighboring_relation" in body:
        relation = body["neighboring_relation"]
        if relation != RELATION:
            raise Refused(
                f"the neighbouring relation {relation!r} is refused: a budget adds or removes one unit "
                f"({RELATION}), and losses under other relations can not be added to it"
            )
        body = {name: value for name, value in body.items() if name != "neighboring_relation"}
    return _Parser().event(body, 0)


class _Parser:
    """Counts what it has read."""

    def __init__(self) -> None:
        self._seen = 0

    def event(self, body: object, depth: int) -> Event:
        self._seen += 1
        if depth > DEPTH_MAX or self._seen > EVENTS_MAX:
            raise Refused(f"the event is nested deeper than {DEPTH_MAX} or has more than {EVENTS_MAX} parts")
        if not isinstance(body, Mapping):
            raise Refused("an event is a JSON object with a class_name, for instance GaussianDpEvent")
        name = body.get("class_name")
        if not isinstance(name, str):
            raise Refused("the event has no class_name; write that of dp-accounting's class, e.g. GaussianDpEvent")
        if body.get("module_name", _MODULE) != _MODULE:
            raise Refused(f"the event's module_name is refused; only {_MODULE} is known")
        if name in REFUSED:
            raise Refused(f"{name} is refused: {REFUSED[name]}")
        read = _READERS.get(name)
        if read is None:
            raise Refused(f"{name} is refused: it is none of the events that can be accounted ({', '.join(_READERS)})")
        fields = _Fields(name, {k: v for k, v in body.items() if k not in ("class_name", "module_name")})
        event = read(self, fields, depth + 1)
        fields.done()
        return event

    def events(self, fields: _Fields, depth: int) -> tuple[Event, ...]:
        found = fields.take("events")
        if not isinstance(found, list):
            raise Refused("`events` of a ComposedDpEvent is a list")
        return tuple(self.event(inner, depth) for inner in found)


class _Fields:
    """The fields of one event, taken one by one; what is left over is an error."""

    def __init__(self, name: str, body: dict[str, Any]) -> None:
        self.name, self._body = name, body

    def take(self, field: str, default: object = None) -> object:
        value = self._body.pop(field, default)
        if value is None:
            raise Refused(f"{self.name} needs the field `{field}`")
        return value

    def number(self, field: str, default: float | None = None) -> float:
        return _number(self.name, field, self.take(field, default))

    def whole(self, field: str, default: int | None = None) -> int:
        value = self.number(field, default)
        if not value.is_integer():
            raise Refused(f"`{field}` of {self.name} is {value:g}; write a whole number")
        return int(value)

    def numbers(self, field: str) -> tuple[float, ...]:
        value = self.take(field)
        if not isinstance(value, list):
            raise Refused(f"`{field}` of {self.name} is a list of numbers")
        return tuple(_number(self.name, field, item) for item in value)

    def done(self) -> None:
        if self._body:
            raise Refused(f"{self.name} has no field `{min(map(str, self._body))}`")


def _number(name: str, field: str, value: object) -> float:
    if value == "Infinity":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"`{field}` of {name} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise Refused(f"`{field}` of {name} is too large") from None


def _poisson(parser: _Parser, fields: _Fields, depth: int) -> Event:
    inner = parser.event(fields.take("event"), depth)
    precision = _precision(inner)
    if precision is None:
        raise Refused("a PoissonSampledDpEvent can hold GaussianDpEvents only, alone, composed or self-composed")
    return SampledGaussian(
        fields.number("sampling_probability"), 1 / math.sqrt(precision), fields.whole("rows", default=1)
    )


def _precision(event: Event) -> float | None:
    """Σ 1/σ² of Gaussians over one sample: together they are one Gaussian of that precision. None for all else."""
    match event:
        case Gaussian(noise_multiplier=sigma):
            return 1 / (sigma * sigma)
        case Repeated(event=inner, count=count):
            one = _precision(inner)
            return None if one is None else count * one
        case Composed(events=events) if events:
            parts = [_precision(inner) for inner in events]
            known = [part for part in parts if part is not None]
            return math.fsum(known) if len(known) == len(parts) else None
    return None


_READERS: Final[dict[str, Callable[[_Parser, _Fields, int], Event]]] = {
    "NoOpDpEvent": lambda _parser, _fields, _depth: NoOp(),
    "GaussianDpEvent": lambda _parser, fields, _depth: Gaussian(fields.number("noise_multiplier")),
    "LaplaceDpEvent": lambda _parser, fields, _depth: Laplace(fields.number("noise_multiplier")),
    "PoissonSampledDpEvent": _poisson,
    "MixtureOfGaussiansDpEvent": lambda _parser, fields, _depth: GaussianMixture(
        fields.number("standard_deviation"), fields.numbers("sensitivities"), fields.numbers("sampling_probs")
    ),
    "ZCDpEvent": lambda _parser, fields, _depth: ZeroConcentrated(fields.number("rho"), fields.number("xi", 0.0)),
    "SelfComposedDpEvent": lambda parser, fields, depth: Repeated(
        parser.event(fields.take("event"), depth), fields.whole("count")
    ),
    "ComposedDpEvent": lambda parser, fields, depth: Composed(parser.events(fields, depth)),
    "RepeatAndSelectDpEvent": lambda parser, fields, depth: Selected(
        parser.event(fields.take("event"), depth), fields.number("mean"), fields.number("shape")
    ),
}


def dump(event: Event) -> dict[str, Any]:
    """The JSON object of the mechanism: `parse` gives it back."""
    match event:
        case NoOp():
            return {"class_name": "NoOpDpEvent"}
        case Gaussian(noise_multiplier=sigma):
            return {"class_name": "GaussianDpEvent", "noise_multiplier": sigma}
        case Laplace(noise_multiplier=scale):
            return {"class_name": "LaplaceDpEvent", "noise_multiplier": scale}
        case SampledGaussian():
            return {
                "class_name": "PoissonSampledDpEvent",
                "sampling_probability": event.sampling_rate,
                **({"rows": event.rows} if event.rows != 1 else {}),
                "event": {"class_name": "GaussianDpEvent", "noise_multiplier": event.noise_multiplier},
            }
        case GaussianMixture():
            return {
                "class_name": "MixtureOfGaussiansDpEvent",
                "standard_deviation": event.standard_deviation,
                "sensitivities": list(event.sensitivities),
                "sampling_probs": list(event.probabilities),
            }
        case ZeroConcentrated(rho=rho, xi=xi):
            return {"class_name": "ZCDpEvent", "rho": rho, "xi": xi}
        case Repeated(event=inner, count=count):
            return {"class_name": "SelfComposedDpEvent", "event": dump(inner), "count": count}
        case Composed(events=events):
            return {"class_name": "ComposedDpEvent", "events": [dump(inner) for inner in events]}
        case Selected(event=inner, mean=mean, shape=shape):
            return {
                "class_name": "RepeatAndSelectDpEvent",
                "event": dump(inner),
                "mean": mean,
                "shape": "Infinity" if math.isinf(shape) else shape,
            }
