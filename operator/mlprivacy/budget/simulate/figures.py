"""The published figures: which points to simulate, and what the papers show there.

Figures 6 and 8 are of Luo et al., OSDI 2021; what they show is as read off the plots, with a range where the eye can
not tell more. The DPack sweeps are the microbenchmarks of Tholoniat et al., EuroSys 2025, section 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlprivacy.budget.simulate import curvemix
from mlprivacy.budget.simulate.runner import Asked, Result

NEAR: Final = 0.10  # how far from what is published counts as reached


@dataclass(frozen=True)
class Point:
    """One point of a figure.

    Attributes:
        figure: its name, also of its files.
        series: whose line it is on.
        x: N, or the spread of a sweep; None for a policy without one.
        asked: what to simulate.
        published: the lowest and the highest number of grants that the paper may show; None where none was read.
    """

    figure: str
    series: str
    x: float | None
    asked: Asked
    published: tuple[float, float] | None = None

    def reached(self, granted: float) -> bool | None:
        """Whether the grants are within a tenth of what is published; None where nothing is."""
        if self.published is None:
            return None
        low, high = self.published
        return low * (1 - NEAR) <= granted <= high * (1 + NEAR)


@dataclass(frozen=True)
class Ratio:
    """Grants of DPack over those of published DPF at one point of a sweep; the target is at least 1.3."""

    figure: str
    x: float
    ratio: float


TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "figure-6": ("One block, basic composition", "N"),
    "figure-8": ("A block every ten seconds, basic composition", "N"),
    "dpack-blocks": ("DPack's curve mix: jobs differ in blocks", "spread of the number of blocks"),
    "dpack-orders": ("DPack's curve mix: jobs differ in best order", "spread of the best order"),
}
"""Title and x-axis of each figure."""

_FIGURE_6: Final = {50: 48, 75: 64, 125: 97, 175: 100, 225: 100, 275: 85, 325: 72}
_FIGURE_8: Final = {175: (2200, 2350), 375: (2100, 2100), 1500: (720, 720)}


def points() -> tuple[Point, ...]:
    """Every point of every figure."""
    return (*_figure_6(), *_figure_8(), *_sweeps())


def _figure_6() -> list[Point]:
    found = [Point("figure-6", "FCFS", None, Asked("single-block", "fcfs"), (28, 35))]
    for n in (10, 50, 75, 100, 125, 175, 200, 225, 275, 325):
        read = _FIGURE_6.get(n)
        found.append(
            Point("figure-6", "DPF-N", n, Asked("single-block", "dpf", n), (read, read) if read is not None else None)
        )
        found.append(Point("figure-6", "RR-N", n, Asked("single-block", "rr", n, repeat=10)))
    return found


def _figure_8() -> list[Point]:
    found = [Point("figure-8", "FCFS", None, Asked("multi-block", "fcfs", repeat=5), (1000, 1150))]
    for n in (75, 175, 275, 375, 750, 1500):
        found.append(Point("figure-8", "DPF-N", n, Asked("multi-block", "dpf", n, repeat=3), _FIGURE_8.get(n)))
        found.append(Point("figure-8", "RR-N", n, Asked("multi-block", "rr", n, repeat=1)))
    return found


def _sweeps() -> list[Point]:
    found = []
    for spread in (0.0, 1.5, 3.0, 6.0, 10.0):
        found += _mixed("dpack-blocks", spread, curvemix.block_sweep(spread))
    for spread in (0.0, 1.0, 2.0, 4.0, 8.0):
        found += _mixed("dpack-orders", spread, curvemix.order_sweep(spread))
    return found


def _mixed(figure: str, spread: float, mix: curvemix.Mix) -> list[Point]:
    return [
        Point(figure, "FCFS", spread, Asked("dpack-mix", "fcfs", repeat=3, mix=mix)),
        Point(figure, "DPF", spread, Asked("dpack-mix", "dpf", repeat=3, mix=mix)),
        Point(figure, "DPF, cheapest order", spread, Asked("dpack-mix", "dpf", repeat=3, mix=mix, share="cheapest")),
        Point(figure, "DPack", spread, Asked("dpack-mix", "dpack", repeat=3, mix=mix)),
    ]


def ratios(found: Sequence[tuple[Point, Result]]) -> tuple[Ratio, ...]:
    """DPack over DPF at every point of the sweeps."""
    granted = {(point.figure, point.series, point.x): result.granted for point, result in found}
    return tuple(
        Ratio(point.figure, point.x, granted[point.figure, "DPack", point.x] / granted[point.figure, "DPF", point.x])
        for point, _ in found
        if point.series == "DPack" and point.x is not None
    )
