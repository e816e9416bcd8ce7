"""Log lines as JSON objects on standard error, one line each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
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


def decision_log(stream: BinaryIO) -> Callable[[dict[str, Any]], None]:
    """Writes the fields of a decision as a line like any other, without the cost of a log record."""

    def write(fields: dict[str, Any]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": stamp, "level": "info", "logger": "mlprivacy.decisions", **fields}
        stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        stream.flush()

    return write


def log_as_json(level: int = logging.INFO) -> None:
    """Send all log records of this process to standard error as JSON; replaces handlers that are there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
