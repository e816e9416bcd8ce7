"""What the ledger refuses, and how it says that a chain is broken."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why a transition is refused: stable words, for conditions and metrics."""

    NO_PROMISE = "NoPromise"  # the ledger has none yet: nothing can be opened or spent
    PROMISE_CHANGED = "PromiseChanged"  # what never changes was changed: orders, unit, relation, partition
    NEEDS_APPROVAL = "NeedsApproval"  # a larger promise needs two people
    UNKNOWN_BLOCK = "UnknownBlock"  # a block was never opened
    RETIRED_BLOCK = "RetiredBlock"  # a block takes no job any more
    TOO_MANY_BLOCKS = "TooManyBlocks"  # a claim or a table of blocks beyond its bound
    INVALID_CURVE = "InvalidCurve"  # a curve of another length than the orders, or with a value that is none
    EXHAUSTED = "Exhausted"  # a block has no room at any order
    QUOTA_REACHED = "QuotaReached"  # the namespace's share of a block is used
    WEAK_ASSURANCE = "WeakAssurance"  # less than the budget demands
    IMAGE_NOT_REVIEWED = "ImageNotReviewed"  # the trainer's image is not among those that were reviewed
    OLDER_ATTEMPT = "OlderAttempt"  # a later attempt of the job has reserved already
    NOT_RESERVED = "NotReserved"  # the attempt has no reservation
    SETTLED = "Settled"  # the attempt's reservation was committed or released already
    BOUND = "Bound"  # a pod is bound, so it may have spent something
    ANOTHER_POD = "AnotherPod"  # another pod is bound
    NOT_REFUNDABLE = "NotRefundable"  # less than all is committed after a stop that may tell something
    TOO_MUCH = "TooMuch"  # more is committed than was reserved
    CONFLICT = "Conflict"  # the same step was taken with another content
    MISPLACED = "Misplaced"  # a part of a checkpoint that does not follow the one before


class Refused(Exception):
    """The transition is not allowed in this state; nothing was written. The message is a sentence.

    ``block`` is the first block that stands in the way, where one does.
    """

    def __init__(self, code: Code, message: str, block: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.block = block


class ChainError(ValueError):
    """An entry is not what can stand at its place in the ledger. ``entry`` is its name, ``why`` the sentence."""

    def __init__(self, entry: str, why: str) -> None:
        super().__init__(f"{entry}: {why}")
        self.entry = entry
        self.why = why


class EndsEarly(ChainError):
    """The newest entries are not there any more, and what is there is whole: they may be brought back as they were."""
