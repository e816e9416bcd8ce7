"""The process that compiles and evaluates expressions: one request a line, one answer a line, under hard limits.

It gets no environment, opens nothing, and ends when its standard input does. The library that it loads is loaded
nowhere else. Whoever started it kills it when an answer does not come in time (pool.py).

Requests: ``{"op": "compile", "texts": [...]}`` and ``{"op": "evaluate", "texts": [...], "now": "…", "document": {…}}``.
Answers, one for each text in order: ``{"ok": true}``, ``{"ok": false}``, ``{"error": "...", "invalid": true | false}``.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from cel_expr_python import cel

MEMORY: Final = 96 << 20  # bytes of address space, of which the interpreter and the library take 30 MiB
CPU_SECONDS: Final = 2  # for one expression, besides the wall clock that the parent watches
ERROR_MAX: Final = 400  # characters of a reason
COMPILED_MAX: Final = 256  # expressions kept compiled

_MAP: Final = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_VARIABLES: Final = {
    "job": _MAP,
    "datasets": cel.Type.List(_MAP),
    "classes": cel.Type.List(_MAP),
    "namespaceObject": _MAP,
    "now": cel.Type.TIMESTAMP,
}
# What the library raises on an expression or a value; of anything else this process dies, which holds the job.
_LIBRARY: Final = (RuntimeError, ValueError, TypeError, OverflowError)
_RESULTS: Final = (cel.Type.BOOL, cel.Type.DYN)


class Invalid(Exception):
    """The expression can not be compiled, or is not of type bool."""


@lru_cache(maxsize=1)
def environment() -> Any:
    """The variables and their types; made once."""
    return cel.NewEnv(variables=_VARIABLES)


@lru_cache(maxsize=COMPILED_MAX)
def compiled(text: str) -> Any:
    """The expression, parsed and type-checked.

    Raises:
        Invalid: with why and where.
    """
    try:
        expression = environment().compile(text)
    except _LIBRARY as error:
        raise Invalid(_sentence(error)) from None
    kind = expression.return_type()
    if kind not in _RESULTS:
        raise Invalid(f"its result is of type {kind.name().lower()}; write an expression that is true or false")
    return expression


def evaluate(text: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for one expression. Never raises on its content."""
    try:
        result = compiled(text).eval(data=data)
    except Invalid as error:
        return {"error": str(error), "invalid": True}
    except _LIBRARY as error:
        return {"error": _sentence(error), "invalid": False}
    if result.type() == cel.Type.BOOL:
        return {"ok": bool(result.value())}
    if result.type() == cel.Type.ERROR:
        return {"error": _sentence(result.value()), "invalid": False}
    return {"error": f"its result is of type {result.type().name().lower()}, not bool", "invalid": False}


def answers(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One answer for each text of the request."""
    if request["op"] == "compile":
        for text in request["texts"]:
            _more_cpu()
            try:
                compiled(text)
            except Invalid as error:
                yield {"error": str(error), "invalid": True}
            else:
                yield {"ok": True}
        return
    data = {**request["document"], "now": datetime.fromisoformat(request["now"])}
    for text in request["texts"]:
        _more_cpu()
        yield evaluate(text, data)


def limit() -> None:
    """Bound this process for good: memory, files, children, core dumps. It is the first to go when memory is short."""
    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))


def _first_to_go() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _more_cpu() -> None:
    """The kernel ends this process when one expression takes more than CPU_SECONDS."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _sentence(error: object) -> str:
    """The library's words in one line, with the position and without its status codes and drawing."""
    first = [line.strip() for line in str(error).splitlines() if line.strip() and not line.lstrip().startswith("|")]
    text = " ".join(first).replace("<input>:", "at ")
    for noise in ("INVALID_ARGUMENT: ", "INTERNAL: ", "CANCELLED: ", "NOT_FOUND: ", "ERROR: "):
        text = text.replace(noise, "")
    for code in ("[INVALID_ARGUMENT]", "[INTERNAL]", "[CANCELLED]", "[NOT_FOUND]", "[OUT_OF_RANGE]"):
        text = text.replace(code, "")
    text = text.split(" expecting {", 1)[0].replace(" (in container '')", "")
    return " ".join(text.replace("at -1:-1: ", "").split())[:ERROR_MAX] or "it failed without saying why"


def main() -> None:
    """Serve until the standard input ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    environment()
    _first_to_go()
    limit()
    sink.write(b'{"ready":true}\n')
    sink.flush()
    for line in source:
        for answer in answers(json.loads(line)):
            sink.write(json.dumps(answer).encode("ascii") + b"\n")
            sink.flush()


if __name__ == "__main__":
    main()
