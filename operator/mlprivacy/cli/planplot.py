"""``plan --plot FILE``: ε against noise, epochs, batch size and rows; utility against ε where it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlprivacy.budget.planner import SWEPT, Plan, sweep
from mlprivacy.cli.errors import CliError

FORMATS: Final = (".png", ".svg")
_POINTS: Final = 25
_LABELS: Final = {
    "noise_multiplier": "noise multiplier",
    "epochs": "epochs",
    "batch_size": "batch size",
    "rows_per_unit": "rows per unit",
}


def check(path: Path) -> None:
    """Refuse what can not be drawn before anything is computed.

    Raises:
        CliError: on another format, a missing folder, or when the extra `plots` is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise CliError(f"{path} is no plot; name a file that ends in {' or '.join(FORMATS)}.")
    if not path.absolute().parent.is_dir():
        raise CliError(f"The folder of {path} does not exist; make it first.")
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError:
        raise CliError("Plots need matplotlib, which is not installed: pip install 'mlprivacy[plots]'.") from None


def values_of(plan: Plan, along: str) -> tuple[float, ...]:
    """Around the plan's own number: a fifth to five times it, whole where it must be."""
    if along == "rows_per_unit":
        return tuple(float(k) for k in sorted({1, 2, 3, 5, 8, 10, 15, 20, 30, plan.rows_per_unit}))
    middle = {
        "noise_multiplier": plan.noise_multiplier,
        "epochs": float(plan.epochs),
        "batch_size": float(plan.batch_size or math.nan),
    }[along]
    if math.isnan(middle):
        return ()
    spread = [middle * 5 ** (2 * i / (_POINTS - 1) - 1) for i in range(_POINTS)]
    whole = along == "batch_size"
    return tuple(sorted({max(1.0, float(round(value))) if whole else float(f"{value:.6g}") for value in spread}))


def draw(paths: Sequence[Path], plan: Plan, utility: Sequence[Mapping[str, Any]]) -> None:
    """Write the figure to every path.

    Raises:
        CliError: when a file can not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    measured = [point for point in utility if point["utility"] is not None and point["epsilon"] is not None]
    panels = [*SWEPT, *(["utility"] if measured else [])]
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(9, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, along in enumerate(panels):
        axes = figure.add_subplot(rows, 2, i + 1)
        if along == "utility":
            _utility(axes, measured)
        else:
            _sweep(axes, plan, along)
    figure.suptitle(
        f"σ={plan.noise_multiplier:g}, {plan.steps} steps, sampling rate {plan.sampling_rate:.4g}, δ={plan.delta:.2g}"
    )
    for path in paths:
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            raise CliError(f"{path} can not be written: {error.strerror}.") from None


def _sweep(axes: Any, plan: Plan, along: str) -> None:
    values = values_of(plan, along)
    found = [(x, y) for x, y in zip(values, sweep(plan, along, values), strict=True) if math.isfinite(y) and y > 0]
    axes.set_xlabel(_LABELS[along])
    axes.set_ylabel("ε (Rényi)")
    if not found:
        axes.text(0.5, 0.5, "needs --records and --batch-size", ha="center", transform=axes.transAxes)
        return
    axes.plot([x for x, _ in found], [y for _, y in found], marker=".")
    own = {
        "noise_multiplier": plan.noise_multiplier,
        "epochs": float(plan.epochs),
        "batch_size": plan.batch_size,
        "rows_per_unit": plan.rows_per_unit,
    }[along]
    axes.plot([own], [plan.epsilon], marker="o", color="black", linestyle="none", label="this plan")
    if plan.ceiling is not None:
        axes.axhline(plan.ceiling, linestyle="--", color="grey", label=f"ceiling {plan.ceiling:g}")
    axes.set_yscale("log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def _utility(axes: Any, measured: Sequence[Mapping[str, Any]]) -> None:
    points = sorted((point["epsilon"], point["utility"]) for point in measured)
    axes.plot([x for x, _ in points], [y for _, y in points], marker="o")
    axes.set_xlabel("ε (Rényi)")
    axes.set_ylabel("utility on the sample")
    axes.set_xscale("log")
    axes.grid(visible=True, alpha=0.3)
