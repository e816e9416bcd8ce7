"""The blocks of a domain as a table: what is used of each at each order, how much of it for good, and what is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.base import Assurance
from mlprivacy.api.privacy_budget import MAX_BLOCKS
from mlprivacy.budget.ledger.blocks import Ranges
from mlprivacy.budget.ledger.units import Units, row_of
from mlprivacy.budget.ledger.usage import Matrix, Usage

Flags = NDArray[np.bool_]

NEVER: Final = len(Assurance)  # in `weakest`: never spent; any assurance is weaker


class Table:
    """Arrays with one row for each block from ``base`` on; rows of blocks that were never opened are zero.

    There are more rows than blocks, so that opening one block a day does not copy the table each day.

    ``used`` is (blocks, orders) in billionths of ε: what is committed and what is reserved, together, since that is
    what must fit. ``committed`` is the part that is spent for good; a job that spends what it reserved moves nothing
    in ``used``. ``usage`` holds the same as ``used`` for the jobs of one namespace, ``weakest`` the rank of the weakest
    assurance with which a block was spent, or NEVER.
    """

    __slots__ = ("_committed", "base", "opened", "orders", "retired", "tainted", "usage", "used", "weakest")

    def __init__(self, orders: int) -> None:
        self.orders = orders
        self.base = 0
        self.used: Matrix = np.zeros((0, orders), np.int64)
        self._committed = Usage(0, orders)
        self.opened: Flags = np.zeros(0, np.bool_)
        self.retired: Flags = np.zeros(0, np.bool_)
        self.tainted: Flags = np.zeros(0, np.bool_)
        self.weakest: NDArray[np.int8] = np.zeros(0, np.int8)
        self.usage: dict[str, Usage] = {}

    def __len__(self) -> int:
        return len(self.opened)

    def copy(self) -> Table:
        """Another table of the same content."""
        other = Table(self.orders)
        other.base, other._committed = self.base, self._committed.copy()
        for name in ("used", "opened", "retired", "tainted", "weakest"):
            setattr(other, name, getattr(self, name).copy())
        other.usage = {namespace: usage.copy() for namespace, usage in self.usage.items()}
        return other

    def covers(self, ranges: Ranges) -> bool:
        """Whether every block has a row (it may not be open)."""
        return bool(len(self)) and ranges[0].first >= self.base and ranges[-1].last < self.base + len(self)

    def would_span(self, ranges: Ranges) -> int:
        """How many blocks there were from the first to the last if these were opened, those between them included."""
        first, last = ranges[0].first, ranges[-1].last
        if len(self):
            first, last = min(first, self.base), max(last, self.base + int(np.flatnonzero(self.opened)[-1]))
        return last - first + 1

    def grow(self, ranges: Ranges) -> None:
        """Make rows up to these blocks. Raises ValueError beyond MAX_BLOCKS."""
        if self.covers(ranges):
            return
        if (span := self.would_span(ranges)) > MAX_BLOCKS:
            raise ValueError(f"{span} blocks are more than {MAX_BLOCKS}")
        first = min(ranges[0].first, self.base) if len(self) else ranges[0].first
        before = self.base - first if len(self) else 0
        pad = (before, max(0, min(MAX_BLOCKS, span + span // 4) - before - len(self)))
        self.used = np.pad(self.used, (pad, (0, 0)))
        for usage in (self._committed, *self.usage.values()):
            usage.pad(*pad)
        self.opened, self.retired, self.tainted = (
            np.pad(flags, pad) for flags in (self.opened, self.retired, self.tainted)
        )
        self.weakest = np.pad(self.weakest, pad, constant_values=NEVER)
        self.base = first

    def slices(self, ranges: Ranges) -> Iterator[slice]:
        """The rows of the ranges, which must be covered."""
        for one in ranges:
            yield slice(one.first - self.base, one.last + 1 - self.base)

    def rows(self, ranges: Ranges) -> NDArray[np.int64]:
        """The numbers of the rows of the ranges, which must be covered."""
        return np.concatenate([np.arange(part.start, part.stop) for part in self.slices(ranges)])

    @property
    def committed(self) -> Matrix:
        """What is spent for good. It changes with the next step; copy what is to stay."""
        return self._committed.sums()

    def usage_of(self, namespace: str) -> Usage:
        """What jobs of the namespace take of each block; made on first use."""
        found = self.usage.get(namespace)
        if found is None:
            found = self.usage[namespace] = Usage(len(self), self.orders)
        return found

    def mark(self, flag: Literal["opened", "retired", "tainted"], ranges: Ranges) -> None:
        """Set a flag of these blocks. Opening makes rows where there are none."""
        if flag == "opened":
            self.grow(ranges)
        flags: Flags = getattr(self, flag)
        for part in self.slices(ranges):
            flags[part] = True

    def reserve(self, ranges: Ranges, curve: Units, namespace: str) -> None:
        """Put the curve on each block."""
        row = row_of(curve)
        usage = self.usage_of(namespace)
        for part in self.slices(ranges):
            self.used[part] += row
            usage.add(part, row)

    def load_reserved(self, ranges: Ranges, curve: Units) -> None:
        """A reservation that is counted among its namespace's usage already."""
        for part in self.slices(ranges):
            self.used[part] += row_of(curve)

    def load_committed(self, part: slice, row: Matrix) -> None:
        """These blocks have spent this much, and nothing is reserved on them yet; FULL where it is more."""
        self._committed.put(part, row)
        self.used[part] = self._committed.sums()[part]

    def settle(self, ranges: Ranges, reserved: Units, spent: Units | None, namespace: str) -> None:
        """Take the reservation off each block and put on what was spent; None for nothing."""
        was = row_of(reserved)
        row = None if spent is None else row_of(spent)
        for part in self.slices(ranges):
            if row is None:
                self.used[part] -= was
            else:
                self._commit(part, was, row)
            if row is not was:
                self.usage_of(namespace).take(part, was if row is None else was - row)

    def _commit(self, part: slice, was: Matrix, row: Matrix) -> None:
        if self._committed.has_room:
            self._committed.add(part, row)
            if row is not was:
                self.used[part] += row - was
        else:  # what is committed may stay at FULL, and what is used is that and what is reserved
            before = self._committed.sums()[part].copy()
            self._committed.add(part, row)
            self.used[part] += self._committed.sums()[part] - before - was

    def weaken(self, ranges: Ranges, assurance: Assurance) -> None:
        """The blocks were spent with this assurance."""
        for part in self.slices(ranges):
            weakest = self.weakest[part]
            np.minimum(weakest, np.int8(assurance.rank), out=weakest)
