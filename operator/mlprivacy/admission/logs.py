"""Log lines as JSON objects on standard error, one line each."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import orjson

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One record as one JSON object: time, level, logger, message, whatever came in ``extra``, and an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode("utf-8")


class DecisionLog:
    """Writes decisions as lines like any other, a few at a time: a log record and a write for each would cost more than
    the decision on a pod. What is in the audit log of the API server and in the collector does not pass here.
    """

    def __init__(self, stream: BinaryIO, *, every: float = 0.1) -> None:
        """`every` is the longest a line waits, in seconds."""
        self._stream = stream
        self._every = every
        self._lines: list[bytes] = []

    def __call__(self, fields: dict[str, Any]) -> None:
        """Take the fields of one line. Must be called in a running loop."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": stamp, "level": "info", "logger": "mlprivacy.decisions", **fields}
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(self._every, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines:
            self._stream.write(b"".join(lines))
            self._stream.flush()


def log_as_json(level: int = logging.INFO) -> None:
    """Send all log records of this process to standard error as JSON; replaces handlers that are there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
