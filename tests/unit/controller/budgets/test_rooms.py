"""The largest ε that still could be granted helps whoever is refused, and no worker waits long for it."""

import asyncio
import threading

import numpy as np

from mlprivacy.budget.ledger.units import capacity_units
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.controller.budgets.rooms import Lack, room_of
from mlprivacy.controller.budgets.rooms import _thread as thread
from mlprivacy.policy.charge import Charge
from mlprivacy.policy.loss import Counted, LossKey, Sampled, count


async def test_what_is_found_too_late_has_the_job_looked_at_again() -> None:
    key = LossKey(Sampled(60_000, 256, 5, None, 3.0, 1), 1, 1, 1e-6, tuple(DEFAULT_ORDERS))
    counted = count(key)
    assert isinstance(counted, Counted)
    charge = Charge("patients", "patients", ("clinic/visits",), (), counted.loss)
    room = np.array(capacity_units(DEFAULT_ORDERS, 4.0, 1e-7), np.int64)
    spent = room // 2
    lack = Lack("bucket 0 has no room for it left", spent.reshape(1, -1), room)

    busy, again = threading.Event(), asyncio.Event()
    thread.submit(busy.wait)  # somebody else's number is looked for
    try:
        found = await room_of(lack, charge, {key: counted}, again.set)
        assert (found.never, found.largest) == (lack.never, None)
        assert not again.is_set()
    finally:
        busy.set()
    await asyncio.wait_for(again.wait(), 30)
    found = await room_of(lack, charge, {key: counted}, again.set)
    assert found.largest is not None
    assert 0 < found.largest < 3.0
