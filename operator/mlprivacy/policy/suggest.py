"""What somebody may have meant who wrote a name that does not exist: the like first, then all there are. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def instead(written: str, known: Iterable[str]) -> str:
    """``did you mean eu-gdpr? There are: …``, or ``choose among …`` where nothing is alike."""
    names = sorted(known)
    close = difflib.get_close_matches(written.lower(), names, n=2, cutoff=0.7)
    listed = ", ".join(names)
    return f"did you mean {' or '.join(close)}? There are: {listed}" if close else f"choose among {listed}"
