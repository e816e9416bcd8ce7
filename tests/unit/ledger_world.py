"""What the tests of the ledger share: a log in memory that fails on request, and short ways to say a step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import orjson

from mlprivacy.api.base import Assurance
from mlprivacy.budget.ledger.append import AlreadyExists, Ledger, OutcomeUnknown
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.entry import Entry, Head, domain_hash, link, parse_entry, stamp
from mlprivacy.budget.ledger.transitions import Bind, Commit, Job, Open, Promise, Release, Reserve, Stop, Transition
from mlprivacy.budget.ledger.units import Units, capacity_units, decimal

DOMAIN = "clinic-patients"
ORDERS = (2.0, 8.0, 32.0)
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
T = TypeVar("T")


def promise(epsilon: float = 10, delta: float = 1e-3, **changes: Any) -> Promise:
    """A promise to DOMAIN at ORDERS; with this ε and δ all three are usable."""
    fields: dict[str, Any] = {
        "revision": 1,
        "orders": tuple(decimal(order) for order in ORDERS),
        "epsilon": decimal(epsilon),
        "delta": decimal(delta),
        "unit": "User",
        "neighbours": "AddOrRemoveOne",
        "cut": Cut("Subject", None, 8),
        "capacity": capacity_units(ORDERS, epsilon, delta),
    }
    return Promise(**{**fields, **changes})


CAPACITY = promise().capacity


def part_of(share: float) -> Units:
    """A curve that takes this share of a block at every order."""
    return tuple(int(room * share) for room in CAPACITY)


def job(number: int = 1, namespace: str = "research") -> Job:
    """A job by its number."""
    return Job(namespace, f"job-{number}", f"uid-{number}")


def reserve(
    number: int, share: float = 0.1, *, blocks: tuple[int, int] = (0, 7), attempt: int = 1, **more: Any
) -> Reserve:
    """Job `number` asks for a share of each of these blocks."""
    namespace = more.pop("namespace", "research")
    fields = {"curve": part_of(share), "assurance": Assurance.GATED, **more}
    return Reserve(job(number, namespace), attempt, (Range(*blocks),), **fields)


def bind(number: int, pod: str = "pod-1", attempt: int = 1) -> Bind:
    """A pod is bound."""
    return Bind(f"uid-{number}", attempt, pod)


def commit(number: int, stop: Stop = "Unknown", *, attempt: int = 1, **more: Any) -> Commit:
    """The attempt spends."""
    return Commit(f"uid-{number}", attempt, stop, **more)


def release(number: int, attempt: int = 1) -> Release:
    """The attempt gives back."""
    return Release(f"uid-{number}", attempt, "Withdrawn")


FOUNDING: tuple[Transition, ...] = (promise(), Open((Range(0, 7),)))


def chain(*entries: Transition | Sequence[Transition], start: datetime = NOON, domain: str = DOMAIN) -> list[Entry]:
    """A chain that begins with FOUNDING and goes on with one entry for each argument, a second apart."""
    found: list[Entry] = []
    head = Head.none(domain)
    for number, one in enumerate((FOUNDING, *entries)):
        steps = one if isinstance(one, Sequence) else (one,)
        found.append(link(head, steps, stamp(start + timedelta(seconds=number)), "test"))
        head = found[-1].head
    return found


class _Pause:
    """Gives the turn to whoever drives the coroutine."""

    def __await__(self) -> Generator[None]:
        yield


Fault = Literal["none", "lost", "done-unheard", "late"]


class MemoryLog:
    """A log in memory. `fault` is what becomes of the next create; a late one is carried out by `deliver`."""

    def __init__(self, *, pause: bool = False) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.fault: Fault = "none"
        self.late: list[tuple[str, dict[str, Any]]] = []
        self.requests = 0
        self._pause = pause

    async def get(self, name: str) -> Mapping[str, Any] | None:
        await self._turn()
        return copy_of(self.specs[name]) if name in self.specs else None

    async def list(self, subject_domain: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        await self._turn()
        mine = domain_hash(subject_domain)
        names = [name for name in self.specs if name.partition("-")[0] == mine]
        return [(name, copy_of(self.specs[name])) for name in sorted(names, key=_sequence)]

    async def create(self, name: str, spec: Mapping[str, Any]) -> None:
        await self._turn()
        fault, self.fault = self.fault, "none"
        if fault == "lost":
            raise OutcomeUnknown
        if fault == "late":
            self.late.append((name, dict(spec)))
            raise OutcomeUnknown
        if name in self.specs:
            raise AlreadyExists
        self.specs[name] = copy_of(spec)
        await self._turn()  # done; whoever asked may be gone before it hears
        if fault == "done-unheard":
            raise OutcomeUnknown

    def deliver(self) -> None:
        """A request that was given up arrives."""
        name, spec = self.late.pop(0)
        self.specs.setdefault(name, spec)

    def entries(self, domain: str = DOMAIN) -> list[Entry]:
        """All of them, as they are."""
        mine = domain_hash(domain)
        names = sorted((name for name in self.specs if name.startswith(mine)), key=_sequence)
        return [parse_entry(name, copy_of(self.specs[name])) for name in names]

    async def _turn(self) -> None:
        self.requests += 1
        if self._pause:
            await _Pause()


def copy_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as it comes back from a server: through JSON."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(spec))
    return found


def _sequence(name: str) -> int:
    return int(name.partition("-")[2])


def stored(entries: Sequence[Entry]) -> MemoryLog:
    """A log that holds these entries."""
    log = MemoryLog()
    log.specs = {entry.name: dict(entry.spec) for entry in entries}
    return log


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result


def ledger(log: MemoryLog, writer: str = "one", clock: Callable[[], datetime] = lambda: NOON) -> Ledger:
    """A process that writes to the log."""
    return Ledger(log, DOMAIN, writer, clock)
