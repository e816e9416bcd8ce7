"""The published figures, simulated on all cores: CSV files, plots, and lines of text next to what is published."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mlprivacy.budget.simulate import figures
from mlprivacy.budget.simulate.figures import Point
from mlprivacy.budget.simulate.runner import Result, simulate
from mlprivacy.cli import budget_plots

Found = Sequence[tuple[Point, Result]]


def make(out: Path, processes: int | None, plots: bool) -> Iterator[str]:
    """Simulate, write the files, and say line by line what came of it.

    Raises:
        CliError: plots are wanted and matplotlib is not there.
        OSError: the folder can not be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    if plots:
        budget_plots.check(out / "figure.svg")
    begun = time.perf_counter()
    points = figures.points()
    # The longest first, so that no core is left waiting at the end.
    order = sorted(points, key=lambda point: point.figure != "figure-8")
    with ProcessPoolExecutor(processes) as pool:
        results = dict(zip(order, pool.map(simulate, [point.asked for point in order]), strict=True))
    found = [(point, results[point]) for point in points]
    for name in figures.TITLES:
        own = [(point, result) for point, result in found if point.figure == name]
        _write(out / f"{name}.csv", own)
        if plots:
            budget_plots.draw_figure(out / f"{name}.svg", *figures.TITLES[name], own)
        yield from _lines(name, own)
    yield from _ratio_lines(found)
    yield f"\n{len(points)} points in {time.perf_counter() - begun:.1f} s; files in {out}"


def _write(path: Path, found: Found) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["series", "x", "granted", "runs", "lowest", "highest", "published_from", "published_to"])
        for point, result in found:
            published = point.published or ("", "")
            lowest, highest = min(result.granted_all), max(result.granted_all)
            x = "" if point.x is None else f"{point.x:g}"
            row = [point.series, x, f"{result.granted:.2f}", len(result.granted_all), lowest, highest, *published]
            writer.writerow(row)


def _lines(name: str, found: Found) -> Iterator[str]:
    title, axis = figures.TITLES[name]
    yield f"\n{name}: {title}"
    yield f"  {'':<20} {axis:>30} {'granted':>9} {'published':>12}  within 10 %"
    for point, result in found:
        published, reached = "", ""
        if point.published is not None:
            low, high = point.published
            published = f"{low:g}" if low == high else f"{low:g}-{high:g}"
            reached = "yes" if point.reached(result.granted) else "NO"
        x = "" if point.x is None else f"{point.x:g}"
        yield f"  {point.series:<20} {x:>30} {result.granted:>9.1f} {published:>12}  {reached}"


def _ratio_lines(found: Found) -> Iterator[str]:
    yield "\nDPack over DPF (published: 1.0 to 2.6 in these sweeps)"
    for ratio in figures.ratios(found):
        yield f"  {ratio.figure:<20} {ratio.x:>30g} {ratio.ratio:>9.2f}"
