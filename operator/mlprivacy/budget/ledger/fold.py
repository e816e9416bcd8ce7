"""Entries to state, one by one: follows the chain, checks every step as when it was written, reads checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlprivacy.budget.ledger.checkpoint import CheckpointError, Complete, load, state_text
from mlprivacy.budget.ledger.checks import Terms, check
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name
from mlprivacy.budget.ledger.errors import ChainError, Code, Refused
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Checkpoint, Transition


@dataclass(slots=True)
class _Series:
    """Parts of a checkpoint that came so far. ``expected`` is the whole text, where the state is known."""

    through: int
    parts: int
    before: str  # hash of the entry `through`
    expected: str | None
    texts: list[str]
    times: list[tuple[str, str]]

    def matches(self, text: str, *, last: bool) -> bool:
        """Whether the next part continues what is expected."""
        if self.expected is None:
            return True
        start = sum(len(one) + 1 for one in self.texts)
        end = start + len(text)
        return self.expected[start:end] == text and (
            end == len(self.expected) if last else self.expected[end : end + 1] == "\n"
        )


class Fold:
    """Follows the chain of one domain.

    A chain begins with entry 1; one whose beginning was pruned begins where it does, and its ``state`` is None until a
    whole checkpoint went by. After a ChainError the fold is at the entry before the bad one, and takes no other.
    """

    def __init__(self, subject_domain: str) -> None:
        self.head = Head.none(subject_domain)
        self.state: State | None = State(subject_domain)
        self.first = 1  # the sequence of the oldest entry that was taken
        self.checkpoint: Complete | None = None
        self._hashes: list[bytes] = []
        self._series: _Series | None = None
        self._broken: ChainError | None = None

    @property
    def subject_domain(self) -> str:
        """The domain."""
        return self.head.subject_domain

    def hash_of(self, sequence: int) -> str | None:
        """The hash of an entry that was taken; None for one that was not."""
        index = sequence - self.first
        return self._hashes[index].hex() if 0 <= index < len(self._hashes) else None

    def hashes(self) -> dict[int, str]:
        """The hashes of all entries that were taken, by sequence."""
        return {self.first + index: value.hex() for index, value in enumerate(self._hashes)}

    def forget(self, before: int) -> None:
        """Forget the hashes of entries before ``before``, which were pruned; never that of the head."""
        count = min(before - self.first, len(self._hashes) - 1)
        if count > 0:
            del self._hashes[:count]
            self.first += count

    def has_part(self, part: Checkpoint) -> bool:
        """Whether this part of a checkpoint was taken, as one of the newest whole checkpoint or of the one begun."""
        if (done := self.checkpoint) is not None and part.through == done.through:
            return part.parts == done.last - done.through
        series = self._series
        begun = series is not None and (series.through, series.parts) == (part.through, part.parts)
        return begun and series is not None and series.texts[part.part - 1 : part.part] == [part.state]

    def take(self, entry: Entry) -> None:
        """Go on by one entry.

        Raises:
            ChainError: naming the entry that is missing or wrong. Every later call raises the same.
        """
        if self._broken is not None:
            raise self._broken
        try:
            self._take(entry)
        except ChainError as error:
            self._broken = error
            raise

    def _take(self, entry: Entry) -> None:
        self._follow(entry)
        state = self.state
        part = entry.transitions[0]
        if isinstance(part, Checkpoint):
            self._part(entry, part)
        else:
            self._series = None
            if state is not None:
                state.observe(entry.time, entry.name)
                for transition in entry.transitions:
                    try:
                        check(state, transition)
                    except Refused as refused:
                        raise ChainError(entry.name, f"{transition.TYPE} is not allowed there: {refused}") from refused
                    state.apply(transition, entry.sequence)
        self.head = entry.head
        self._hashes.append(bytes.fromhex(entry.hash))
        if self.state is not None:
            self.state.head = self.head

    def _follow(self, entry: Entry) -> None:
        if entry.subject_domain != self.subject_domain:
            raise ChainError(entry.name, f"it belongs to {entry.subject_domain}, not to {self.subject_domain}")
        if not self._hashes and entry.sequence > 1:
            # Its beginning was pruned. What it follows is taken from itself; an anchor or an export tells more.
            self.head = Head(self.subject_domain, entry.sequence - 1, entry.previous)
            self.first = entry.sequence
            self.state = None
        expected = self.head.sequence + 1
        if entry.sequence > expected:
            raise ChainError(
                entry_name(self.subject_domain, expected),
                f"it is missing: after entry {expected - 1} comes {entry.sequence}",
            )
        if entry.sequence < expected:
            raise ChainError(
                entry.name, f"it comes after entry {expected - 1}: it is there twice, out of order, or was created anew"
            )
        if entry.previous != self.head.hash:
            raise ChainError(
                entry.name,
                "it does not follow "
                f"{entry_name(self.subject_domain, expected - 1) if expected > 1 else 'the beginning'}: "
                "one of the two was changed or created anew",
            )

    # Checkpoints.

    def check(self, transition: Transition, terms: Terms | None = None) -> None:
        """Whether the step may come next. Raises Refused; RuntimeError while the state is not known."""
        if self.state is None:
            raise RuntimeError("the state of the ledger is not known: no whole checkpoint is there")
        if isinstance(transition, Checkpoint):
            self._check_part(transition, self.head.sequence + 1, self.state)
        check(self.state, transition, terms)

    def _check_part(self, part: Checkpoint, sequence: int, state: State | None) -> None:
        """The part follows the one before and says what the state is."""
        series = self._series_for(part, state)
        if series is None or part.through + part.part != sequence or part.part > part.parts:
            raise Refused(
                Code.MISPLACED, f"part {part.part} of the checkpoint of entry {part.through} does not stand here"
            )
        if not series.matches(part.state, last=part.part == part.parts):
            raise Refused(
                Code.MISPLACED, f"the checkpoint of entry {part.through} is not the state of the ledger there"
            )

    def _series_for(self, part: Checkpoint, state: State | None) -> _Series | None:
        if part.part == 1:
            if part.through != self.head.sequence:
                return None
            expected = state_text(state) if state is not None else None
            return _Series(part.through, part.parts, self.head.hash, expected, [], [])
        series = self._series
        if series is None or (series.through, series.parts) != (part.through, part.parts):
            return None
        return series if len(series.texts) + 1 == part.part else None

    def _part(self, entry: Entry, part: Checkpoint) -> None:
        state = self.state
        if state is None and self._series is None and part.part > 1:
            return  # the chain begins in the middle of a checkpoint
        try:
            self._check_part(part, entry.sequence, state)
        except Refused as refused:
            raise ChainError(entry.name, str(refused)) from refused
        series = self._series_for(part, state) if part.part == 1 else self._series
        if series is None:
            return
        series.texts.append(part.state)
        series.times.append((entry.time, entry.name))
        self._series = series
        if state is not None:
            state.observe(entry.time, entry.name)
        if part.part == part.parts:
            if state is None:
                self.state = self._loaded(series, entry.name)
            self.checkpoint = Complete(part.through, part.through + 1, entry.sequence)
            self._series = None

    def _loaded(self, series: _Series, name: str) -> State:
        try:
            state = load("\n".join(series.texts))
        except CheckpointError as error:
            raise ChainError(name, str(error)) from error
        if state.head != Head(self.subject_domain, series.through, series.before):
            raise ChainError(name, f"its checkpoint is not of entry {series.through} of this ledger")
        for time, entry in series.times:
            state.observe(time, entry)
        return state


def fold(subject_domain: str, entries: Iterable[Entry]) -> Fold:
    """The fold of a whole chain. Raises ChainError as :meth:`Fold.take` does."""
    found = Fold(subject_domain)
    for entry in entries:
        found.take(entry)
    return found
