"""The steps that a ledger is made of, and their form as JSON. What they do to the state is in state.py.

Each has a natural key and, with it, at most one content: a step that is taken twice is known as the same one, whoever
retries it. Losses are in units.py's billionths; blocks are ranges of numbers (blocks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final, Literal, get_args

import orjson

from mlprivacy.api.base import Assurance
from mlprivacy.api.ledger_entry import MEMBERS
from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range, Ranges, check_ranges
from mlprivacy.budget.ledger.units import UNBOUNDED, Units

Body = dict[str, Any]
AttemptKey = tuple[str, int]
"""The uid of the job and the number of the attempt: what a reservation is made for."""

Stop = Literal["Unknown", "Adaptive", "Planned", "NoisyOutputs", "Operator"]
ReleaseReason = Literal["NeverStarted", "Withdrawn", "Refused"]
TaintReason = Literal["Audit", "Warn", "Exception", "Ungoverned", "NoMechanism"]
RetireReason = Literal["Retention", "Erasure", "Exhausted", "Owner"]

# A run that ended so tells nothing by its length: what it did not use can be given back (accounting.md 10).
REFUNDABLE: Final = frozenset({"Planned", "NoisyOutputs", "Operator"})


# Fields of what a ledger mostly holds, made once: a cold fold reads them a hundred thousand times.
_NONE: Final[frozenset[str]] = frozenset()
_JOB: Final = frozenset({"namespace", "name", "uid"})
_RANGE: Final = frozenset({"first", "last"})
_RESERVE: Final = frozenset({"job", "attempt", "ranges", "curve", "assurance"})
_IMAGE: Final = frozenset({"image"})
_BIND: Final = frozenset({"jobUID", "attempt", "podUID"})
_COMMIT: Final = frozenset({"jobUID", "attempt", "stop", "ended"})
_POD_CURVE: Final = frozenset({"podUID", "curve"})


class TransitionError(ValueError):
    """A transition is not well formed. The message is a sentence that names the field."""


def canonical(value: object) -> bytes:
    """The canonical JSON bytes: keys sorted, no spaces, UTF-8. Holds texts, whole numbers, lists and objects only."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_of(value: object) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the canonical bytes."""
    return sha256(canonical(value)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Job:
    """The job that spends, or that used data outside accounting."""

    namespace: str
    name: str
    uid: str

    def body(self) -> Body:
        """As JSON."""
        return {"namespace": self.namespace, "name": self.name, "uid": self.uid}

    @classmethod
    def parse(cls, raw: Any) -> Job:
        """From JSON. Raises TransitionError."""
        fields = _object(raw, "job", _JOB)
        return cls(*(_text(fields, key) for key in ("namespace", "name", "uid")))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Promise:
    """What the domain is promised from now on. ``orders``, ``epsilon`` and ``delta`` are texts (units.decimal)."""

    TYPE: ClassVar = "Promise"
    revision: int
    orders: tuple[str, ...]
    epsilon: str
    delta: str
    unit: str
    neighbours: str
    cut: Cut
    capacity: Units
    notice_version: str | None = None
    asked_by: str | None = None
    approved_by: str | None = None

    def body(self) -> Body:
        """As JSON."""
        blocks = {"by": self.cut.by, "period": self.cut.period, "buckets": self.cut.buckets}
        return _present(
            {
                "revision": self.revision,
                "orders": list(self.orders),
                "epsilon": self.epsilon,
                "delta": self.delta,
                "unit": self.unit,
                "neighbours": self.neighbours,
                "blocks": _present(blocks),
                "capacity": list(self.capacity),
                "noticeVersion": self.notice_version,
                "askedBy": self.asked_by,
                "approvedBy": self.approved_by,
            }
        )

    @classmethod
    def parse(cls, raw: Body) -> Promise:
        """From JSON. Raises TransitionError."""
        needed = {"revision", "orders", "epsilon", "delta", "unit", "neighbours", "blocks", "capacity"}
        raw = _object(raw, "promise", needed, {"noticeVersion", "askedBy", "approvedBy"})
        blocks = _object(raw["blocks"], "promise.blocks", {"by"}, {"period", "buckets"})
        orders = raw["orders"]
        if not isinstance(orders, list) or not all(type(order) is str for order in orders):
            raise TransitionError("promise.orders must be a list of numbers written as text")
        return cls(
            _whole(raw, "revision", 1),
            tuple(orders),
            _text(raw, "epsilon"),
            _text(raw, "delta"),
            _text(raw, "unit"),
            _text(raw, "neighbours"),
            Cut(
                _text(blocks, "by"),
                _maybe(blocks, "period"),
                _whole(blocks, "buckets", 1) if "buckets" in blocks else None,
            ),
            _units(raw, "capacity"),
            _maybe(raw, "noticeVersion"),
            _maybe(raw, "askedBy"),
            _maybe(raw, "approvedBy"),
        )


@dataclass(frozen=True, slots=True)
class Register:
    """A dataset's identity, and its normalised source where one is known, belong to the domain for ever."""

    TYPE: ClassVar = "Register"
    identity: str
    source: str | None = None

    def body(self) -> Body:
        """As JSON."""
        return _present({"identity": self.identity, "source": self.source})

    @classmethod
    def parse(cls, raw: Body) -> Register:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "register", {"identity"}, {"source"})
        return cls(_text(raw, "identity"), _maybe(raw, "source"))


