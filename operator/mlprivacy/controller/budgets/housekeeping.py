"""What is due on a ledger, decided without I/O: a checkpoint, what is still to be exported, what is wrong with what is
stored, and what stands against the heads that were seen outside the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mlprivacy.budget.ledger.checkpoint import Complete
from mlprivacy.budget.ledger.entry import Head, compare_with_anchor, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError, EndsEarly
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.kube.ledgerlog import StoredEntry

CHECKPOINT_EVERY = 1000  # entries


def checkpoint_due(fold: Fold, every: int) -> bool:
    """Whether so many entries came since the last whole checkpoint, or since the beginning."""
    if fold.state is None or fold.head.sequence == 0:
        return False
    last = fold.checkpoint.last if fold.checkpoint is not None else fold.first - 1
    return fold.head.sequence - last >= every


def contradicted(fold: Fold, seen: Iterable[Head | None]) -> str | None:
    """What heads that were seen outside the cluster say against the ledger, None when they agree."""
    hashes = fold.hashes()
    for head in seen:
        if head is not None and (wrong := compare_with_anchor(hashes, fold.head, head)) is not None:
            return wrong
    return None


def wrong_in(
    entries: Sequence[StoredEntry], known: Mapping[int, str], head: Head, checkpoint: Complete | None
) -> ChainError | None:
    """What is wrong with the entries as they are stored now, as against what this process knows; None for nothing.

    This finds what following the head alone does not: an entry that was changed, deleted or created anew behind it.

    Args:
        entries: all of the domain, ascending; it may end after ``head`` but not before it.
        known: hashes by sequence, of the entries that this process took.
        head: the newest of these.
        checkpoint: the newest whole one.
    """
    domain = head.subject_domain
    if head.sequence == 0:
        return None
    if not entries or entries[-1].sequence < head.sequence:
        last = entries[-1].sequence if entries else 0
        return EndsEarly(
            entry_name(domain, head.sequence),
            f"it was there and is not any more: the ledger ends with entry {last}. The cluster's database was "
            "restored, or entries were deleted",
        )
    first = entries[0].sequence
    if first > 1 and (checkpoint is None or first > checkpoint.first):
        return ChainError(
            entry_name(domain, first - 1), "it is missing, and no whole checkpoint stands for the entries before"
        )
    for expected, entry in enumerate(entries, first):
        if entry.sequence != expected:
            return _gap(domain, entries[expected - first - 1], entry, checkpoint)
        try:
            found = parse_entry(entry.name, entry.spec)
        except ChainError as error:
            return error
        if known.get(entry.sequence, found.hash) != found.hash:
            return ChainError(entry.name, "it is not the entry that was there before: it was created anew")
    return None


def _gap(domain: str, before: StoredEntry, after: StoredEntry, checkpoint: Complete | None) -> ChainError:
    """Two entries that do not follow each other. Where all between may have been pruned, the first is the wrong one."""
    if checkpoint is not None and after.sequence <= checkpoint.first:
        return ChainError(
            before.name,
            f"it was created anew under a name that was pruned, or what followed it was deleted: after it comes entry "
            f"{after.sequence}",
        )
    return ChainError(
        entry_name(domain, before.sequence + 1),
        f"it is missing: after entry {before.sequence} comes {after.sequence}",
    )


def to_export(entries: Sequence[StoredEntry], exported: Head | None, head: Head) -> Iterator[bytes]:
    """The lines after what is exported, up to ``head``. Raises ChainError for an entry that is none."""
    start = exported.sequence if exported is not None else 0
    for entry in entries:
        if start < entry.sequence <= head.sequence:
            yield export_line(parse_entry(entry.name, entry.spec))
