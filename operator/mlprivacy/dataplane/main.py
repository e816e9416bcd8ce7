"""The command ``mlprivacy-dataplane seal|accountant|gateway``: the entry point of the data plane's image.

It runs as PID 1, to which the kernel delivers no signal without a handler: one stands before anything slow is
imported, so that a pod that is deleted while it starts ends at once. What the process does is in process.py.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

STOPPED = 143  # the exit code of a process that was stopped before it had done its work


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one data-plane process and exits with its code."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    from mlprivacy.dataplane import process  # noqa: PLC0415 - slow, so after the handlers

    sys.exit(process.run(sys.argv[1:] if argv is None else argv))


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Nothing is open yet, so nothing has to be closed."""
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