@dataclass(frozen=True, slots=True)
class Open:
    """Blocks come into being. Opening one that is there already changes nothing."""

    TYPE: ClassVar = "Open"
    ranges: Ranges

    def body(self) -> Body:
        """As JSON."""
        return {"ranges": _ranges_body(self.ranges)}

    @classmethod
    def parse(cls, raw: Body) -> Open:
        """From JSON. Raises TransitionError."""
        return cls(_ranges(_object(raw, "open", {"ranges"})))


@dataclass(frozen=True, slots=True)
class Reserve:
    """An attempt of a job may spend ``curve`` on each block of ``ranges``: on all of them, or it is not written."""

    TYPE: ClassVar = "Reserve"
    job: Job
    attempt: int
    ranges: Ranges
    curve: Units
    assurance: Assurance
    image: str | None = None

    @property
    def key(self) -> AttemptKey:
        """What it is made for."""
        return self.job.uid, self.attempt

    def body(self) -> Body:
        """As JSON."""
        body: Body = {
            "job": self.job.body(),
            "attempt": self.attempt,
            "ranges": _ranges_body(self.ranges),
            "curve": list(self.curve),
            "assurance": self.assurance.value,
        }
        if self.image is not None:
            body["image"] = self.image
        return body

    @classmethod
    def parse(cls, raw: Body) -> Reserve:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "reserve", _RESERVE, _IMAGE)
        return cls(
            Job.parse(raw["job"]),
            _whole(raw, "attempt", 1),
            _ranges(raw),
            _units(raw, "curve"),
            _assurance(raw),
            _maybe(raw, "image"),
        )


@dataclass(frozen=True, slots=True)
class Bind:
    """This pod, and no other, may spend the reservation: written before the pod's startup probe passes."""

    TYPE: ClassVar = "Bind"
    job_uid: str
    attempt: int
    pod_uid: str

    @property
    def key(self) -> AttemptKey:
        """What it is about."""
        return self.job_uid, self.attempt

    def body(self) -> Body:
        """As JSON."""
        return {"jobUID": self.job_uid, "attempt": self.attempt, "podUID": self.pod_uid}

    @classmethod
    def parse(cls, raw: Body) -> Bind:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "bind", _BIND)
        return cls(_text(raw, "jobUID"), _whole(raw, "attempt", 1), _text(raw, "podUID"))


