"""Which changes a job is looked at for, kept until its next decision, so that the decision can say what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mlprivacy.controller.store import JobKey
from mlprivacy.policy.model import Dependency

KEPT: Final = 8  # of one job between two looks; status.decision.changedBy holds no more
TIME: Final = "Time"  # what is called the cause where a date came: its name is the moment


class Causes:
    """The objects that changed since a job was last decided on, as far as they are known to concern it."""

    def __init__(self) -> None:
        self._noted: dict[JobKey, tuple[Dependency, ...]] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, jobs: Iterable[JobKey], changed: Dependency) -> None:
        """These jobs are looked at since this changed. Equal lists are shared: a policy concerns thousands of jobs."""
        alone = (changed,)
        for job in jobs:
            known = self._noted.get(job)
            if known is None:
                self._noted[job] = alone
            elif changed not in known and len(known) < KEPT:
                self._noted[job] = (*known, changed)

    def of(self, job: JobKey) -> tuple[Dependency, ...]:
        """What changed since the last decision."""
        return self._noted.get(job, ())

    def settle(self, job: JobKey, seen: tuple[Dependency, ...]) -> None:
        """The job was decided on with ``seen`` in view; what changed since stays."""
        left = tuple(change for change in self._noted.get(job, ()) if change not in seen)
        if left:
            self._noted[job] = left
        else:
            self._noted.pop(job, None)


def as_status(changes: Iterable[Dependency]) -> list[dict[str, Any]]:
    """The changes for ``status.decision.changedBy``."""
    return [{k: v for k, v in change._asdict().items() if v} for change in changes]


def sentence(changed_by: Iterable[dict[str, Any]]) -> str:
    """``decided anew after a change of Dataset clinic/visits``, or nothing where no cause is known."""
    names: list[str] = []
    moment = ""
    for change in changed_by:
        if change["kind"] == TIME:
            moment = f"decided anew at {change['name']}, when something that it rests on ended or began"
            continue
        place = f"{change['namespace']}/{change['name']}" if change.get("namespace") else change["name"]
        names.append(f"{change['kind']} {place}")
    if names:
        return f"decided anew after a change of {', '.join(names)}"
    return moment
