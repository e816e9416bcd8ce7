"""The audit record: its fields, its canonical bytes and its hash. Standard library only: the sidecars import it too.

A record is one line of JSON. Canonical form: keys sorted, no spaces, UTF-8, no NaN or infinity, whole numbers
within 64 bits. ``hash`` is the SHA-256 of the canonical record without the key ``hash``; since keys are sorted,
those bytes are the line with ``"hash":"…",`` cut out. ``prev`` is the hash of the record before in the same
writer's chain; the first record's ``prev`` is derived from the writer's name (:func:`genesis`).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

VERSION: Final = 1
MAX_LINE: Final = 1 << 20  # bytes of one record's line, newline excluded
MAX_DEPTH: Final = 32  # nesting of ``data``
MAX_STRING: Final = 512  # characters of a subject's field

_WRITER = re.compile(r"[a-z0-9-]{1,63}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ID = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
_INT64 = 1 << 63
_EVENT_KEYS = frozenset({"time", "id", "kind", "subject", "data"})
_RECORD_KEYS = _EVENT_KEYS | {"v", "writer", "seq", "prev", "hash"}
_SUBJECT_KEYS = ("kind", "namespace", "name", "uid")


class RecordError(ValueError):
    """A record or an event is not well formed. The message is a sentence that names the field."""


class HashError(RecordError):
    """A record is well formed but its hash is not that of its content."""


def utc_now() -> str:
    """The time now as RFC 3339 in UTC with microseconds."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    """``moment`` (must be aware) as RFC 3339 in UTC.

    Raises RecordError when it carries no time zone.
    """
    if moment.tzinfo is None:
        raise RecordError("The time carries no time zone; give an aware datetime.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def canonical(value: object) -> bytes:
    """The canonical JSON bytes of ``value``.

    Raises RecordError for NaN, infinity, whole numbers beyond 64 bits, keys that are not strings, nesting deeper
    than MAX_DEPTH, lone surrogates, and types that JSON does not have.
    """
    _check(value, 0)
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_mapping
        ).encode()
    except UnicodeEncodeError as error:
        raise RecordError("A text holds half of a surrogate pair, which is not UTF-8; send valid Unicode.") from error


def _mapping(value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise RecordError(f"A value of type {type(value).__name__} is not JSON.")


def _check(value: object, depth: int) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise RecordError("A whole number does not fit 64 bits; send it as a string.")
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError("A number is NaN or infinite, which JSON does not have; send null or a string.")
        return
    if depth >= MAX_DEPTH:
        raise RecordError(f"A value is nested deeper than {MAX_DEPTH} levels; flatten it.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RecordError(f"The key {key!r} is not a string.")
            _check(item, depth + 1)
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
        return
    raise RecordError(f"A value of type {type(value).__name__} is not JSON.")


def event_id(*parts: str | int | None) -> str:
    """A deterministic id: SHA-256 over the parts (kind, subject uid, generation, decision digest, …).

    The same parts give the same id in every process, so that what a restart sends again is known as the same
    event. The parts are hashed as a JSON list, so ("ab", "c") and ("a", "bc") differ.
    """
    return hashlib.sha256(canonical(list(parts))).hexdigest()


def genesis(writer: str) -> str:
    """``prev`` of the first record of ``writer``'s chain."""
    return hashlib.sha256(b"mlprivacy audit chain v1\n" + writer.encode()).hexdigest()


