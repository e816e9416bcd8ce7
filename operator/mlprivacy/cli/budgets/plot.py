"""How full the blocks of budgets are, as bars: spent, reserved, tainted. With matplotlib (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlprivacy.cli import budget_plots
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST: Final = 12  # budgets in one figure
# Okabe and Ito's colours, as in the plots of the simulator; what is tainted is hatched besides.
_SPENT: Final = "#0072B2"
_HELD: Final = "#56B4E9"
_RETIRED: Final = "#999999"


def draw(path: Path, budgets: Sequence[Budget]) -> None:
    """One panel for each budget, one bar for each of its fullest blocks.

    Raises:
        CliError: when nothing is used, there are more than 12 budgets, or the file can not be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = [budget for budget in budgets if budget.fullest]
    if not shown:
        raise CliError("No block is used yet, so there is nothing to draw.")
    if len(shown) > MOST:
        raise CliError(f"{len(shown)} budgets do not fit into one figure; name one, or at most {MOST}.")
    rows = [max(2, len(budget.fullest)) for budget in shown]
    figure = Figure(figsize=(7, 0.9 * len(shown) + 0.26 * sum(rows)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)
    for axes, budget in zip(panels[:, 0], shown, strict=True):
        _panel(axes, budget)
    try:
        budget_plots.save(path, figure)
    except OSError as error:
        raise CliError(f"{path} can not be written: {error.strerror}.") from None


def _panel(axes: Axes, budget: Budget) -> None:
    uses = tuple(reversed(budget.fullest))  # the fullest on top
    names = [f"{use.name}{' (retired)' if use.retired else ''}" for use in uses]
    spent = [max(0.0, use.used - use.reserved) for use in uses]
    bars = axes.barh(names, spent, color=[_RETIRED if use.retired else _SPENT for use in uses], label="spent")
    axes.barh(names, [use.reserved for use in uses], left=spent, color=_HELD, label="reserved")
    for one, use in zip(bars, uses, strict=True):
        if use.tainted:
            one.set_hatch("///")
            axes.annotate(" tainted", (use.used, one.get_y() + one.get_height() / 2), va="center", fontsize="small")
    axes.axvline(100, color="#D55E00", linestyle="--")
    axes.set_xlim(0, max(105.0, *(use.used * 1.1 for use in uses)))
    axes.set_xlabel("used, % of a block at its order with most room")
    title = f"{budget.name}: {budget.promise}" if budget.promise else budget.name
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small", loc="lower right")
    axes.grid(visible=True, axis="x", alpha=0.3)
