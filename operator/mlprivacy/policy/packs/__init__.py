"""Law packs: one YAML per law. A pack switches rules on, sets parameters and actions, and adds citations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator

from mlprivacy.api.base import CalendarDate, Text
from mlprivacy.api.privacy_policy import ParameterValue, RuleId
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.model import Action

BASELINE: Final = "baseline"  # the organisation's defaults, which are always on

Citation = Annotated[str, Field(min_length=2, max_length=120)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PackChange(_Model):
    """From the first moment of a day (UTC) on, a breach of the rule has another action."""

    from_: Annotated[CalendarDate, Field(alias="from")]
    action: Action

    @property
    def moment(self) -> datetime:
        """When the change comes."""
        return parse_time(f"{self.from_}T00:00:00Z")


class PackRule(_Model):
    """One line of a pack. ``unverified`` says that nobody of ours has read the text that it cites."""

    id: RuleId
    citations: Annotated[tuple[Citation, ...], Field(default=(), max_length=16)]
    parameters: Annotated[dict[str, ParameterValue], Field(default_factory=dict, max_length=32)]
    unverified: StrictBool = False
    action: Action | None = None
    changes: Annotated[tuple[PackChange, ...], Field(default=(), max_length=16)]

    @field_validator("changes")
    @classmethod
    def in_order(cls, changes: tuple[PackChange, ...]) -> tuple[PackChange, ...]:
        """The changes, when each is later than the one before it."""
        days = [change.from_ for change in changes]
        if days != sorted(set(days)):
            raise ValueError("each change must be later than the one before it")
        return changes

    def action_at(self, now: datetime, default: Action) -> Action:
        """What a breach does at ``now``: the latest change that has come, else ``action``, else ``default``."""
        come = [change.action for change in self.changes if change.moment <= now]
        return come[-1] if come else self.action or default


class Pack(_Model):
    """A law, as an engineer read it. Not legal advice."""

    name: RuleId
    version: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    notice: Text
    rules: Annotated[tuple[PackRule, ...], Field(min_length=1, max_length=128)]

    def line(self, rule: str) -> PackRule | None:
        """The line of ``rule``, or None when this pack does not ask for it."""
        return self._lines.get(rule)

    @cached_property
    def _lines(self) -> dict[str, PackRule]:
        return {item.id: item for item in reversed(self.rules)}  # of two lines for one rule the first counts

    def changes(self) -> Iterator[tuple[str, datetime]]:
        """Every date at which a line changes its action, with the line's rule."""
        for line in self.rules:
            for change in line.changes:
                yield line.id, change.moment


@dataclass(frozen=True)
class Shelf:
    """The packs there are. ``bad`` holds, by the name that policies use, why a pack of a user can not be used."""

    packs: Mapping[str, Pack]
    bad: Mapping[str, str] = field(default_factory=dict)


@cache
def built_in_packs() -> Mapping[str, Pack]:
    """Every pack that ships, by name, read once from the package's own files.

    Raises:
        PackError: when a file is no pack.
    """
    from mlprivacy.policy.packs.reading import read_pack  # noqa: PLC0415 - it reads into the models above

    packs = [
        read_pack(entry.read_text(encoding="utf-8"))
        for entry in files(__package__).iterdir()
        if entry.name.endswith(".yaml")
    ]
    return {pack.name: pack for pack in sorted(packs, key=lambda p: p.name)}


@cache
def built_in_shelf() -> Shelf:
    """The packs that ship, and no others: the same object each time."""
    return Shelf(built_in_packs())
