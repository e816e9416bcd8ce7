"""Reads segment files: names, bounded lines, ranges. Never writes. Standard library only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlprivacy.audit.record import MAX_LINE

SUFFIX: Final = ".jsonl"
PENDING: Final = ".jsonl.new"  # the next segment, made before the one before it is closed
TORN: Final = ".torn"
LOCK: Final = "LOCK"

KIND_BEGIN: Final = "segment-begin"  # first record of a segment: names the segment before
KIND_END: Final = "segment-end"  # last record of a full segment: names the segment after
KIND_TORN: Final = "torn"  # says that an unfinished last line was moved aside
RESERVED_KINDS: Final = frozenset({KIND_BEGIN, KIND_END, KIND_TORN})


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a segment. ``whole`` is false when no newline ends it; ``text`` is without the newline."""

    number: int
    offset: int
    text: bytes
    whole: bool


def segment_name(first_seq: int) -> str:
    """The file name of the segment whose first record is ``first_seq``."""
    return f"{first_seq:016d}{SUFFIX}"


def first_seq(segment: Path) -> int:
    """The number in a segment's name; 0 when the name is not a segment's."""
    stem = segment.name.removesuffix(SUFFIX)
    return int(stem) if len(stem) == 16 and stem.isascii() and stem.isdigit() else 0


def segments(directory: Path) -> list[Path]:
    """The segments of one chain, oldest first."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if first_seq(path))


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file, in constant memory: a line longer than a record may be comes as not whole, and ends it.

    Raises OSError when the file can not be read.
    """
    offset = 0
    number = 0
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE + 2):
            number += 1
            whole = raw.endswith(b"\n")
            yield Line(number, offset, raw[:-1] if whole else raw, whole)
            if not whole:
                return
            offset += len(raw)


def chain_lines(directory: Path, start: int, end: int) -> Iterator[bytes]:
    """The raw lines (no newline) of records ``start`` to ``end`` of one chain, both included.

    Raises OSError when a segment can not be read. A segment that is not there is passed over: who must know reads
    with verify().
    """
    files = segments(directory)
    for index, path in enumerate(files):
        first = first_seq(path)
        following = first_seq(files[index + 1]) if index + 1 < len(files) else end + 1
        if following <= start or first > end:
            continue
        for line in lines(path):
            seq = first + line.number - 1
            if seq > end or not line.whole:
                break
            if seq >= start:
                yield line.text
