"""Copies crds/ into the chart (charts/mlprivacy/files/crds), where Helm can read it; `--check` only compares."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "crds"
TARGET = ROOT / "charts" / "mlprivacy" / "files" / "crds"


def differences(source: Path = SOURCE, target: Path = TARGET) -> list[str]:
    """Names of the files that are missing, stale or left over in `target`."""
    wanted = {path.name: path.read_bytes() for path in source.glob("*.yaml")}
    present = {path.name: path.read_bytes() for path in target.glob("*.yaml")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def sync(source: Path = SOURCE, target: Path = TARGET) -> list[str]:
    """Make `target` equal to `source`; returns the names of the files it changed or deleted."""
    changed = differences(source, target)
    target.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if (source / name).is_file():
            (target / name).write_bytes((source / name).read_bytes())
        else:
            (target / name).unlink()
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when the copy differs, and change nothing")
    if parser.parse_args().check:
        stale = differences()
        if stale:
            print(f"charts/mlprivacy/files/crds differs from crds/: {', '.join(stale)}. Run hack/sync_chart_crds.py.")
        return 1 if stale else 0
    for name in sync():
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
