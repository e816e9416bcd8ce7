"""The process that holds dp-accounting: one request a line, one answer a line, under hard limits.

It gets no environment but the number of threads, opens nothing, and ends when its standard input does. Whoever started
it kills it when an answer does not come in time (client.py).

Requests carry an ``id``, an ``op`` and an ``event`` (`budget.accounting.serialised`):
``{"id": 1, "op": "pld", "event": {…}, "delta": 1e-5, "interval": 1e-4}`` → ``{"id": 1, "epsilon": 2.38}``, and
``{"id": 2, "op": "rdp", "event": {…}, "orders": [2, 4]}`` → ``{"id": 2, "curve": [0.1, 0.2]}``.
What can not be accounted so: ``{"id": 1, "refused": "…"}``. Infinity is written "Infinity".
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
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
from mlprivacy.budget.accounting.mixture import binomial
from mlprivacy.budget.accounting.serialised import parse

MEMORY: Final = 2 << 30  # bytes of address space, of which interpreter and libraries take a third
CPU_SECONDS: Final = 120  # for one request, besides the wall clock that the parent watches
_NEGLIGIBLE: Final = 1e-30  # probability of a component that is moved to the largest one that is kept


def main() -> None:
    """Serve until the standard input ends."""
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    try:
        import dp_accounting  # noqa: F401, PLC0415
    except ImportError as error:
        _say(sink, {"ready": False, "missing": str(error.name)})
        return
    _first_to_go()
    limit()
    _say(sink, {"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _more_cpu()
        _say(sink, {"id": request["id"], **answer(request)})


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one request, without its id."""
    try:
        event = parse(request["event"])
        if request["op"] == "pld":
            return {"epsilon": _json(pld_epsilon(event, request["delta"], request["interval"]))}
        return {"curve": [_json(value) for value in rdp_curve(event, request["orders"])]}
    except Refused as error:
        return {"refused": str(error)}


def pld_epsilon(event: Event, delta: float, interval: float) -> float:
    """ε at this δ by the privacy loss distribution, its loss rounded up to multiples of ``interval``.

    Raises:
        Refused: when the library can not account the event that way.
    """
    import dp_accounting  # noqa: PLC0415
    from dp_accounting import pld  # noqa: PLC0415

    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    try:
        accountant.compose(to_library(event))
    except dp_accounting.UnsupportedEventError:
        raise Refused("the library has no privacy loss distribution for this mechanism") from None
    return float(accountant.get_epsilon(delta))


def rdp_curve(event: Event, orders: list[float]) -> list[float]:
    """The library's own Rényi curve, for comparison.

    Raises:
        Refused: when the library can not account the event that way.
    """
    import dp_accounting  # noqa: PLC0415
    from dp_accounting import rdp  # noqa: PLC0415

    accountant = rdp.RdpAccountant(orders=orders)
    try:
        accountant.compose(to_library(event))
    except dp_accounting.UnsupportedEventError:
        raise Refused("the library has no Rényi curve for this mechanism") from None
    return [float(value) for value in accountant._rdp]


def to_library(event: Event) -> Any:
    """The library's event. Several rows a unit become a mixture of Gaussians."""
    from dp_accounting import dp_event  # noqa: PLC0415

    match event:
        case NoOp():
            return dp_event.NoOpDpEvent()
        case Gaussian(noise_multiplier=sigma):
            return dp_event.GaussianDpEvent(sigma)
        case Laplace(noise_multiplier=scale):
            return dp_event.LaplaceDpEvent(scale)
        case SampledGaussian(rows=1):
            inner = dp_event.GaussianDpEvent(event.noise_multiplier)
            return dp_event.PoissonSampledDpEvent(event.sampling_rate, inner)
        case SampledGaussian():
            return _rows(event)
        case GaussianMixture():
            return dp_event.MixtureOfGaussiansDpEvent(
                event.standard_deviation, list(event.sensitivities), list(event.probabilities)
            )
        case ZeroConcentrated(rho=rho, xi=xi):
            return dp_event.ZCDpEvent(rho, xi)
        case Repeated(event=inner_event, count=count):
            return dp_event.SelfComposedDpEvent(to_library(inner_event), count)
        case Composed(events=events):
            return dp_event.ComposedDpEvent([to_library(inner_event) for inner_event in events])
        case Selected(event=inner_event, mean=mean, shape=shape):
            return dp_event.RepeatAndSelectDpEvent(to_library(inner_event), mean, shape)


def _rows(event: SampledGaussian) -> Any:
    """A unit of several rows: its share of the sum is Binomial(rows, rate) times the clipping bound."""
    from dp_accounting import dp_event  # noqa: PLC0415

    if event.sampling_rate == 1:
        return dp_event.GaussianDpEvent(event.noise_multiplier / event.rows)
    mixture = binomial(event.rows, event.sampling_rate, event.noise_multiplier)
    probabilities = [math.exp(log) for log in mixture.logs]
    # What is too rare to be kept is added to the largest shift, never dropped: the loss only grows.
    kept = [j for j, p in enumerate(probabilities) if p > _NEGLIGIBLE or j == event.rows]
    weights = [probabilities[j] for j in kept]
    weights[-1] = max(weights[-1] + math.fsum(p for p in probabilities[:-1] if p <= _NEGLIGIBLE), _NEGLIGIBLE)
    total = math.fsum(weights)
    return dp_event.MixtureOfGaussiansDpEvent(
        event.noise_multiplier, [float(j) for j in kept], [weight / total for weight in weights]
    )


def limit() -> None:
    """Bound this process for good: memory, files, children, core dumps."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))


def _first_to_go() -> None:
    """It is the first to end when memory is short, and the last to get the processor."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with contextlib.suppress(OSError):
        os.nice(10)


def _more_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _json(value: float) -> float | str:
    return value if math.isfinite(value) else "Infinity"


def _say(sink: Any, body: Mapping[str, Any]) -> None:
    sink.write(json.dumps(body, allow_nan=False).encode("ascii") + b"\n")
    sink.flush()


if __name__ == "__main__":
    main()
