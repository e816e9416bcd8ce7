"""The blocks as arrays: what each may spend and has spent, at every order, and whether a demand fits.

Arrays are (orders, blocks), so that the blocks of a job that follow each other lie side by side at every order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.schedulers.base import Block, SchedulerError, check_values
from mlprivacy.budget.schedulers.unlocking import Counts, Floats, Unlocking

Where = slice | NDArray[np.intp]
"""Blocks by their index: a range where they follow each other, else an array."""

_FIRST: Final = 64  # blocks that there is room for at the start
_AT_ONCE: Final = 1 << 12  # orders times blocks up to which all is compared at once


def indices(where: Where) -> NDArray[np.intp]:
    """The blocks one by one."""
    return np.arange(where.start, where.stop) if isinstance(where, slice) else where


class Table:
    """Blocks, in the order in which they were added.

    Args:
        orders: how many Rényi orders each curve has.
        unlocking: which part of a capacity may be spent.
        quotas: the share (0 to 1) of each block that a namespace may have; namespaces that are not named may have all.
        tolerance: ε by which a sum may pass its limit, for rounding; 0 keeps the ledger's own comparison.
    """

    def __init__(
        self, orders: int, unlocking: Unlocking, quotas: Mapping[str, float] | None = None, tolerance: float = 0.0
    ) -> None:
        if orders < 1:
            raise SchedulerError("A budget needs at least one order.")
        self.orders = orders
        self.unlocking = unlocking
        self.quotas = dict(quotas or {})
        self.tolerance = tolerance
        for namespace, share in self.quotas.items():
            if not 0 <= share <= 1:
                raise SchedulerError(f"The quota of {namespace} is {share:g}; a quota is a share, from 0 to 1.")
        self.ids: list[str] = []
        self.index: dict[str, int] = {}
        self.capacity: Floats = np.zeros((orders, _FIRST))
        self.used: Floats = np.zeros((orders, _FIRST))
        self.room: Floats = np.zeros((orders, _FIRST))  # the capacity, −∞ at unusable orders
        self.limit: Floats = np.zeros((orders, _FIRST))  # what of it is unlocked
        self.used_by: dict[str, Floats] = {name: np.zeros((orders, _FIRST)) for name in self.quotas}
        self.share_of: dict[str, Floats] = {name: np.zeros((orders, _FIRST)) for name in self.quotas}
        self.part: Floats = np.zeros(_FIRST)
        self.arrived: Counts = np.zeros(_FIRST, dtype=np.int64)
        self.created: Floats = np.zeros(_FIRST)
        self.kinds: NDArray[np.int64] = np.zeros(_FIRST, dtype=np.int64)
        self._capacities: dict[bytes, int] = {}

    # -- blocks ------------------------------------------------------------------------------------------------------

    def put(self, block: Block, now: float) -> int:
        """A new block, or the new state of one; returns its index.

        Raises:
            SchedulerError: a curve has another length than the orders, or a used one a negative value.
        """
        if len(block.capacity) != self.orders or any(map(math.isnan, block.capacity)):
            raise SchedulerError(f"The capacity of the block {block.id} is not one number for each of the orders.")
        used = block.used or (0.0,) * self.orders
        check_values(f"the block {block.id}", used, self.orders)
        at = self.index.get(block.id)
        if at is None:
            at = len(self.ids)
            self._grow(at + 1)
            self.index[block.id] = at
            self.ids.append(block.id)
        self.capacity[:, at] = block.capacity
        self.room[:, at] = [value if value > 0 else -math.inf for value in block.capacity]
        self.used[:, at] = used
        for namespace, array in self.used_by.items():
            theirs = block.used_by.get(namespace, (0.0,) * self.orders)
            check_values(f"the block {block.id}", theirs, self.orders)
            array[:, at] = theirs
            share = self.quotas[namespace]
            self.share_of[namespace][:, at] = [
                value * share + self.tolerance if value > 0 else -math.inf for value in block.capacity
            ]
        # Never fewer than before: what is unlocked is not locked again by a state that is a little old.
        self.arrived[at] = max(int(self.arrived[at]), block.arrived)
        self.created[at] = block.created
        key = self.capacity[:, at].tobytes()
        self.kinds[at] = self._capacities.setdefault(key, len(self._capacities))
        self.unlock(slice(at, at + 1), now)
        return at

    def fill(
        self,
        ids: Sequence[str],
        capacity: Sequence[float],
        used: Floats,
        used_by: Mapping[str, Floats],
        arrived: Counts,
        created: Floats,
        now: float,
    ) -> None:
        """Many new blocks of one capacity at once, as `put` makes them one by one.

        Args:
            ids: of the blocks, none of which is there.
            capacity: of each of them, shape (orders,).
            used: shape (orders, blocks).
            used_by: the same of namespaces that have a quota.
            arrived: shape (blocks,).
            created: seconds, shape (blocks,).
            now: seconds.

        Raises:
            SchedulerError: an array has another shape, a value is none, or a block is there.
        """
        first, count = len(self.ids), len(ids)
        if len(capacity) != self.orders or any(map(math.isnan, capacity)):
            raise SchedulerError("The capacity of the blocks is not one number for each of the orders.")
        if any(array.shape != (self.orders, count) or not (array >= 0).all() for array in (used, *used_by.values())):
            raise SchedulerError("What is used of the blocks is not one number, 0 or more, for each order and block.")
        fresh = {name: first + index for index, name in enumerate(ids)}
        if len(fresh) != count or fresh.keys() & self.index.keys():
            raise SchedulerError("A block is there already, or twice among the new ones.")
        self._grow(first + count)
        self.index |= fresh
        self.ids += ids
        where = slice(first, first + count)
        limits = np.array(capacity)
        usable = limits > 0
        self.capacity[:, where] = limits[:, None]
        self.room[:, where] = np.where(usable, limits, -np.inf)[:, None]
        self.used[:, where] = used
        for namespace, array in self.used_by.items():
            array[:, where] = used_by.get(namespace, 0.0)
            share = np.where(usable, limits * self.quotas[namespace] + self.tolerance, -np.inf)
            self.share_of[namespace][:, where] = share[:, None]
        self.arrived[where] = arrived
        self.created[where] = created
        self.kinds[where] = self._capacities.setdefault(limits.tobytes(), len(self._capacities))
        if count:
            self.unlock(where, now)

    def _grow(self, size: int) -> None:
        have = len(self.arrived)
        if size <= have:
            return
        further = max(have, size - have)
        more = ((0, 0), (0, further))
        self.capacity, self.room = np.pad(self.capacity, more), np.pad(self.room, more)
        self.used, self.limit = np.pad(self.used, more), np.pad(self.limit, more)
        self.used_by = {name: np.pad(a, more) for name, a in self.used_by.items()}
        self.share_of = {name: np.pad(a, more) for name, a in self.share_of.items()}
        self.arrived, self.kinds = np.pad(self.arrived, (0, further)), np.pad(self.kinds, (0, further))
        self.created, self.part = np.pad(self.created, (0, further)), np.pad(self.part, (0, further))

    def where(self, blocks: Sequence[str]) -> Where:
        """The indices of these blocks. Raises SchedulerError for one that is not there."""
        try:
            found = np.fromiter((self.index[name] for name in blocks), dtype=np.intp, count=len(blocks))
        except KeyError as error:
            raise SchedulerError(f"There is no block {error.args[0]}.") from None
        first = int(found[0])
        if len(found) == 1 or bool(np.all(np.diff(found) == 1)):
            return slice(first, first + len(found))
        return found

    def unlock(self, where: Where, now: float) -> None:
        """Set what these blocks may spend to what is unlocked by now."""
        part = self.part[where] = self.unlocking.part(self.arrived[where], self.created[where], now)
        room = self.room[:, where]
        with np.errstate(invalid="ignore"):
            limit = room * part
        if not part.all():  # 0 times the −∞ of an unusable order
            limit[np.isnan(limit)] = -np.inf
        if self.tolerance:
            limit += self.tolerance
        self.limit[:, where] = limit

    def unlock_all(self, now: float) -> list[int]:
        """Unlock what time unlocks; returns the indices of the blocks that were not wholly unlocked before."""
        locked = np.flatnonzero(self.part[: len(self.ids)] < 1)
        if locked.size:
            self.unlock(slice(int(locked[0]), int(locked[-1]) + 1), now)
        return locked.tolist()

    # -- demands -----------------------------------------------------------------------------------------------------

    def fits_at(self, at: int, curve: Floats, namespace: str) -> bool:
        """Whether one block takes the curve, shape (orders,): at some order all is within the limit, and the quota."""
        if not (self.used[:, at] + curve <= self.limit[:, at]).any():
            return False
        theirs = self.used_by.get(namespace)
        if theirs is None:
            return True
        return bool(np.any(theirs[:, at] + curve <= self.share_of[namespace][:, at]))

    def fits_each(self, blocks: NDArray[np.intp], curves: Floats) -> NDArray[np.bool_]:
        """Whether each block takes the curve in its place, shape (orders, n), quotas apart."""
        return np.asarray((self.used[:, blocks] + curves <= self.limit[:, blocks]).any(axis=0))

    def lacking(self, where: Where, curve: Floats, namespace: str) -> int:
        """The index of the first block found that can not take the curve, −1 when all can.

        The curve has the shape (orders,), or (orders, blocks) where blocks are charged differently.
        """
        found = _lacking(self.used[:, where], self.limit[:, where], curve)
        theirs = self.used_by.get(namespace)
        if found < 0 and theirs is not None:
            found = _lacking(theirs[:, where], self.share_of[namespace][:, where], curve)
        if found < 0:
            return -1
        return where.start + found if isinstance(where, slice) else int(where[found])

    def take(self, where: Where, curve: Floats, namespace: str) -> None:
        """Deduct the curve from every block, at every order."""
        amount = curve[:, None] if curve.ndim == 1 else curve
        self.used[:, where] += amount
        if namespace in self.used_by:
            self.used_by[namespace][:, where] += amount


def _lacking(used: Floats, limit: Floats, curve: Floats) -> int:
    """The position of a column in which used + curve passes the limit in every row, −1 when there is none."""
    amount = curve[:, None] if curve.ndim == 1 else curve
    if used.size <= _AT_ONCE:
        fit = (used + amount <= limit).any(axis=0)
        return -1 if fit.all() else int(fit.argmin())
    # Many blocks: nearly always one order settles nearly all of them. Each round takes the order with the most room at
    # a block that is not settled, and settles it or finds that it can not take the curve; no order is taken twice.
    rest: NDArray[np.intp] | None = None  # None: all, without an index, which is several times faster
    first = 0
    while True:
        asked = amount[:, first if amount.shape[1] > 1 else 0]
        order = int((limit[:, first] - used[:, first] - asked).argmax())
        if not (used[:, first] + asked <= limit[:, first]).any():
            return first
        here = slice(None) if rest is None else rest
        wanted = amount[order, here] if amount.shape[1] > 1 else amount[order, 0]
        unsettled = np.flatnonzero(~(used[order, here] + wanted <= limit[order, here]))
        rest = unsettled if rest is None else rest[unsettled]
        rest = rest[rest != first]  # it fits; rounding may name an order beside the one at which it does
        if not rest.size:
            return -1
        first = int(rest[0])
