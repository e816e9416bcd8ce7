"""What an installation tells about itself in the ConfigMap mlprivacy-addresses. Pure.

``addresses`` are those of our Services, for the guard mlprivacy-external-addresses. ``settings`` are what the
controller renders pods with, newest first: the admission process renders the same and compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any, Final

from mlprivacy.workloads.context import RenderSettings

KEY_ADDRESSES: Final = "addresses"
KEY_SETTINGS: Final = "settings"
# After a change, pods of what was rendered before are still made until the controller has rendered everything anew.
OVERLAP: Final = timedelta(hours=1)
_KEPT: Final = 3
_FIELDS: Final = frozenset(field.name for field in fields(RenderSettings))


def settings_in(data: Mapping[str, str], now: datetime) -> tuple[RenderSettings, ...]:
    """Settings that pods may be rendered with now, newest first; none when nothing was written that can be read."""
    found = []
    for entry in _entries(data):
        until = _moment(entry.get("until"))
        if until is not None and until <= now:
            continue
        known = {key: value for key, value in entry["settings"].items() if key in _FIELDS}
        try:
            found.append(RenderSettings(**known))
        except TypeError:  # written by a release that knew fewer of them
            continue
    return tuple(found)


def noted(data: Mapping[str, str], settings: RenderSettings, now: datetime) -> str:
    """The value of ``settings`` once these are in force; those before them hold for OVERLAP."""
    wanted = asdict(settings)
    before = [e for e in _entries(data) if e["settings"] != wanted and not _over(e, now)]
    for entry in before:
        if _moment(entry.get("until")) is None:
            entry["until"] = (now + OVERLAP).isoformat()
    return json.dumps([{"settings": wanted}, *before[: _KEPT - 1]], sort_keys=True)


def _over(entry: Mapping[str, Any], now: datetime) -> bool:
    until = _moment(entry.get("until"))
    return until is not None and until <= now


def _entries(data: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        read = json.loads(data.get(KEY_SETTINGS) or "[]")
    except ValueError:
        return []
    entries = read if isinstance(read, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("settings"), dict)]


def _moment(text: Any) -> datetime | None:
    """A moment as written; None for none, the distant past for what is not one, so that it does not hold for ever."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return _PAST
    return moment if moment.tzinfo else _PAST


_PAST: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
