"""Plots of the simulator, and how a plot of budgets is written: with matplotlib (the extra `plots`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlprivacy.budget.simulate.figures import Point
    from mlprivacy.budget.simulate.runner import Result

# Okabe and Ito's colours, which people who see few colours can tell apart; another mark for each line besides.
_STYLES: Final = {
    "FCFS": ("#000000", "s"),
    "DPF-N": ("#0072B2", "o"),
    "RR-N": ("#E69F00", "^"),
    "DPF": ("#0072B2", "o"),
    "DPF, cheapest order": ("#CC79A7", "D"),
    "DPack": ("#009E73", "v"),
}


def check(path: Path) -> None:
    """Refuse before the work is done.

    Raises:
        CliError: matplotlib is not installed, or the file's name has another ending than .svg, .png or .pdf.
    """
    if path.suffix not in {".svg", ".png", ".pdf"}:
        raise CliError(f"{path}: a plot ends in .svg, .png or .pdf.")
    if importlib.util.find_spec("matplotlib") is None:
        raise CliError("Plots need matplotlib, which is not installed. Install it with: pip install 'mlprivacy[plots]'")


def draw_runs(path: Path, title: str, result: Result) -> None:
    """Grants over time in the first run; where all are made at once, the grants of each run."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    if result.times and result.times[0] != result.times[-1]:
        axes.step(result.times, range(1, len(result.times) + 1), where="post", color="#0072B2")
        axes.set_xlabel("seconds")
    else:
        axes.bar(range(1, len(result.granted_all) + 1), result.granted_all, color="#0072B2")
        axes.set_xlabel("run")
    _finish(axes, title)
    save(path, figure)


def draw_figure(path: Path, title: str, axis: str, found: Sequence[tuple[Point, Result]]) -> None:
    """One line for each series, a level for a policy without an x, and bars where something is published."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for name in dict.fromkeys(point.series for point, _ in found):
        colour, mark = _STYLES[name]
        levels = [result.granted for point, result in found if point.series == name and point.x is None]
        own = [(point.x, result.granted) for point, result in found if point.series == name and point.x is not None]
        for level in levels:
            axes.axhline(level, color=colour, linestyle="--", label=name)
        if own:
            axes.plot([x for x, _ in own], [y for _, y in own], color=colour, marker=mark, label=name)
    published = [(point.x, *point.published) for point, _ in found if point.published and point.x is not None]
    if published:
        middles = [(low + high) / 2 for _, low, high in published]
        halves = [(high - low) / 2 for _, low, high in published]
        axes.errorbar(
            [x for x, _, _ in published], middles, halves, fmt="x", color="#D55E00", capsize=4, label="published DPF-N"
        )
    axes.set_xlabel(axis)
    axes.legend(fontsize="small")
    _finish(axes, title)
    save(path, figure)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_ylabel("jobs granted")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)


def save(path: Path, figure: object) -> None:
    """Write a figure. Raises OSError when the file can not be written."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    if not isinstance(figure, Figure):
        raise TypeError("a figure of matplotlib is saved")
    # The same drawing gives the same bytes: no date, and no random names inside.
    with mpl.rc_context({"svg.hashsalt": "mlprivacy", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
