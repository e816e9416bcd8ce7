"""Whether a step is allowed in a state. The same answer when it is written and whenever it is read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.base import Assurance
from mlprivacy.api.privacy_budget import MAX_BLOCKS
from mlprivacy.budget.ledger.blocks import Ranges
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.promise_rules import check_promise
from mlprivacy.budget.ledger.state import State, settle_digest, taint_id
from mlprivacy.budget.ledger.table import Table
from mlprivacy.budget.ledger.transitions import (
    REFUNDABLE,
    AttemptKey,
    Bind,
    Checkpoint,
    Commit,
    Open,
    Promise,
    Register,
    Release,
    Reserve,
    Retire,
    Taint,
    Transition,
    digest_of,
)
from mlprivacy.budget.ledger.units import PER_EPSILON, UNBOUNDED, Units, row_of
from mlprivacy.budget.ledger.usage import Matrix

MAX_SOURCES = 1024  # identities and sources of a domain


@dataclass(frozen=True, slots=True)
class Terms:
    """What the PrivacyBudget says today of who may spend. Not part of the ledger: it binds at the moment of writing.

    ``quotas`` maps a namespace to its share of each block, above 0 and at most 1; with none there are no quotas, with
    some a namespace without one gets nothing. ``images`` are digests; with none every image may spend.
    """

    minimum_assurance: Assurance = Assurance.DECLARED
    images: frozenset[str] = frozenset()
    quotas: Mapping[str, float] = field(default_factory=dict)


def known_as(state: State, transition: Transition) -> int | None:
    """The sequence of the entry that holds this very step already (0 when that is not remembered), or None.

    Raises:
        Refused: with CONFLICT or SETTLED when the step was taken with another content.
    """
    match transition:
        case Reserve():
            return _known_reserve(state, transition)
        case Bind():
            held = state.reservations.get(transition.key)
            return held.sequence if held is not None and held.pod == transition.pod_uid else None
        case Commit() | Release():
            settled = state.settled.get(transition.key)
            if settled is None:
                return None
            if settled.settle != settle_digest(transition):
                raise Refused(Code.SETTLED, _settled(state, transition.key))
            return settled.sequence
        case Taint():
            mark = state.taints.get(taint_id(transition))
            return mark.sequence if mark is not None else None
        case Open() | Retire():
            flags = state.table.retired if isinstance(transition, Retire) else state.table.opened
            done = state.table.covers(transition.ranges) and bool(flags[state.table.rows(transition.ranges)].all())
            return 0 if done else None
        case Register():
            sources = state.identities.get(transition.identity)
            there = sources is not None and (transition.source is None or transition.source in sources)
            return 0 if there else None
        case Promise():
            return 0 if transition == state.promise else None
    return None


def _known_reserve(state: State, transition: Reserve) -> int | None:
    held, settled = state.reservations.get(transition.key), state.settled.get(transition.key)
    if held is not None:
        if held.reserve != transition:
            raise Refused(
                Code.CONFLICT,
                f"{_attempt(transition.key)} has reserved something else in entry {state.name_of(held.sequence)}; take "
                "that reservation, or settle it and make another attempt",
            )
        return held.sequence
    if settled is not None:
        if settled.reserve != digest_of(transition.body()):
            raise Refused(Code.SETTLED, _settled(state, transition.key))
        return settled.sequence
    return None


def check(state: State, transition: Transition, terms: Terms | None = None) -> None:
    """Nothing, when the step may be taken now. ``terms`` only when it is written, not when it is read again.

    Raises:
        Refused: with a code and a sentence otherwise. The state is unchanged in either case.
    """
    if isinstance(transition, Promise):
        check_promise(state.promise, transition)
        return
    if state.promise is None:
        raise Refused(
            Code.NO_PROMISE,
            f"the ledger of {state.subject_domain} does not begin with a promise yet; a PrivacyBudget makes one",
        )
    match transition:
        case Reserve():
            _reserve(state, transition, terms)
        case Bind():
            _bind(state, transition)
        case Commit():
            _commit(state, transition)
        case Release():
            _release(state, transition)
        case Open():
            _open(state, transition)
        case Taint() | Retire():
            _blocks(state, transition.ranges, retired=True)
        case Register():
            sources = sum(1 + len(found) for found in state.identities.values())
            if known_as(state, transition) is None and sources >= MAX_SOURCES:
                raise Refused(
                    Code.CONFLICT, f"{sources} identities and sources are registered, which is the most there can be"
                )
        case Checkpoint():
            pass  # its place and its content are for the fold to compare


def _reserve(state: State, transition: Reserve, terms: Terms | None) -> None:
    _curve(state, transition.curve)
    if transition.key in state.reservations or transition.key in state.settled:
        raise Refused(Code.CONFLICT, f"{_attempt(transition.key)} has a reservation already")
    if transition.attempt < (newest := state.newest_attempt(transition.job.uid)):
        raise Refused(
            Code.OLDER_ATTEMPT,
            f"{_attempt(transition.key)} comes after attempt {newest} of the same job; a later attempt has a higher "
            "number",
        )
    _blocks(state, transition.ranges, retired=False)
    if terms is not None:
        _terms(terms, transition)
    demand = row_of(transition.curve)
    _room(state, transition.ranges, demand)
    if terms is not None and terms.quotas:
        _quota(state, transition, demand, terms.quotas.get(transition.job.namespace, 0.0))


def _terms(terms: Terms, transition: Reserve) -> None:
    if transition.assurance.rank < terms.minimum_assurance.rank:
        raise Refused(
            Code.WEAK_ASSURANCE,
            f"the job runs with the assurance {transition.assurance}, and the budget demands {terms.minimum_assurance}",
        )
    if terms.images and transition.image not in terms.images:
        raise Refused(
            Code.IMAGE_NOT_REVIEWED,
            f"the image {transition.image or 'without a digest'} is not among the reviewedImages of the budget",
        )


def fitting(used: Matrix, demand: Matrix, capacity: Matrix) -> NDArray[np.bool_]:
    """For each row whether some usable order has room for the demand (accounting.md 9). All in billionths of ε."""
    room = (capacity > 0) & (used + demand <= capacity)
    return np.asarray(np.any(room, axis=1), np.bool_)


def _one_order_fits(table: Table, part: slice, demand: Matrix, capacity: Matrix) -> bool:
    """Whether one usable order has room on all rows: enough, and found in a fraction of the time.

    The order is that with most room on the first row. Where another one has room on all rows, this says no.
    """
    order = int((capacity - table.used[part.start] - demand).argmax())
    most = int(np.maximum.reduce(table.used[part, order]))
    return bool(capacity[order] > 0) and most + int(demand[order]) <= int(capacity[order])


def _room(state: State, ranges: Ranges, demand: Matrix) -> None:
    for one, part in zip(ranges, state.table.slices(ranges), strict=True):
        if _one_order_fits(state.table, part, demand, state.capacity):
            continue
        used = state.table.used[part]
        fits = fitting(used, demand, state.capacity)
        if not fits.all():
            index = int(fits.argmin())
            free, order = _most_room(state, state.capacity, used[index], demand)
            key = one.first + index
            raise Refused(
                Code.EXHAUSTED,
                f"{state.label(key)} has no room: at order {order:g}, where least is missing, epsilon {_eps(free)} "
                "is left "
                f"and {_eps(int(demand[state.orders.index(order)]))} is asked for",
                key,
            )


def cap_of(capacity: Matrix, share: float) -> Matrix:
    """What jobs of a namespace with this quota may take of a block at each order, in billionths of ε."""
    # Rounded down; a share of a capacity is far from where a float loses whole numbers.
    cap: Matrix = np.floor(capacity * share).astype(np.int64)
    return cap


def _quota(state: State, transition: Reserve, demand: Matrix, share: float) -> None:
    namespace = transition.job.namespace
    if share <= 0:
        raise Refused(
            Code.QUOTA_REACHED, f"the budget has quotas and none for the namespace {namespace}; ask its owner for one"
        )
    cap = cap_of(state.capacity, share)
    usage = state.table.usage.get(namespace)
    for one, part in zip(transition.ranges, state.table.slices(transition.ranges), strict=True):
        used = usage.sums()[part] if usage is not None else np.zeros((one.count, len(cap)), np.int64)
        fits = fitting(used, demand, cap)
        if not fits.all():
            index = int(fits.argmin())
            free, order = _most_room(state, cap, used[index], demand)
            key = one.first + index
            raise Refused(
                Code.QUOTA_REACHED,
                f"the namespace {namespace} may take {share:.0%} of each block, and of {state.label(key)} it has "
                "epsilon "
                f"{_eps(free)} of that left at order {order:g}, where least is missing",
                key,
            )


def _most_room(state: State, capacity: Matrix, used: Matrix, demand: Matrix) -> tuple[int, float]:
    """What is left at the usable order where least is missing, and that order."""
    missing = np.where(capacity > 0, used + demand - capacity, np.iinfo(np.int64).max)
    index = int(missing.argmin())
    return max(0, int(capacity[index] - used[index])), state.orders[index]


def _eps(units: int) -> str:
    return "without bound" if units >= UNBOUNDED else f"{units / PER_EPSILON:.4g}"


def _blocks(state: State, ranges: Ranges, *, retired: bool) -> None:
    """Every block was opened, and none is retired unless that does not matter."""
    table = state.table
    for one in ranges:
        if not table.covers((one,)):
            key = one.first if one.first < table.base or not len(table) else max(one.first, table.base + len(table))
            raise Refused(Code.UNKNOWN_BLOCK, f"{state.label(key)} is no block of {state.subject_domain}", key)
        part = slice(one.first - table.base, one.last + 1 - table.base)
        if np.count_nonzero(table.opened[part]) < one.count:
            key = one.first + int(table.opened[part].argmin())
            raise Refused(Code.UNKNOWN_BLOCK, f"{state.label(key)} is no block of {state.subject_domain}", key)
        if not retired and np.count_nonzero(table.retired[part]):
            key = one.first + int(table.retired[part].argmax())
            raise Refused(Code.RETIRED_BLOCK, f"{state.label(key)} is retired and takes no job any more", key)


def _curve(state: State, curve: Units) -> None:
    if len(curve) != len(state.orders):
        raise Refused(
            Code.INVALID_CURVE, f"the curve has {len(curve)} values and the budget has {len(state.orders)} orders"
        )
    if min(curve) > 0:
        return
    if not any(curve):
        raise Refused(Code.INVALID_CURVE, "the curve is zero at every order; a job that reads the data loses something")
    if not row_of(curve)[state.capacity > 0].all():
        raise Refused(
            Code.INVALID_CURVE,
            "the curve is zero at an order that the promise counts at; a job that reads the data loses "
            "something at each",
        )


def _bind(state: State, transition: Bind) -> None:
    held = state.reservations.get(transition.key)
    if held is None:
        raise _unreserved(state, transition.key)
    if held.pod is not None and held.pod != transition.pod_uid:
        raise Refused(
            Code.ANOTHER_POD,
            f"{_attempt(transition.key)} is bound to the pod {held.pod}; another pod needs an attempt of its own",
        )


def _commit(state: State, transition: Commit) -> None:
    held = state.reservations.get(transition.key)
    if held is None:
        raise _unreserved(state, transition.key)
    if transition.pod_uid is not None and transition.pod_uid != held.pod:
        raise Refused(
            Code.ANOTHER_POD,
            f"{_attempt(transition.key)} is bound to {held.pod or 'no pod'}, and the pod {transition.pod_uid} says "
            "what it spent",
        )
    if transition.curve is None:
        return  # all of it: never too little
    if transition.pod_uid is None or not transition.ended:
        raise Refused(
            Code.NOT_REFUNDABLE,
            f"{_attempt(transition.key)} may still spend: less than all is committed for the bound pod, once it has "
            "ended",
        )
    if transition.stop not in REFUNDABLE:
        raise Refused(
            Code.NOT_REFUNDABLE,
            f"after a stop that is {transition.stop} all that was reserved is spent; less only where it was planned, "
            "decided "
            "from noisy outputs alone, or ordered by the operator for a reason independent of the data",
        )
    reserved = held.reserve.curve
    if len(transition.curve) != len(reserved):
        raise Refused(
            Code.INVALID_CURVE, f"the curve has {len(transition.curve)} values, and {len(reserved)} were reserved"
        )
    if any(spent > was for spent, was in zip(transition.curve, reserved, strict=True)):
        raise Refused(
            Code.TOO_MUCH,
            f"{_attempt(transition.key)} says that it spent more than it reserved; commit all, and taint what it used",
        )


def _release(state: State, transition: Release) -> None:
    held = state.reservations.get(transition.key)
    if held is None:
        raise _unreserved(state, transition.key)
    if held.pod is not None:
        raise Refused(
            Code.BOUND,
            f"{_attempt(transition.key)} is bound to the pod {held.pod}, which may have spent something; commit it "
            "instead",
        )


def _open(state: State, transition: Open) -> None:
    buckets = state.promise.cut.buckets if state.promise is not None else None
    if buckets is not None and transition.ranges[-1].last >= buckets:
        raise Refused(
            Code.UNKNOWN_BLOCK,
            f"the budget has {buckets} buckets, from 0; there is no bucket {transition.ranges[-1].last}",
            transition.ranges[-1].last,
        )
    if (span := state.table.would_span(transition.ranges)) > MAX_BLOCKS:
        raise Refused(
            Code.TOO_MANY_BLOCKS,
            f"the blocks of {state.subject_domain} would span {span:,} numbers; at most {MAX_BLOCKS:,} can be. "
            "Choose a "
            "longer period",
        )


def _unreserved(state: State, key: AttemptKey) -> Refused:
    if key in state.settled:
        return Refused(Code.SETTLED, _settled(state, key))
    return Refused(Code.NOT_RESERVED, f"{_attempt(key)} has no reservation in the ledger of {state.subject_domain}")


def _settled(state: State, key: AttemptKey) -> str:
    return f"{_attempt(key)} was settled in entry {state.name_of(state.settled[key].sequence)} otherwise"


def _attempt(key: AttemptKey) -> str:
    return f"attempt {key[1]} of the job {key[0]}"
