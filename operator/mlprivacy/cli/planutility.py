"""``plan --utility SCRIPT``: how good a job would be at several ε, measured by a script of the user's on a sample.

The script gets the job's numbers as one JSON object on its standard input and prints a number last. It runs as the user
on the user's machine; what it reads must be public or its owner's to use, since ε says nothing of this measurement.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from mlprivacy.budget.accounting.events import Refused
from mlprivacy.budget.planner import Plan, Question, asked_of, exact, solve
from mlprivacy.cli.errors import CliError

POINTS_MAX: Final = 1_000
_TAIL: Final = 4096  # bytes of output that are looked at
_NAMES: Final = ("noise_multiplier", "epochs", "steps", "batch_size", "rows_per_unit")
_WHOLE: Final = ("steps", "batch_size", "rows_per_unit")


def read_grid(options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``noise_multiplier=0.8,1.1`` and so on, by name; values as they were written.

    Raises:
        CliError: on another form or name, or a name given twice.
    """
    grid: dict[str, tuple[str, ...]] = {}
    for option in options:
        name, _, values = option.partition("=")
        name = name.strip().replace("-", "_")
        listed = tuple(value.strip() for value in values.split(",") if value.strip())
        if name not in _NAMES or not listed or name in grid:
            raise CliError(f"--grid {option} is not understood; write NAME=V,V with a NAME of {', '.join(_NAMES)}.")
        grid[name] = listed
    return grid


def points(plan: Plan, grid: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Every combination of the grid's values: what varies, and all numbers of the job with its ε.

    Raises:
        CliError: when there are more than 1,000, or a value is out of range.
    """
    if not grid:
        raise CliError("--utility needs values to try; add for instance --grid noise_multiplier=0.8,1.1,1.5.")
    if math.prod(len(values) for values in grid.values()) > POINTS_MAX:
        raise CliError(f"The grid has more than {POINTS_MAX} points; give fewer values.")
    found = []
    for values in itertools.product(*grid.values()):
        given = dict(zip(grid, values, strict=True))
        try:
            one = solve(_question(plan, given))
        except (Refused, ValueError) as error:
            where = ", ".join(f"{name}={value}" for name, value in given.items())
            raise CliError(f"At {where}: {error}.") from None
        numbers = {
            "noise_multiplier": one.noise_multiplier,
            "epochs": float(one.epochs),
            "steps": one.steps,
            "batch_size": one.batch_size,
            "records": one.records,
            "sampling_rate": one.sampling_rate,
            "rows_per_unit": one.rows_per_unit,
            "delta": one.delta,
            "epsilon": one.epsilon if math.isfinite(one.epsilon) else None,
        }
        varied = {name: float(numbers[name] or math.nan) for name in grid}
        found.append({"varied": varied, "job": numbers, "epsilon": numbers["epsilon"]})
    return found


def _question(plan: Plan, given: Mapping[str, str]) -> Question:
    base = asked_of(plan)
    changes: dict[str, Any] = {}
    for name, text in given.items():
        value = exact(text)
        if name in _WHOLE and value.denominator != 1:
            raise Refused(f"{name} {text} is no whole number")
        changes[name] = int(value) if name in _WHOLE else value if name == "epochs" else float(value)
    if "steps" in changes:
        changes.setdefault("epochs", None)
    return replace(base, **changes)


def measure(script: Path, grid: Sequence[dict[str, Any]], cache: Path, seconds: float) -> list[dict[str, Any]]:
    """The points with their ``utility``; None, with an ``error``, where the script failed. Says how far it is.

    A result is kept in ``cache``, one JSON object a line, under a digest of the script's text and the job's numbers; it
    is written as soon as it is there. Failures are not kept.

    Raises:
        CliError: when the script can not be run or the cache not be used.
    """
    command, digest = _command(script), hashlib.sha256(script.read_bytes()).hexdigest()
    known = _read(cache)
    measured = []
    for i, point in enumerate(grid):
        key = hashlib.sha256(f"{digest} {json.dumps(point['job'], sort_keys=True)}".encode()).hexdigest()
        where = ", ".join(f"{name}={value:g}" for name, value in point["varied"].items())
        utility, error = known.get(key), None
        if utility is None:
            click.echo(f"[{i + 1}/{len(grid)}] {where} …", err=True)
            utility, error = _run(command, point["job"], seconds)
            if utility is not None:
                _append(cache, {"key": key, "job": point["job"], "utility": utility})
        click.echo(f"[{i + 1}/{len(grid)}] {where}: {error if utility is None else f'{utility:g}'}", err=True)
        measured.append({**point, "utility": utility, **({"error": error} if error else {})})
    return measured


def _command(script: Path) -> list[str]:
    if os.access(script, os.X_OK):
        return [str(script.absolute())]
    if script.suffix == ".py":
        return [sys.executable, str(script.absolute())]
    raise CliError(f"{script} can not be run; make it executable, or name a file that ends in .py.")


def _run(command: Sequence[str], job: Mapping[str, Any], seconds: float) -> tuple[float | None, str | None]:
    """The number that the script printed last, or None and why."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=output, start_new_session=True
            )
        except OSError as error:
            return None, f"it could not be started ({error.strerror})"
        try:
            process.communicate(json.dumps(job).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, f"it took longer than {seconds:g} seconds and was stopped"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left running, too
            process.wait()
        if process.returncode != 0:
            return None, f"it ended with code {process.returncode}"
        output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
        lines = output.read().decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        value = float(last)
    except ValueError:
        return None, f"its last line is no number: {last[:60]!r}"
    return (value, None) if math.isfinite(value) else (None, "its last line is not a finite number")


def _read(cache: Path) -> dict[str, float]:
    known = {}
    if not cache.exists():
        return {}
    try:
        for line in cache.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a line that was cut off when a run was stopped
                entry = json.loads(line)
                known[str(entry["key"])] = float(entry["utility"])
    except (OSError, KeyError, TypeError, UnicodeError):
        raise CliError(f"{cache} holds no results of --utility; name another file with --utility-cache.") from None
    return known


def _append(cache: Path, entry: Mapping[str, Any]) -> None:
    try:
        with cache.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
    except OSError as error:
        raise CliError(f"{cache} can not be written: {error.strerror}.") from None
