"""Asks the worker process for what only dp-accounting computes: ε by privacy loss distributions. For reports alone.

Never for a ledger: privacy loss distributions are not valid when a job depends on what an earlier one showed (arXiv
2602.06756), so budgets are charged by Rényi curves. Answers come off the event loop, one at a time, and are remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from mlprivacy.budget.accounting.events import (
    Composed,
    Event,
    GaussianMixture,
    Refused,
    Repeated,
    SampledGaussian,
    Selected,
)
from mlprivacy.budget.accounting.rdp import epsilon_for_people
from mlprivacy.budget.accounting.serialised import dump
from mlprivacy.budget.curves import Curve, check_delta

logger = logging.getLogger(__name__)

ANSWER_MAX: Final = 64 << 10  # bytes of one answer
REMEMBERED: Final = 1024  # answers kept
WAITING_MAX: Final = 64  # requests that wait for the worker; further ones are refused at once
AGAIN_SECONDS: Final = 600.0  # before what had the worker killed is tried again
INTERVAL: Final = 1e-4  # to which losses are rounded up; dp-accounting's default
_PARTS: Final = 5_000  # that ε is cut into where the default would take a minute or more
WORKER: Final = (sys.executable, "-I", "-m", "mlprivacy.accountant.worker")
T = TypeVar("T")
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class NoAnswer(Exception):
    """The worker gave none. The message says why and continues "the figure is missing:"."""


class NotInstalled(NoAnswer):
    """The accounting libraries are not installed."""

    def __init__(self) -> None:
        super().__init__("the accounting libraries are not installed; pip install 'mlprivacy[accounting]'")


class _Nonsense(ValueError):
    """The worker answered another question, or no JSON object."""


class Accountant:
    """One worker, started when it is first needed, killed when it takes too long, and started anew."""

    def __init__(
        self,
        *,
        seconds: float = 60.0,
        command: Sequence[str] = WORKER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``seconds`` for one answer, the start of a worker included."""
        self._seconds = seconds
        self._command = tuple(command)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._killed: OrderedDict[str, float] = OrderedDict()
        self._number = 0
        self.started = 0
        """Workers started so far."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the worker."""
        async with self._lock:
            await self._drop()

    async def pld_epsilon(self, event: Event, delta: float, interval: float | None = None) -> float:
        """ε at this δ by the privacy loss distribution; infinite when there is none.

        Args:
            event: a fixed mechanism, nothing of which was chosen after seeing results.
            delta: of the report.
            interval: what losses are rounded up to; larger is faster and less tight. Chosen unless given
                (`interval_for`).

        Raises:
            Refused: the library has no privacy loss distribution of this mechanism (trials, zCDP).
            NoAnswer: it took too long or broke the worker, too many wait already, or the libraries are missing.
            ValueError: δ is not between 0 and 1.
        """
        check_delta(delta)
        interval = interval_for(event, delta) if interval is None else interval
        answer = await self._ask({"op": "pld", "event": dump(event), "delta": delta, "interval": interval})
        return _number(answer.get("epsilon"))

    async def rdp_curve(self, event: Event, orders: Sequence[float]) -> Curve:
        """dp-accounting's own Rényi curve, for comparison with ours. Raises as `pld_epsilon`."""
        answer = await self._ask({"op": "rdp", "event": dump(event), "orders": list(orders)})
        curve = answer.get("curve")
        if not isinstance(curve, list) or len(curve) != len(orders):
            raise NoAnswer("the worker spoke nonsense")
        return tuple(_number(value) for value in curve)

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = json.dumps(request, sort_keys=True)
        if key not in self._known:
            if self._clock() < self._killed.get(key, -math.inf):
                raise NoAnswer("it took too long a while ago, and is tried again after ten minutes")
            if self._waiting >= WAITING_MAX:
                raise NoAnswer(f"{WAITING_MAX} others wait for the worker already; ask again later")
            self._waiting += 1
            try:
                async with self._lock:
                    if key not in self._known:
                        _keep(self._known, key, await self._once(request, key))
            finally:
                self._waiting -= 1
        self._known.move_to_end(key)
        answer = self._known[key]
        if "refused" in answer:
            raise Refused(str(answer["refused"]))
        return answer

    async def _once(self, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Ask the worker; once more when it had ended before it was asked."""
        for attempt in (1, 2):
            fresh = self._process is None
            try:
                async with asyncio.timeout(self._seconds):
                    process = self._process or await self._start()
                    return await self._exchange(process, request)
            except (ConnectionError, EOFError, ValueError) as error:
                await self._drop()
                if attempt == 2 or fresh:
                    _keep(self._killed, key, self._clock() + AGAIN_SECONDS)
                    logger.warning("the accounting worker ended or spoke nonsense: %s", type(error).__name__)
                    raise NoAnswer("the worker ended or spoke nonsense") from error
            except TimeoutError:
                await self._drop()
                _keep(self._killed, key, self._clock() + AGAIN_SECONDS)
                raise NoAnswer(f"it took longer than {self._seconds:g} seconds and was stopped") from None
            except BaseException:
                await self._drop()  # an answer may still be on its way
                raise
        raise NoAnswer("the worker could not be started")

    async def _start(self) -> asyncio.subprocess.Process:
        self.started += 1
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
                limit=ANSWER_MAX,
            )
        except OSError as error:
            raise NoAnswer(f"the worker can not be started ({error.strerror})") from error
        first = await self._answer(self._process)
        if first.get("ready") is not True:
            raise NotInstalled
        return self._process

    async def _exchange(self, process: asyncio.subprocess.Process, request: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        if process.stdin is None:
            raise EOFError
        process.stdin.write(json.dumps({"id": self._number, **request}).encode("ascii") + b"\n")
        await process.stdin.drain()
        answer = await self._answer(process)
        if answer.get("id") != self._number:
            raise _Nonsense
        return answer

    async def _answer(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """The next line. Raises EOFError at the end and ValueError on what is no JSON object or too long."""
        if process.stdout is None:
            raise EOFError
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise _Nonsense
        return answer

    async def _drop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.shield(process.wait())


def interval_for(event: Event, delta: float) -> float:
    """What losses are rounded up to: 1e-4, or a 5,000th of ε where the library is slow: mixtures, and ε above 50."""
    epsilon = epsilon_for_people(event, delta)
    if math.isfinite(epsilon) and (has_mixture(event) or epsilon > 50):
        return max(INTERVAL, epsilon / _PARTS)
    return INTERVAL


def has_mixture(event: Event) -> bool:
    """Whether a part of it is a mixture of more than two Gaussians, several rows a unit included."""
    match event:
        case SampledGaussian(rows=rows):
            return rows > 1
        case GaussianMixture():
            return True
        case Repeated(event=inner) | Selected(event=inner):
            return has_mixture(inner)
        case Composed(events=events):
            return any(has_mixture(inner) for inner in events)
    return False


def _keep(memory: OrderedDict[str, T], key: str, value: T) -> None:
    memory[key] = value
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _number(value: object) -> float:
    if value == "Infinity":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise NoAnswer("the worker spoke nonsense")
    return float(value)
