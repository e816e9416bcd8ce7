"""The blocks of a domain as a table: what is committed and reserved at each order, and what is known of each block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.base import Assurance
from mlprivacy.api.privacy_budget import MAX_BLOCKS
from mlprivacy.budget.ledger.blocks import Ranges
from mlprivacy.budget.ledger.units import UNBOUNDED, Units, row_of
from mlprivacy.budget.ledger.usage import FULL, Matrix, Usage

Flags = NDArray[np.bool_]

NEVER: Final = len(Assurance)  # in `weakest`: never spent; any assurance is weaker


class Table:
    """Arrays with one row for each block from ``base`` on; rows of blocks that were never opened are zero.

    There are more rows than blocks, so that opening one block a day does not copy the table each day.

    ``committed`` and ``reserved`` are (blocks, orders) in billionths of ε, ``usage`` holds both together for the jobs
    of one namespace, ``weakest`` the rank of the weakest assurance with which a block was spent, or NEVER.
    """

    __slots__ = ("_most", "base", "committed", "opened", "orders", "reserved", "retired", "tainted", "usage", "weakest")

    def __init__(self, orders: int) -> None:
        self.orders = orders
        self.base = 0
        self.committed: Matrix = np.zeros((0, orders), np.int64)
        self.reserved: Matrix = np.zeros((0, orders), np.int64)
        self.opened: Flags = np.zeros(0, np.bool_)
        self.retired: Flags = np.zeros(0, np.bool_)
        self.tainted: Flags = np.zeros(0, np.bool_)
        self.weakest: NDArray[np.int8] = np.zeros(0, np.int8)
        self.usage: dict[str, Usage] = {}
        self._most = 0  # no place of `committed` holds more

    def __len__(self) -> int:
        return len(self.opened)

    def copy(self) -> Table:
        """Another table of the same content."""
        other = Table(self.orders)
        other.base, other._most = self.base, self._most
        for name in ("committed", "reserved", "opened", "retired", "tainted", "weakest"):
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
        self.committed = np.pad(self.committed, (pad, (0, 0)))
        self.reserved = np.pad(self.reserved, (pad, (0, 0)))
        for usage in self.usage.values():
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

    def used(self, part: slice) -> Matrix:
        """Committed and reserved together, of some rows."""
        total: Matrix = self.committed[part] + self.reserved[part]
        return total

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
            self.reserved[part] += row
            usage.add(part, row)

    def loaded(self) -> None:
        """`committed` was filled from elsewhere and may hold anything: FULL where it is more."""
        np.minimum(self.committed, FULL, out=self.committed)
        self._most = int(self.committed.max(initial=0))

    def _add(self, part: Matrix, row: Matrix) -> None:
        """Add a row to each; what would not fit into 64 bits stays at FULL, beyond every capacity."""
        self._most += UNBOUNDED
        if self._most < FULL:  # nothing can have grown so far yet
            part += row
        else:
            np.minimum(part + row, FULL, out=part)

    def settle(self, ranges: Ranges, reserved: Units, spent: Units | None, namespace: str) -> None:
        """Take the reservation off each block and put on what was spent; None for nothing."""
        was = row_of(reserved)
        row = np.zeros_like(was) if spent is None else row_of(spent)
        for part in self.slices(ranges):
            self.reserved[part] -= was
            if spent is not None:
                self._add(self.committed[part], row)
            if row is not was:
                self.usage_of(namespace).take(part, was - row)

    def weaken(self, ranges: Ranges, assurance: Assurance) -> None:
        """The blocks were spent with this assurance."""
        for part in self.slices(ranges):
            weakest = self.weakest[part]
            np.minimum(weakest, np.int8(assurance.rank), out=weakest)
