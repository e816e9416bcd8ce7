"""Law packs: one YAML per law. A pack switches rules on, sets parameters and adds citations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field


class PackRule(BaseModel):
    """One line of a pack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    citations: tuple[str, ...] = ()
    parameters: Annotated[dict[str, int | str], Field(default_factory=dict)]
    unverified: bool = False


class Pack(BaseModel):
    """A law, as an engineer read it. Not legal advice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    title: str
    notice: str
    rules: tuple[PackRule, ...]

    def line(self, rule: str) -> PackRule | None:
        """The line of ``rule``, or None when this pack does not ask for it."""
        return next((item for item in self.rules if item.id == rule), None)


@cache
def built_in_packs() -> Mapping[str, Pack]:
    """Every pack that ships, by name, read once from the package's own files."""
    packs = [
        Pack.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))
        for entry in files(__package__).iterdir()
        if entry.name.endswith(".yaml")
    ]
    return {pack.name: pack for pack in sorted(packs, key=lambda p: p.name)}
