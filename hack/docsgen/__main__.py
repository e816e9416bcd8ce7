"""Command line: ``python -m docsgen`` writes what is made from the code, ``--check`` only compares."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from docsgen.pages import DOCS, DocsError, differences, generated, write

AGAIN = "PYTHONPATH=hack .venv/bin/python -m docsgen"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when all is well, 1 when a file differs from the code, 2 when a page can not be made."""
    parser = argparse.ArgumentParser(prog="docsgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a file differs, and change nothing")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder docs/")
    arguments = parser.parse_args(argv)
    try:
        files = generated()
    except DocsError as error:
        print(f"docsgen: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        stale = differences(files, arguments.docs)
        for name in stale:
            print(f"docs/{name} differs from the code. Run: {AGAIN}", file=sys.stderr)
        return 1 if stale else 0
    for name in write(files, arguments.docs):
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
