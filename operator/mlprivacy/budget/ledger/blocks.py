"""Blocks by number: periods of the public calendar since 1970 in UTC, or buckets from 0; and ranges of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from mlprivacy.api.ledger_entry import MAX_KEY, MAX_RANGES
from mlprivacy.api.privacy_budget import MAX_BLOCKS
from mlprivacy.api.privacy_budget import Blocks as BlocksSpec

_EPOCH: Final = date(1970, 1, 1)
_FIRST_MONDAY: Final = date(1969, 12, 29)  # of the week that holds the epoch, which is week 0
_WEEK: Final = re.compile(r"([0-9]{4})-W([0-9]{2})")


class BlockError(ValueError):
    """Blocks that are none. The message is a sentence."""


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Blocks from ``first`` to ``last``, both included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """How many blocks."""
        return self.last - self.first + 1


Ranges = tuple[Range, ...]
"""Ascending, none overlapping or touching another."""


def ranges_of(keys: Iterable[int]) -> Ranges:
    """The blocks as ranges. Raises BlockError as :func:`check_ranges` does."""
    found: list[Range] = []
    for key in sorted(set(keys)):
        if found and key == found[-1].last + 1:
            found[-1] = Range(found[-1].first, key)
        else:
            found.append(Range(key, key))
    return check_ranges(tuple(found))


def check_ranges(ranges: Ranges) -> Ranges:
    """The ranges themselves.

    Raises:
        BlockError: when there are none or too many, one is upside down or beyond the bounds, or they are not ascending
            and apart.
    """
    if not ranges:
        raise BlockError("no block is named; name at least one")
    if len(ranges) > MAX_RANGES:
        raise BlockError(f"the blocks fall into {len(ranges)} ranges; at most {MAX_RANGES} can be named at once")
    before = -2
    for one in ranges:
        if not 0 <= one.first <= one.last <= MAX_KEY:
            raise BlockError(f"blocks {one.first} to {one.last} are no range of blocks")
        if one.first <= before + 1:
            raise BlockError(f"the range from block {one.first} overlaps or touches the one before, or is out of order")
        before = one.last
    if (total := count(ranges)) > MAX_BLOCKS:
        raise BlockError(f"{total:,} blocks are named; at most {MAX_BLOCKS:,} can be at once")
    return ranges


def count(ranges: Ranges) -> int:
    """How many blocks."""
    return sum(one.count for one in ranges)


def keys(ranges: Ranges) -> Iterator[int]:
    """Every block."""
    for one in ranges:
        yield from range(one.first, one.last + 1)


@dataclass(frozen=True, slots=True)
class Cut:
    """The partition of a budget: ``by`` and its ``period`` or ``buckets``, as in the PrivacyBudget."""

    by: str
    period: str | None = None
    buckets: int | None = None

    @classmethod
    def of(cls, spec: BlocksSpec) -> Cut:
        """The partition as a budget's spec says it."""
        return cls(spec.by, spec.period, (spec.buckets or 1) if spec.by == "Subject" else None)

    def key_at(self, moment: datetime) -> int:
        """The number of the block of this moment (aware). Raises BlockError for buckets, which have no time."""
        day = moment.astimezone(UTC).date()
        match self.period:
            case "Day":
                return (day - _EPOCH).days
            case "Week":
                return (day - _FIRST_MONDAY).days // 7
            case "Month":
                return (day.year - 1970) * 12 + day.month - 1
            case "Year":
                return day.year - 1970
        raise BlockError("blocks by Subject are buckets and have no time")

    def due(self, since: datetime, now: datetime) -> Ranges:
        """The blocks there are by now when the data begins at ``since``: all buckets, or the periods up to the present.

        Raises BlockError when they are too many, or ``since`` is in the future or before 1970.
        """
        if self.period is None:
            return check_ranges((Range(0, (self.buckets or 1) - 1),))
        return check_ranges((Range(self.key_at(since), self.key_at(now)),))

    def start_of(self, key: int) -> datetime | None:
        """The first moment of the block's period, in UTC; None for buckets, and past the calendar."""
        try:
            match self.period:
                case "Day":
                    day = _EPOCH + timedelta(days=key)
                case "Week":
                    day = _FIRST_MONDAY + timedelta(weeks=key)
                case "Month":
                    day = date(1970 + key // 12, key % 12 + 1, 1)
                case "Year":
                    day = date(1970 + key, 1, 1)
                case _:
                    return None
        except (OverflowError, ValueError):
            return None
        return datetime(day.year, day.month, day.day, tzinfo=UTC)

    def label(self, key: int) -> str:
        """The block's name for people: 2026-03-14, 2026-W11, 2026-03, 2026, or ``bucket 7``."""
        try:
            match self.period:
                case "Day":
                    return (_EPOCH + timedelta(days=key)).isoformat()
                case "Week":
                    year, week, _ = (_FIRST_MONDAY + timedelta(weeks=key)).isocalendar()
                    return f"{year:04}-W{week:02}"
                case "Month":
                    return f"{1970 + key // 12:04}-{key % 12 + 1:02}"
                case "Year":
                    return f"{1970 + key:04}"
        except OverflowError:  # past the calendar of Python, which ends with the year 9999
            return f"block {key}"
        return f"bucket {key}"

    def key_of(self, label: str) -> int:
        """The number of a block by its label. Raises BlockError when it is none of this partition."""
        try:
            match self.period:
                case "Day":
                    found = (date.fromisoformat(label) - _EPOCH).days
                case "Week":
                    parts = _WEEK.fullmatch(label)
                    year, week = (int(parts[1]), int(parts[2])) if parts else (0, 0)  # the year 0 is none
                    found = (date.fromisocalendar(year, week, 1) - _FIRST_MONDAY).days // 7
                case "Month":
                    first = date.fromisoformat(f"{label}-01")
                    found = (first.year - 1970) * 12 + first.month - 1
                case "Year":
                    found = int(label) - 1970
                case _:
                    found = int(label.removeprefix("bucket "))
        except ValueError:
            found = -1
        if found < 0 or self.label(found) not in (label, f"bucket {label}"):
            raise BlockError(f"{label!r} is no block; they are called {self.label(0)}, {self.label(1)} and so on")
        return found

    def span_of(self, text: str) -> Range:
        """The blocks that ``LABEL`` or ``FROM..TO`` names, both ends included; not all of them need be there yet.

        Raises:
            BlockError: when an end is no block of this partition, a bucket that it will never have, or TO comes before
                FROM.
        """
        first, dots, last = text.partition("..")
        low = self.key_of(first)
        high = self.key_of(last) if dots else low
        if high < low:
            raise BlockError(
                f"{text!r} is no range: {self.label(high)} comes before {self.label(low)}; write the earlier one first"
            )
        if self.buckets is not None and high >= self.buckets:
            raise BlockError(f"{self.label(high)} is none: the last is {self.label(self.buckets - 1)}")
        return Range(low, high)

    def name(self, span: Range) -> str:
        """The blocks as :meth:`span_of` reads them: one label, or ``FROM..TO``."""
        first, last = self.label(span.first), self.label(span.last)
        return first if span.first == span.last else f"{first}..{last}"
