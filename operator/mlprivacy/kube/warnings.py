"""Warnings the API server sends in `Warning:` headers: logged once each, and collected by whoever asks."""

import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger(__name__)

# RFC 9110 warn-value as Kubernetes sends it: 299 - "text", with \" and \\ escaped.
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_REMEMBERED = 500

_sink: ContextVar[list[str] | None] = ContextVar("mlprivacy_kube_warnings", default=None)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Gather the API server's warnings of the requests made inside the block (by this task), without doubles."""
    found: list[str] = []
    token = _sink.set(found)
    try:
        yield found
    finally:
        _sink.reset(token)


class WarningLog:
    """Logs each distinct warning once per process, in bounded memory."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def record(self, headers: Iterable[str], about: str) -> None:
        """Take the `Warning` headers of one answer to the request `about`."""
        sink = _sink.get()
        for header in headers:
            for match in _WARNING.finditer(header):
                text = re.sub(r"\\(.)", r"\1", match.group(1))
                if sink is not None and text not in sink:
                    sink.append(text)
                if text not in self._seen:
                    self._seen[text] = None
                    if len(self._seen) > _REMEMBERED:
                        self._seen.popitem(last=False)
                    logger.warning("the API server warns about %s: %s", about, text)
