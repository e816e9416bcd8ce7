"""Whether a job can never be granted any more: what is spent for good leaves it no room, whatever others give back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from mlprivacy.budget.curves import Curve
from mlprivacy.budget.ledger.blocks import BlockError
from mlprivacy.budget.ledger.checks import fitting
from mlprivacy.budget.ledger.reach import reached
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.units import to_units
from mlprivacy.budget.ledger.usage import Matrix
from mlprivacy.policy.charge import Charge, Room
from mlprivacy.policy.loss import Counted, LossKey, LossOutcome, lane_of, largest_within

REMEMBERED: Final = 256  # answers
WAITING: Final = 16  # that are being looked for
MOMENT: Final = 0.5  # seconds that a worker waits for one
_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="rooms")
_begun: Final[dict[tuple[LossKey, bytes, bytes], Future[float | None]]] = {}


@dataclass(frozen=True, slots=True)
class Lack:
    """Blocks that can not take a job any more: the sentence, and what its blocks have left, by orders."""

    never: str
    committed: Matrix
    capacity: Matrix


def lack_of(state: State, charge: Charge) -> Lack | None:
    """Why this charge can not be granted any more; None when it may be.

    What running jobs hold may come back, so that only what is committed counts.
    """
    loss = charge.loss
    if loss is None or state.promise is None or len(loss.curve) != len(state.orders):
        return None
    try:
        rows = state.table.rows(reached(state, state.promise.cut, charge.selections))
    except BlockError:
        return None
    committed: Matrix = state.table.committed[rows]
    fits = fitting(committed, np.array(to_units(loss.curve), np.int64), state.capacity)
    if fits.all():
        return None
    where = f"{state.label(state.table.base + int(rows[fits.argmin()]))} of {state.subject_domain}"
    many = int((~fits).sum()) - 1
    others = "" if not many else f" (and {many} more block{'s' if many > 1 else ''})"
    never = f"{where}{others} has no room for it left: what is spent there is spent for good"
    return Lack(never, np.unique(committed, axis=0), state.capacity)


async def room_of(
    lack: Lack, charge: Charge, losses: Mapping[LossKey, LossOutcome], later: Callable[[], None] = lambda: None
) -> Room:
    """The same with the largest ε that still could be granted, where it is found within a moment.

    No worker waits longer for a number that only helps. ``later`` is called on the loop once it is found after that:
    the next look finds it remembered.
    """
    key = next((k for k, found in losses.items() if isinstance(found, Counted) and found.loss is charge.loss), None)
    if key is None or lane_of(key) == "long":
        return Room(never=lack.never)
    asked = key, lack.committed.tobytes(), lack.capacity.tobytes()
    future = _begun.get(asked)
    if future is None or (future.done() and future.exception() is not None):
        if len(_begun) >= REMEMBERED:
            for old in [old for old, begun in _begun.items() if begun.done()][: REMEMBERED // 2]:
                del _begun[old]
        if sum(not begun.done() for begun in _begun.values()) >= WAITING:
            return Room(never=lack.never)
        future = _begun[asked] = _thread.submit(_largest, *asked)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MOMENT):
            return Room(never=lack.never, largest=await asyncio.shield(asyncio.wrap_future(future)))
    asyncio.wrap_future(future).add_done_callback(
        lambda done: None if done.cancelled() or done.exception() is not None else later()
    )
    return Room(never=lack.never)


def _largest(key: LossKey, committed: bytes, capacity: bytes) -> float | None:
    room = np.frombuffer(capacity, np.int64)
    rows = np.frombuffer(committed, np.int64).reshape(-1, len(room))

    def fit(curve: Curve) -> bool:
        return bool(fitting(rows, np.array(to_units(curve), np.int64), room).all())

    return largest_within(key, fit)
