"""Writes a ledger from the cluster into a file that `mlprivacy verify ledger` reads, and goes on where a file ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from mlprivacy.api.ledger_entry import KIND
from mlprivacy.api.names import API_VERSION
from mlprivacy.budget.ledger.entry import Head, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.verify import MAX_LINE, Line, read_lines
from mlprivacy.cli.budgets.entries import Say, entries
from mlprivacy.cli.budgets.reading import Chain, chain_of, sequences
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.resources import LEDGERENTRIES

_SAY_EVERY: Final = 1_000
_SYNC_EVERY: Final = 5_000


Opener = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Start:
    """Where a file goes on: after this head, at this byte. ``torn`` bytes of a line that was cut off lie behind it."""

    head: Head
    size: int = 0
    torn: int = 0


@dataclass(frozen=True)
class Written:
    """What came of it: how many entries were written, the newest of the file, and what is wrong with the ledger."""

    entries: int
    head: Head
    problems: tuple[str, ...] = ()


def where_it_ends(path: Path, domain: str) -> Start:
    """Where an export ends. A last line that was cut off when a run was stopped does not count.

    Raises:
        CliError: when the file is something else, or what it holds does not verify; it is left as it is.
    """
    if not path.exists() or path.stat().st_size == 0:
        return Start(Head.none(domain))
    fold, size, number = Fold(domain), 0, 0
    with path.open("rb") as file:
        while text := file.readline(MAX_LINE + 1):
            number += 1
            if not text.endswith(b"\n"):
                if len(text) > MAX_LINE:
                    raise CliError(_not_ours(path, f"line {number} is longer than any entry"))
                break
            if text.strip():
                _take(path, fold, number, text)
            size += len(text)
        file.seek(0, os.SEEK_END)
        torn = file.tell() - size
    if torn and size == 0:
        raise CliError(_not_ours(path, "it holds no whole line"))
    return Start(fold.head, size, torn)


def _take(path: Path, fold: Fold, number: int, text: bytes) -> None:
    (line,) = read_lines(str(path), [text])
    if not isinstance(line, Line):
        raise CliError(_not_ours(path, f"line {number} is no entry of a ledger"))
    try:
        entry = parse_entry(line.name, line.spec)
        if entry.subject_domain != fold.subject_domain:
            raise CliError(
                _not_ours(path, f"it holds the ledger of {entry.subject_domain}, not of {fold.subject_domain}")
            )
        fold.take(entry)
    except ChainError as error:
        raise CliError(_not_ours(path, f"line {number} does not verify: {error}")) from error


def _not_ours(path: Path, why: str) -> str:
    return f"{path} can not be gone on with: {why}. It is left as it is; name another file."


async def export(client: KubeClient, start: Start, open_file: Opener, say: Say) -> Written:
    """Write what follows ``start``.

    Entries are written as the cluster holds them, also behind a bad one, since an export is evidence; the first thing
    that is wrong is told. The file is opened once it is known that there is something to write.

    Raises:
        CliError: when the ledger does not go on from the end of the file.
        ApiError: when the cluster does not answer, or the entries may not be read.
        OSError: when the file can not be written.
    """
    domain = start.head.subject_domain
    chain = await _ends(client, domain, start.head.sequence)
    _continues(start.head, chain.first, chain.head)
    if start.head.sequence:
        await _same_end(client, start.head)
    following = start.head.sequence + 1 if start.head.sequence else chain.first
    if not chain.head or following > chain.head:
        return Written(0, start.head)
    return await _write(client, start.head, (following, chain.head), open_file, say)


async def _ends(client: KubeClient, domain: str, hint: int) -> Chain:
    """The oldest and the newest entry; by all names where they may be listed: a gap hides nothing behind it."""
    try:
        names = await sequences(client, domain)
    except Forbidden:
        return await chain_of(client, domain, hint)
    return Chain(names[0], names[-1]) if names else Chain(0, 0)


def _continues(head: Head, first: int, newest: int) -> None:
    if not head.sequence:
        return
    if newest < head.sequence:
        end = f"ends with entry {newest}" if newest else "has no entry"
        raise CliError(
            f"The file ends with entry {head.sequence} of {head.subject_domain}, and the ledger in the cluster {end}: "
            "its database was restored, or entries were deleted. Nothing is written. Keep the file: it holds what is "
            "missing."
        )
    if first > head.sequence + 1:
        raise CliError(
            f"The file ends with entry {head.sequence} of {head.subject_domain}, and the oldest in the cluster is "
            f"{first}: those between were pruned, and the collector has them. Nothing is written; name another file, "
            "and verify both together with the collector's export."
        )


async def _same_end(client: KubeClient, head: Head) -> None:
    """The last entry of the file is the one in the cluster; one that was pruned there can not be compared."""
    name = entry_name(head.subject_domain, head.sequence)
    try:
        found = (await client.get(LEDGERENTRIES, name)).get("spec")
    except NotFound:
        return
    if not isinstance(found, dict) or found.get("hash") != head.hash:
        raise CliError(
            f"{name} in the cluster is not the entry that the file has: the ledger was written anew from there. "
            "Nothing is written. Keep the file: it is evidence; and name another one for what is there now."
        )


async def _write(client: KubeClient, head: Head, span: tuple[int, int], open_file: Opener, say: Say) -> Written:
    written, problems = 0, list[str]()
    follows = (
        head if head.sequence or span[0] == 1 else None
    )  # the beginning was pruned: the first one tells what it follows
    with open_file() as out:
        async for stored in entries(client, head.subject_domain, *span):
            if stored.spec is None:
                problems.append(f"{stored.name} is missing; it was pruned just now, or deleted")
                follows = None
                continue
            wrong, head = _judged(stored.name, stored.spec, follows, head)
            problems += [wrong] if wrong else []
            follows = None if wrong else head
            out.write(line_of(stored.name, stored.spec) + b"\n")
            written += 1
            if written % _SAY_EVERY == 0:
                say(written, span[1] - span[0] + 1)
            if written % _SYNC_EVERY == 0:
                out.flush()
        out.flush()
        with suppress(OSError, ValueError):  # a pipe takes no fsync
            os.fsync(out.fileno())
    return Written(written, head, tuple(problems))


def _judged(name: str, spec: Any, follows: Head | None, head: Head) -> tuple[str | None, Head]:
    """What is wrong with an entry after ``follows`` (None: that is not known), and the head after it."""
    try:
        entry = parse_entry(name, spec)
    except ChainError as error:
        return str(error), head
    if follows is not None and entry.previous != follows.hash:
        return (
            f"{name}: it does not follow entry {follows.sequence}: one of the two was changed or created anew",
            entry.head,
        )
    return None, entry.head


def line_of(name: str, spec: Any) -> bytes:
    """An entry as a line of an export: the bytes of ``verify.export_line``, also for one that is not well formed."""
    manifest = {"apiVersion": API_VERSION, "kind": KIND.kind, "metadata": {"name": name}, "spec": spec}
    return orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)


def append_to(path: Path, start: Start) -> BinaryIO:
    """The file, opened where it goes on; what is left of a line that was cut off is taken away.

    Raises:
        OSError: when it can not be written.
    """
    if not start.size:
        return path.open("xb" if not path.exists() else "wb")
    file = path.open("r+b")
    file.truncate(start.size)
    file.seek(start.size)
    return file