@dataclass(frozen=True, slots=True)
class Commit:
    """The reservation is spent: all of it (``curve`` is None), or less after a stop that tells nothing."""

    TYPE: ClassVar = "Commit"
    job_uid: str
    attempt: int
    stop: Stop
    pod_uid: str | None = None
    curve: Units | None = None
    ended: bool = False

    @property
    def key(self) -> AttemptKey:
        """What it is about."""
        return self.job_uid, self.attempt

    def body(self) -> Body:
        """As JSON."""
        return _present(
            {
                "jobUID": self.job_uid,
                "attempt": self.attempt,
                "podUID": self.pod_uid,
                "stop": self.stop,
                "curve": None if self.curve is None else list(self.curve),
                "ended": self.ended,
            }
        )

    @classmethod
    def parse(cls, raw: Body) -> Commit:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "commit", _COMMIT, _POD_CURVE)
        if type(raw["ended"]) is not bool:
            raise TransitionError("commit.ended must be true or false")
        return cls(
            _text(raw, "jobUID"),
            _whole(raw, "attempt", 1),
            _one_of(raw, "stop", Stop),
            _maybe(raw, "podUID"),
            _units(raw, "curve") if "curve" in raw else None,
            raw["ended"],
        )


@dataclass(frozen=True, slots=True)
class Release:
    """The reservation is given back whole: no pod was ever bound to it."""

    TYPE: ClassVar = "Release"
    job_uid: str
    attempt: int
    reason: ReleaseReason

    @property
    def key(self) -> AttemptKey:
        """What it is about."""
        return self.job_uid, self.attempt

    def body(self) -> Body:
        """As JSON."""
        return {"jobUID": self.job_uid, "attempt": self.attempt, "reason": self.reason}

    @classmethod
    def parse(cls, raw: Body) -> Release:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "release", {"jobUID", "attempt", "reason"})
        return cls(_text(raw, "jobUID"), _whole(raw, "attempt", 1), _one_of(raw, "reason", ReleaseReason))


@dataclass(frozen=True, slots=True)
class Taint:
    """Data of these blocks was used outside accounting."""

    TYPE: ClassVar = "Taint"
    job: Job
    ranges: Ranges
    reason: TaintReason

    def body(self) -> Body:
        """As JSON."""
        return {"job": self.job.body(), "ranges": _ranges_body(self.ranges), "reason": self.reason}

    @classmethod
    def parse(cls, raw: Body) -> Taint:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "taint", {"job", "ranges", "reason"})
        return cls(Job.parse(raw["job"]), _ranges(raw), _one_of(raw, "reason", TaintReason))


