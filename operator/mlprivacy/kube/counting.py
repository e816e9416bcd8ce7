"""Counts one loss in a process of its own, which can be stopped and takes nothing of the event loop's time.

``python -m mlprivacy.kube.counting`` reads a pickled `LossKey` and writes the pickled outcome. Both ends are this
module, so that nothing is unpickled that another wrote.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from typing import Final

from mlprivacy.policy.loss import LossKey, LossOutcome, NotCounted, count

CPU_SECONDS: Final = 60  # of the processor's time; of the clock's it may be more, and no job is refused for that
WALL_SECONDS: Final = 300.0  # after which something is wrong with the machine, and it is tried again later
TOO_LONG: Final = "it takes too long to count"
LESS_TO_COUNT: Final = "use fewer rows of each person (maxRecordsPerUnit), or a simpler event"
_CHILD: Final = ("-I", "-m", "mlprivacy.kube.counting")


class NoAnswer(Exception):
    """The process ended without an answer, which says nothing about the loss. The message is a sentence."""


class Child:
    """One process at a time. `close` may be called by another thread, the rest by one only."""

    def __init__(self, *, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds, self._wall_seconds = cpu_seconds, wall_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def count(self, key: LossKey) -> LossOutcome:
        """As `policy.loss.count`, and not counted where it takes more processor time than a loss may.

        Raises:
            NoAnswer: when the process could not be started, or was stopped by something else.
        """
        process = self._start()
        try:
            answer, _ = process.communicate(pickle.dumps(key), self._wall_seconds)
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"a loss was not counted within {self._wall_seconds:g} s; it is tried again") from None
        finally:
            process.kill()
            process.wait()
        if process.returncode == -signal.SIGXCPU:
            return NotCounted(TOO_LONG, LESS_TO_COUNT)
        if process.returncode != 0:
            raise NoAnswer(f"the process that counts losses ended with {process.returncode}; it is tried again")
        outcome: LossOutcome = pickle.loads(answer)  # noqa: S301 - our own process wrote it
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise NoAnswer("no loss is counted any more, since this process ends")
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    [sys.executable, *_CHILD, str(self._cpu_seconds)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={"OPENBLAS_NUM_THREADS": "1"},
                )
            except OSError as error:
                raise NoAnswer(f"the process that counts losses can not be started ({error.strerror})") from error
            return self._process

    def close(self) -> None:
        """Stop what is being counted, and count nothing any more."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                with contextlib.suppress(OSError):
                    self._process.kill()


def main() -> None:
    """The process."""
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    os.nice(5)  # decisions go first
    key: LossKey = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own process wrote it
    sys.stdout.buffer.write(pickle.dumps(count(key)))


if __name__ == "__main__":
    main()
