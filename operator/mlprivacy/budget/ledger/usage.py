"""What was added to each block, for what is asked of far less often than steps are taken: quotas, and what is spent."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.ledger.units import UNBOUNDED

Matrix = NDArray[np.int64]

_FULL: Final = 1 << 62  # a sum stays below it, and so does the sum of two
FULL: Final = np.int64(_FULL)


class Usage:
    """A (blocks, orders) array in billionths of ε, that sums up what was added when somebody looks.

    A row that is added to a range of blocks is noted at the range's two ends only: the sum of the notes up to a block
    is what was added to it. So a step costs the same for one block and for ten thousand.
    """

    __slots__ = ("_ends", "_from", "_most", "_sums", "_to")

    def __init__(self, blocks: int, orders: int) -> None:
        self._sums: Matrix = np.zeros((blocks, orders), np.int64)
        self._ends: Matrix = np.zeros((blocks + 1, orders), np.int64)
        self._from, self._to = blocks, 0  # notes are there alone
        self._most = 0  # no place holds more, the notes included

    def copy(self) -> Usage:
        """Another of the same content."""
        other = Usage(0, 0)
        other._sums, other._ends = self._sums.copy(), self._ends.copy()
        other._from, other._to, other._most = self._from, self._to, self._most
        return other

    def pad(self, before: int, after: int) -> None:
        """Make room for more blocks."""
        sums = np.pad(self.sums(), ((before, after), (0, 0)))
        self._sums, self._ends = sums, np.zeros((len(sums) + 1, sums.shape[1]), np.int64)
        self._from, self._to = len(sums), 0

    @property
    def has_room(self) -> bool:
        """Whether what is added next is added whole, whatever it is."""
        return self._most + UNBOUNDED < _FULL

    def add(self, part: slice, row: Matrix) -> None:
        """Add a row of losses to each block; what would not fit into 64 bits stays at FULL, beyond every capacity."""
        whole = self.has_room  # no note can have grown so far yet
        self._most += UNBOUNDED
        if whole:
            self._note(part, row)
        else:
            rows = self.sums()[part]
            np.minimum(rows + row, FULL, out=rows)

    def take(self, part: slice, row: Matrix) -> None:
        """Take a row of losses off each block; it was added before."""
        self._note(part, -row)

    def _note(self, part: slice, row: Matrix) -> None:
        self._ends[part.start] += row
        self._ends[part.stop] -= row
        self._from, self._to = min(self._from, part.start), max(self._to, part.stop)

    def put(self, part: slice, row: Matrix) -> None:
        """Say what each block holds, whatever it held before; FULL where it is more."""
        held = np.minimum(row, FULL)
        self.sums()[part] = held
        self._most = max(self._most, int(held.max(initial=0)))

    def sums(self) -> Matrix:
        """All of it. It changes when something is added; copy what is to stay."""
        if self._to > self._from:
            ends = self._ends[self._from : self._to + 1]
            self._sums[self._from : self._to] += np.cumsum(ends[:-1], axis=0)
            ends[:] = 0
            self._from, self._to = len(self._sums), 0
        return self._sums
