"""`python -m mlprivacy.api.schema [--check] [--output DIR]`: write crds/, or say how it differs from the models."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from mlprivacy.api.schema.lower import SchemaError
from mlprivacy.api.schema.render import HEADER, rendered_files


def drift(folder: Path, files: dict[str, str]) -> list[str]:
    """What `folder` has to change to hold exactly `files`, as lines for people; empty when it does already."""
    lines: list[str] = []
    for name, wanted in sorted(files.items()):
        path = folder / name
        found = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines += difflib.unified_diff(
            found.splitlines(), wanted.splitlines(), str(path), "the models say", "", "", 2, ""
        )
    return lines + [f"{path}: no kind of this name exists any more" for path in stale(folder, files)]


def stale(folder: Path, files: dict[str, str]) -> list[Path]:
    """Files that this generator wrote earlier, for kinds that are gone."""
    return [
        path
        for path in sorted(folder.glob("*.yaml"))
        if path.name not in files and path.read_text(encoding="utf-8").startswith(HEADER)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when done or equal, 1 when --check finds a difference, 2 when the models cannot be expressed."""
    parser = argparse.ArgumentParser(prog="python -m mlprivacy.api.schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the files differ")
    parser.add_argument("--output", type=Path, default=Path("crds"), help="folder of the files (default: crds)")
    options = parser.parse_args(arguments)
    folder: Path = options.output
    try:
        files = rendered_files()
    except SchemaError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    if options.check:
        differences = drift(folder, files)
        if differences:
            sys.stderr.write("\n".join([*differences, "", "Run `python -m mlprivacy.api.schema` and commit crds/.\n"]))
        return 1 if differences else 0
    folder.mkdir(parents=True, exist_ok=True)
    for path in stale(folder, files):
        path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"Wrote {len(files)} files into {folder}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