def check_writer(writer: str) -> str:
    """``writer`` itself; raises RecordError unless it matches ``[a-z0-9-]{1,63}``."""
    if not _WRITER.fullmatch(writer):
        raise RecordError(f"The writer's name {writer[:80]!r} must be 1 to 63 of a-z, 0-9 and '-'.")
    return writer


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is about: a Kubernetes object, by kind, namespace ("" if cluster scoped), name and uid."""

    kind: str
    namespace: str
    name: str
    uid: str

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "namespace": self.namespace, "name": self.name, "uid": self.uid}

    @classmethod
    def parse(cls, raw: object) -> Self:
        if not isinstance(raw, dict) or set(raw) != set(_SUBJECT_KEYS):
            raise RecordError("`subject` must be an object with exactly kind, namespace, name and uid.")
        for key in _SUBJECT_KEYS:
            if not isinstance(raw[key], str) or len(raw[key]) > MAX_STRING:
                raise RecordError(f"`subject.{key}` must be a string of at most {MAX_STRING} characters.")
        return cls(raw["kind"], raw["namespace"], raw["name"], raw["uid"])


@dataclass(frozen=True, slots=True)
class Event:
    """What a writer hands over: everything of a record but its place in the chain.

    ``time`` is RFC 3339 in UTC and is the caller's; ``id`` comes from :func:`event_id`.
    Raises RecordError when a field is not well formed.
    """

    time: str
    id: str
    kind: str
    subject: Subject
    data: Mapping[str, object]

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise RecordError(f"`time` {self.time[:40]!r} must be RFC 3339 in UTC, like 2026-03-01T12:00:00Z.")
        if not _ID.fullmatch(self.id):
            raise RecordError("`id` must be 64 lower-case hexadecimal digits; use event_id().")
        if not _KIND.fullmatch(self.kind):
            raise RecordError(f"`kind` {self.kind[:80]!r} must be 1 to 63 of a-z, 0-9 and '-', a letter first.")

    def as_dict(self) -> dict[str, object]:
        return {
            "time": self.time,
            "id": self.id,
            "kind": self.kind,
            "subject": self.subject.as_dict(),
            "data": self.data,
        }

    @classmethod
    def parse(cls, raw: object) -> Self:
        """An event from parsed JSON. Raises RecordError."""
        if not isinstance(raw, dict) or set(raw) != _EVENT_KEYS:
            raise RecordError("An event must be an object with exactly time, id, kind, subject and data.")
        return cls(*_event_fields(raw))


def _event_fields(raw: dict[str, object]) -> tuple[str, str, str, Subject, dict[str, object]]:
    time, ident, kind, data = raw["time"], raw["id"], raw["kind"], raw["data"]
    if not (isinstance(time, str) and isinstance(ident, str) and isinstance(kind, str)):
        raise RecordError("`time`, `id` and `kind` must be strings.")
    if not isinstance(data, dict):
        raise RecordError("`data` must be an object.")
    return time, ident, kind, Subject.parse(raw["subject"]), data


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is durable: where it stands in the writer's chain, and its record's hash."""

    id: str
    seq: int
    hash: str
    writer: str

    def as_dict(self) -> dict[str, str | int]:
        return {"id": self.id, "seq": self.seq, "hash": self.hash, "writer": self.writer}


@dataclass(frozen=True, slots=True)
class Record:
    """One link of a writer's chain. ``line`` is its canonical bytes without the newline."""

    writer: str
    seq: int
    event: Event
    prev: str
    hash: str
    line: bytes = field(repr=False)

    @classmethod
    def link(cls, writer: str, seq: int, prev: str, event: Event) -> Self:
        """The record that places ``event`` as number ``seq`` (from 1) after the record whose hash is ``prev``.

        Raises RecordError when the data is not canonical JSON or the line is longer than MAX_LINE.
        """
        head = b'{"data":' + canonical(event.data)
        tail = canonical(
            {
                "id": event.id,
                "kind": event.kind,
                "prev": prev,
                "seq": seq,
                "subject": event.subject.as_dict(),
                "time": event.time,
                "v": VERSION,
                "writer": writer,
            }
        )[1:]
        digest = hashlib.sha256(head + b"," + tail).hexdigest()
        line = head + b',"hash":"' + digest.encode() + b'",' + tail
        if len(line) > MAX_LINE:
            raise RecordError(f"The record is {len(line)} bytes long, at most {MAX_LINE} are allowed; send less data.")
        return cls(writer, seq, event, prev, digest, line)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The record on ``line`` (no newline). Raises RecordError unless the line is canonical and its hash right."""
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError("The line is not JSON.") from error
        if not isinstance(raw, dict) or set(raw) != _RECORD_KEYS:
            raise RecordError("The line is not an audit record: its keys are not those of version 1.")
        if raw["v"] != VERSION or isinstance(raw["v"], bool):
            raise RecordError(f"The record has version {raw['v']!r}; this program reads version {VERSION}.")
        writer, seq, prev, claimed = raw["writer"], raw["seq"], raw["prev"], raw["hash"]
        if not isinstance(writer, str) or not isinstance(prev, str) or not isinstance(claimed, str):
            raise RecordError("`writer`, `prev` and `hash` must be strings.")
        if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
            raise RecordError("`seq` must be a whole number from 1.")
        record = cls.link(check_writer(writer), seq, prev, Event(*_event_fields(raw)))
        if record.hash != claimed:
            raise HashError("The record's hash does not match its content.")
        if record.line != line:
            raise RecordError("The line is not in canonical form.")
        return record

    @property
    def receipt(self) -> Receipt:
        return Receipt(self.event.id, self.seq, self.hash, self.writer)
