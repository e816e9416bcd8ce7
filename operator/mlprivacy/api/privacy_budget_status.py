"""The status of a PrivacyBudget: what is left of each block, and what the promise is worth."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlprivacy.api.base import ApiModel, Assurance, BasicStatus, DateTime
from mlprivacy.api.consent_scope import Version
from mlprivacy.api.constraints import ATOMIC, Boolean, Integer, Number


class Counts(ApiModel):
    """Blocks by what can be done with them."""

    open: Annotated[Integer, Field(ge=0, description="open blocks, of which jobs may ask.")]
    exhausted: Annotated[Integer, Field(ge=0, description="exhausted blocks: open, and no order has room left.")]
    retired: Annotated[Integer, Field(ge=0, description="retired blocks, which take no job any more.")]
    tainted: Annotated[Integer, Field(ge=0, description="tainted blocks, whose data was used outside accounting.")]


class BlockUse(ApiModel):
    """What is used of one block."""

    block: Annotated[str, Field(max_length=32, description="block, such as 2026-W10, 2026-03 or bucket 7.")]
    used_percent: Annotated[
        Number,
        Field(ge=0, description="usedPercent of the block that is committed or reserved, at the order with most room."),
    ]
    reserved_percent: Annotated[
        Number, Field(ge=0, description="reservedPercent of the block that running jobs hold, at the same order.")
    ]
    epsilon: Annotated[
        Number | None,
        Field(
            default=None,
            ge=0,
            description="epsilon spent or reserved, at the delta of the promise; absent if beyond it.",
        ),
    ]
    weakest_assurance: Annotated[
        Assurance | None,
        Field(
            default=None, description="weakestAssurance with which the block was ever spent; absent when it was not."
        ),
    ]
    tainted: Annotated[Boolean, Field(default=False, description="tainted: its data was used outside accounting.")]
    retired: Annotated[Boolean, Field(default=False, description="retired: it takes no job any more.")]


class WorstCase(ApiModel):
    """What the person with the fullest block has lost so far, over all datasets of the domain."""

    epsilon: Annotated[
        Number | None, Field(default=None, ge=0, description="epsilon; absent when nothing bounds it, with the reason.")
    ]
    delta: Annotated[Number, Field(description="delta at which epsilon holds.")]
    reason: Annotated[
        str, Field(default="", max_length=512, description="reason why this is a bound, or why there is none.")
    ]


class TaintNote(ApiModel):
    """One use of the data outside accounting."""

    job: Annotated[str, Field(max_length=128, description="job that used it, as namespace/name.")]
    reason: Annotated[str, Field(max_length=256, description="reason why it was outside accounting.")]
    entry: Annotated[str, Field(max_length=63, description="entry of the ledger that says so.")]
    time: Annotated[DateTime, Field(description="time of that entry.")]


class PromiseInForce(ApiModel):
    """What the ledger holds blocks to; spec can ask for more, which waits for approval."""

    epsilon: Annotated[Number, Field(description="epsilon in force.")]
    delta: Annotated[Number, Field(description="delta in force.")]
    effective_delta: Annotated[
        Number,
        Field(description="effectiveDelta that capacities are computed from: delta/kappa where kappa is above 1."),
    ]
    notice_version: Annotated[Version | None, Field(default=None, description="noticeVersion in which people read it.")]
    revision: Annotated[Integer, Field(ge=1, description="revision counts the promises made to this domain.")]
    orders: Annotated[Integer, Field(ge=1, description="orders is the number of Rényi orders that are counted.")]


class PrivacyBudgetStatus(BasicStatus):
    """What is left, and what it is worth."""

    promise: Annotated[
        PromiseInForce | None, Field(default=None, description="promise in force; absent until the ledger has one.")
    ]
    head: Annotated[
        str | None,
        Field(
            default=None, max_length=63, description="head is the newest entry of the ledger this was computed from."
        ),
    ]
    blocks: Annotated[Counts | None, Field(default=None, description="blocks counted by their state.")]
    first_block: Annotated[
        str | None,
        Field(default=None, max_length=32, description="firstBlock that there is; it also holds all that is older."),
    ]
    last_block: Annotated[
        str | None,
        Field(default=None, max_length=32, description="lastBlock that there is by now; all between were opened too."),
    ]
    used_percent: Annotated[
        Number | None, Field(default=None, ge=0, description="usedPercent of the fullest block that is not retired.")
    ]
    fullest: Annotated[
        tuple[BlockUse, ...],
        Field(default=(), max_length=20, description="fullest are the 20 blocks that are used most."),
        ATOMIC,
    ]
    weakest_assurance: Annotated[
        Assurance | None,
        Field(default=None, description="weakestAssurance with which any block was ever spent."),
    ]
    taints: Annotated[
        tuple[TaintNote, ...],
        Field(default=(), max_length=10, description="taints are the newest uses outside accounting."),
        ATOMIC,
    ]
    worst_case_per_person: Annotated[
        WorstCase | None,
        Field(default=None, description="worstCasePerPerson over all datasets and blocks of the domain."),
    ]
    reservations: Annotated[
        Integer | None, Field(default=None, ge=0, description="reservations that running or starting jobs hold.")
    ]
    waiting: Annotated[
        Integer | None,
        Field(default=None, ge=0, description="waiting is the number of jobs, of all namespaces, that wait for it."),
    ]