@dataclass(frozen=True, slots=True)
class Retire:
    """Blocks take no reservation any more. What is reserved on them stays and can be committed."""

    TYPE: ClassVar = "Retire"
    ranges: Ranges
    reason: RetireReason

    def body(self) -> Body:
        """As JSON."""
        return {"ranges": _ranges_body(self.ranges), "reason": self.reason}

    @classmethod
    def parse(cls, raw: Body) -> Retire:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "retire", {"ranges", "reason"})
        return cls(_ranges(raw), _one_of(raw, "reason", RetireReason))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Part ``part`` of ``parts`` of the state up to entry ``through``; it stands ``part`` entries after that one."""

    TYPE: ClassVar = "Checkpoint"
    through: int
    part: int
    parts: int
    state: str

    def body(self) -> Body:
        """As JSON."""
        return {"through": self.through, "part": self.part, "parts": self.parts, "state": self.state}

    @classmethod
    def parse(cls, raw: Body) -> Checkpoint:
        """From JSON. Raises TransitionError."""
        raw = _object(raw, "checkpoint", {"through", "part", "parts", "state"})
        return cls(_whole(raw, "through", 1), _whole(raw, "part", 1), _whole(raw, "parts", 1), _text(raw, "state"))


Transition = Promise | Register | Open | Reserve | Bind | Commit | Release | Taint | Retire | Checkpoint

_PARSERS: Final[Mapping[str, Callable[[Body], Transition]]] = {
    kind.TYPE: kind.parse
    for kind in (Promise, Register, Open, Reserve, Bind, Commit, Release, Taint, Retire, Checkpoint)
}


def transition_body(transition: Transition) -> Body:
    """As JSON: its type, and the member of that name."""
    return {"type": transition.TYPE, MEMBERS[transition.TYPE]: transition.body()}


def parse_transition(raw: Any) -> Transition:
    """From JSON.

    Raises:
        TransitionError: when it is of a kind that this version does not know, or not well formed. Nothing is skipped: a
            step that is not understood may have spent something.
    """
    if not isinstance(raw, dict) or type(kind := raw.get("type")) is not str:
        raise TransitionError("a transition must be an object with a type")
    parser = _PARSERS.get(kind)
    if parser is None:
        raise TransitionError(
            f"the transition {kind[:40]!r} is of a kind that this version does not know; upgrade the operator"
        )
    member = MEMBERS[kind]
    if len(raw) != 2 or not isinstance(raw.get(member), dict):
        raise TransitionError(f"a transition of the type {kind} must hold {member} and nothing besides")
    return parser(raw[member])


# --- reading JSON ----------------------------------------------------------------------------------------------------


def _present(body: Body) -> Body:
    return {key: value for key, value in body.items() if value is not None}


def _object(
    raw: Any, what: str, needed: set[str] | frozenset[str], optional: set[str] | frozenset[str] = _NONE
) -> Body:
    if not isinstance(raw, dict):
        raise TransitionError(f"{what} must be an object")
    found = raw.keys()
    if found == needed:
        return raw
    if missing := needed - found:
        raise TransitionError(f"{what} lacks {', '.join(sorted(missing))}")
    if len(found) > len(needed) and (unknown := found - needed - optional):
        raise TransitionError(f"{what} holds {', '.join(sorted(map(str, unknown)))}, which this version does not know")
    return raw


def _text(raw: Body, key: str) -> str:
    value = raw[key]
    if type(value) is not str:
        raise TransitionError(f"{key} must be a text")
    return value


def _maybe(raw: Body, key: str) -> str | None:
    return _text(raw, key) if key in raw else None


def _whole(raw: Body, key: str, least: int) -> int:
    value = raw[key]
    if type(value) is not int or value < least:
        raise TransitionError(f"{key} must be a whole number from {least}")
    return value


def _one_of(raw: Body, key: str, known: Any) -> Any:
    value = raw[key]
    if value not in get_args(known):
        raise TransitionError(f"{key} {value!r} is none of {', '.join(get_args(known))}")
    return value


def _assurance(raw: Body) -> Assurance:
    try:
        return Assurance(raw["assurance"])
    except ValueError as error:
        raise TransitionError(f"assurance {raw['assurance']!r} is none of {', '.join(Assurance)}") from error


def _units(raw: Body, key: str) -> Units:
    value = raw[key]
    if not isinstance(value, list) or not value:
        raise TransitionError(f"{key} must be a list of whole numbers")
    if set(map(type, value)) != {int} or min(value) < 0 or max(value) > UNBOUNDED:
        raise TransitionError(f"{key} must be a list of whole numbers from 0 to {UNBOUNDED}")
    return tuple(value)


def _ranges(raw: Body) -> Ranges:
    value = raw["ranges"]
    if not isinstance(value, list):
        raise TransitionError("ranges must be a list")
    found = []
    for one in value:
        fields = _object(one, "a range", _RANGE)
        found.append(Range(_whole(fields, "first", 0), _whole(fields, "last", 0)))
    try:
        return check_ranges(tuple(found))
    except BlockError as error:
        raise TransitionError(str(error)) from error


def _ranges_body(ranges: Ranges) -> list[Body]:
    return [{"first": one.first, "last": one.last} for one in ranges]
