"""Results of a benchmark: targets with what was measured, medians and spread, as one JSON file under build/bench/."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parents[2] / "build" / "bench"


@dataclass(frozen=True)
class Target:
    """One target: `better` says on which side of `target` a good value lies."""

    name: str
    unit: str
    target: float
    measured: float
    better: str  # "higher" | "lower"
    rounds: tuple[float, ...] = field(default=())

    @property
    def met(self) -> bool:
        """Whether the measured value is as good as the target."""
        return self.measured >= self.target if self.better == "higher" else self.measured <= self.target


def target(name: str, unit: str, wanted: float, better: str, rounds: Sequence[float]) -> Target:
    """A target measured by the median of rounds."""
    return Target(name, unit, wanted, round(statistics.median(rounds), 4), better, tuple(round(r, 4) for r in rounds))


def write(name: str, targets: Sequence[Target], details: dict[str, Any]) -> Path:
    """The results as `build/bench/NAME.json`, with the machine and the load that it was under."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = {
        "benchmark": name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
            "load": [round(x, 2) for x in os.getloadavg()],
        },
        "targets": [asdict(t) | {"met": t.met} for t in targets],
        "details": details,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Targets as lines of text: target, measured, met."""
    lines = [f"{'target':<66} {'wanted':>10} {'measured':>10}  met"]
    for row in rows:
        sign = "≥" if row["better"] == "higher" else "≤"
        lines.append(
            f"{row['name'][:66]:<66} {sign + format(row['target'], 'g'):>10} {format(row['measured'], '.4g'):>10}  "
            f"{'yes' if row['met'] else 'NO'}  {row['unit']}"
        )
    return "\n".join(lines)
