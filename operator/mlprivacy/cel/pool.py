"""Has expressions evaluated by one worker process at a time: bounded in time, memory, input and output.

What does not answer in time is killed, and a new worker is started for the next expression. The library of the
expressions is loaded by the worker alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from mlprivacy.policy.custom import Expression, Key, NoAnswer, Outcome, reads_the_clock

logger = logging.getLogger(__name__)

DOCUMENT_MAX: Final = 256 << 10  # bytes of a job with its data, as JSON
ANSWER_MAX: Final = 8 << 10  # bytes of one answer
REMEMBERED: Final = 2048  # outcomes kept
AGAIN_SECONDS: Final = 60.0  # before an expression that was killed is tried again over the same document
_WORKER: Final = ("-I", "-m", "mlprivacy.cel.worker")
_CHUNK: Final = 1 << 16
T = TypeVar("T")


class Gone(Exception):
    """The worker did not answer, and is no more. The message is why, and continues "the rule gave no answer:".

    ``blame`` is False where the expression had no part in it: the process was gone before, or never came up.
    """

    def __init__(self, why: str, *, blame: bool = True) -> None:
        super().__init__(why)
        self.blame = blame


class Worker:
    """One process. Every call has a deadline on the monotonic clock; past it the process is killed."""

    def __init__(self, deadline: float) -> None:
        """Start it and wait until it is ready. Raises Gone."""
        self._buffer = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, *_WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env={},
            )
        except OSError as error:
            raise Gone(f"the evaluator can not be started ({error.strerror})", blame=False) from error
        self._in, self._out = self._pipes()
        try:
            self.answer(deadline)
        except Gone as gone:
            raise Gone("the evaluator did not start", blame=False) from gone

    def _pipes(self) -> tuple[int, int]:
        if self._process.stdin is None or self._process.stdout is None:
            raise Gone("the evaluator has no pipes", blame=False)
        pipes = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in pipes:
            os.set_blocking(pipe, False)
        return pipes

    def ask(self, request: Mapping[str, Any], deadline: float) -> None:
        """Send a request. Raises Gone; nothing of it has been looked at then."""
        left = memoryview(json.dumps(request, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n")
        while left:
            self._wait(deadline, write=True)
            try:
                left = left[os.write(self._in, left[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except OSError:
                self.kill()
                raise Gone("the evaluator had ended", blame=False) from None

    def answer(self, deadline: float) -> dict[str, Any]:
        """The next answer. Raises Gone."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > ANSWER_MAX:
                self.kill()
                raise Gone("its answer was too long")
            self._wait(deadline)
            try:
                more = os.read(self._out, _CHUNK)
            except BlockingIOError:
                continue
            if not more:
                raise self._ended()
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.kill()
            raise Gone("the evaluator spoke nonsense")
        return found

    def _wait(self, deadline: float, *, write: bool = False) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()  # not select: this process may have more than a thousand files open
        poll.register(*(self._in, select.POLLOUT) if write else (self._out, select.POLLIN))
        if left <= 0 or not poll.poll(left * 1000):
            self.kill()
            raise Gone("it took too long and was stopped")

    def _ended(self) -> Gone:
        """Why the process is gone: the kernel ends it for CPU time, the library gives up for want of memory."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        self.kill()
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return Gone("it took too much CPU time and was stopped")
        return Gone("it took more memory than is allowed, or broke the evaluator")

    def kill(self) -> None:
        """End it and reap it."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class CelPool:
    """The `policy.custom.CustomRules` of every process: one worker, started when it is first needed. Thread-safe."""

    def __init__(
        self,
        *,
        expression_seconds: float = 0.5,
        total_seconds: float = 1.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expression_seconds` for one expression, `total_seconds` for all of a job, the start of a worker included."""
        self._each = expression_seconds
        self._total = total_seconds
        self._clock = clock
        self._lock = threading.Lock()  # of the worker
        self._memory = threading.Lock()  # of what is remembered
        self._worker: Worker | None = None
        self._known: dict[tuple[str, str, str], bool] = {}
        self._killed: dict[tuple[str, str], float] = {}
        self.started = 0
        """Workers started so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._drop()

    def evaluate(self, rules: Sequence[Expression], document: Mapping[str, Any]) -> dict[Key, Outcome]:
        """The outcome of each expression. Takes `total_seconds` at most; never raises on the content."""
        now = str(document["now"])
        seen = {name: value for name, value in document.items() if name != "now"}
        try:
            text = json.dumps(seen, separators=(",", ":"), sort_keys=True, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            return _all(rules, NoAnswer("the job holds what JSON has no form for, or is nested too deeply"))
        if len(text) > DOCUMENT_MAX:
            most = DOCUMENT_MAX >> 10
            return _all(rules, NoAnswer(f"the job with its data is larger than {most} KiB; make it smaller"))
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()
        outcomes: dict[Key, Outcome] = {}
        open_: dict[str, list[Key]] = {}
        for rule in rules:
            known = self._known.get(_mark(rule.text, digest, now))
            if known is not None:
                outcomes[rule.key] = known
            elif self._clock() < self._killed.get((rule.text, digest), float("-inf")):
                outcomes[rule.key] = NoAnswer("it was stopped a moment ago, and is tried again after a minute")
            else:
                open_.setdefault(rule.text, []).append(rule.key)
        request = {"op": "evaluate", "now": now, "document": seen}
        for expression, answer in self._ask(request, list(open_)):
            outcome = _outcome(answer)
            if isinstance(outcome, bool):
                self._keep(self._known, _mark(expression, digest, now), outcome)
            elif isinstance(answer, Gone) and answer.blame:
                self._keep(self._killed, (expression, digest), self._clock() + AGAIN_SECONDS)
            outcomes |= dict.fromkeys(open_[expression], outcome)
        return outcomes

    def errors(self, texts: Sequence[str]) -> dict[str, str]:
        """Those of the expressions that can not be compiled, or not be checked in time, with the reason."""
        wrong: dict[str, str] = {}
        for text, answer in self._ask({"op": "compile"}, list(dict.fromkeys(texts))):
            outcome = _outcome(answer)
            if isinstance(outcome, NoAnswer):
                wrong[text] = outcome.why
        return wrong

    def _ask(self, request: Mapping[str, Any], texts: list[str]) -> Iterator[tuple[str, dict[str, Any] | Gone | None]]:
        """The worker's answer to each text; Gone for one that it did not survive, None where no time was left."""
        end = time.monotonic() + self._total
        if not texts:
            return
        if not self._lock.acquire(timeout=self._total):
            yield from ((text, None) for text in texts)
            return
        try:
            while texts:
                old = self._worker is not None
                try:
                    worker = self._worker = self._worker or self._start(end)
                    worker.ask({**request, "texts": texts}, end)
                    for text in tuple(texts):
                        answer = worker.answer(min(end, time.monotonic() + self._each))
                        texts.pop(0)
                        yield text, answer
                except Gone as gone:
                    self._drop()
                    if time.monotonic() >= end:
                        break
                    if old and not gone.blame:
                        continue  # it had ended while nobody looked: once more with a new one
                    logger.warning("a custom rule gave no answer: %s", gone)
                    yield texts.pop(0), gone
            yield from ((text, None) for text in texts)
        finally:
            if texts:
                self._drop()  # answers may still be on their way
            self._lock.release()

    def _keep(self, memory: dict[Any, T], key: Any, value: T) -> None:
        with self._memory:
            if len(memory) >= REMEMBERED:
                memory.pop(next(iter(memory)), None)
            memory[key] = value

    def _start(self, deadline: float) -> Worker:
        self.started += 1
        return Worker(deadline)

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def _mark(text: str, digest: str, now: str) -> tuple[str, str, str]:
    """What an outcome depends on: the time only where the expression can read it."""
    return text, digest, now if reads_the_clock(text) else ""


def _outcome(answer: dict[str, Any] | Gone | None) -> Outcome:
    if answer is None:
        return NoAnswer("there was no time left for it")
    if isinstance(answer, Gone):
        return NoAnswer(str(answer))
    if isinstance(answer.get("ok"), bool):
        return bool(answer["ok"])
    return NoAnswer(str(answer.get("error", "")), "invalid" if answer.get("invalid") is True else "failed")


def _all(rules: Sequence[Expression], outcome: NoAnswer) -> dict[Key, Outcome]:
    return {rule.key: outcome for rule in rules}
