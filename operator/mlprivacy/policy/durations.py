"""Durations as the API writes them: ``90s``, ``15m``, ``24h``, ``90d``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # the library reads other forms too
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """``'24h'`` -> 24 hours.

    Raises:
        ValueError: when the text is no duration.
    """
    if len(text) < 2 or text[-1] not in _UNITS or not text[:-1].isascii() or not text[:-1].isdigit():
        raise ValueError(f"{text!r} is not a duration; write a number and one of s, m, h, d, such as 24h")
    try:
        return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar; write a shorter duration such as 36500d") from None


def parse_time(text: str) -> datetime:
    """An RFC 3339 moment, in UTC.

    Raises:
        ValueError: when the text is no moment, carries no time zone, or lies beyond the calendar in UTC.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write a moment such as 2027-06-30T00:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies beyond the years 1 to 9999 in UTC") from None


def end_at(text: str) -> datetime:
    """The moment at which something ends, in UTC. One beyond the calendar counts as long past: it opens nothing."""
    try:
        return parse_time(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def later(moment: datetime, by: timedelta) -> datetime:
    """``moment`` plus ``by``, or the end of the calendar where that comes first."""
    try:
        return moment + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def end_of_day(text: str) -> datetime:
    """The moment at which the day ``YYYY-MM-DD`` is over, in UTC; the day 9999-12-31 never is.

    Raises:
        ValueError: when there is no such day, or it is written otherwise.
    """
    if not _DAY.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no day; write it as YYYY-MM-DD")
    return later(datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC), timedelta(days=1))
