"""Runs every benchmark of this folder and prints a table of targets. A benchmark is a module here that has a `main`."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from results import FOLDER, table  # noqa: E402 - the folder is put on the path first


def benchmarks() -> list[Path]:
    """Modules of this folder that define `main`, but this one."""
    found = sorted(path for path in HERE.glob("*.py") if path.name != Path(__file__).name)
    return [path for path in found if "\ndef main(" in path.read_text(encoding="utf-8")]


def main(only: list[str]) -> int:
    """Run those named (all, when none is), then print what all result files say; 1 when one failed to run."""
    failed: list[str] = []
    chosen = [path for path in benchmarks() if not only or path.stem in only]
    for path in chosen:
        print(f"== {path.stem}", flush=True)
        if subprocess.run([sys.executable, str(path)], check=False).returncode != 0:
            failed.append(path.stem)
    rows = []
    for path in chosen:
        file = FOLDER / f"{path.stem}.json"
        if file.exists() and path.stem not in failed:
            rows += json.loads(file.read_text(encoding="utf-8"))["targets"]
    print("\n" + table(rows))
    missed = [row["name"] for row in rows if not row["met"]]
    if missed:
        print(f"\n{len(missed)} of {len(rows)} targets missed.")
    if failed:
        print(f"\nThese benchmarks did not run to their end: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
