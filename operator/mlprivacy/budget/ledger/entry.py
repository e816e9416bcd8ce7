"""One link of the chain: its name, its canonical bytes, its hash; and a chain's head, as it is signed elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from mlprivacy.api.ledger_entry import KIND, MAX_SEQUENCE, MAX_STATE, MAX_TRANSITIONS
from mlprivacy.api.names import API_VERSION
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.transitions import (
    Body,
    Checkpoint,
    Transition,
    TransitionError,
    canonical,
    parse_transition,
    transition_body,
)

VERSION: Final = 1
MAX_BYTES: Final = 32_768  # of an entry that is no part of a checkpoint; 16 reservations at 28 orders are 11,000
MAX_CHECKPOINT_BYTES: Final = 2 * MAX_STATE + 4096  # its state is text, and a quotation mark in it is written as two

_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_KEYS: Final = frozenset(
    {"version", "subjectDomain", "domain", "sequence", "previous", "time", "writer", "transitions", "hash"}
)


@lru_cache(maxsize=256)
def domain_hash(subject_domain: str) -> str:
    """The beginning of the names of a domain's entries: 32 hexadecimal digits, whatever the domain is called."""
    return sha256(subject_domain.encode()).hexdigest()[:32]


def entry_name(subject_domain: str, sequence: int) -> str:
    """The name of entry ``sequence`` (from 1)."""
    return f"{domain_hash(subject_domain)}-{sequence}"


def genesis(subject_domain: str) -> str:
    """``previous`` of the first entry of a domain."""
    return sha256(b"mlprivacy ledger v1\n" + subject_domain.encode()).hexdigest()


def stamp(moment: datetime) -> str:
    """A moment (aware) as entries carry it: UTC, six digits of seconds, so that texts sort as moments do."""
    if moment.tzinfo is None:
        raise ValueError("the time carries no time zone; give an aware datetime")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str) -> datetime:
    """The moment of a stamp. Raises ValueError."""
    return datetime.fromisoformat(text)


@dataclass(frozen=True, slots=True)
class Entry:
    """One link. ``spec`` is what the API server stores."""

    subject_domain: str
    sequence: int
    previous: str
    time: str
    writer: str
    transitions: tuple[Transition, ...]
    hash: str
    spec: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the object."""
        return entry_name(self.subject_domain, self.sequence)

    @property
    def head(self) -> Head:
        """The chain as it is when this is its newest entry."""
        return Head(self.subject_domain, self.sequence, self.hash)

    def manifest(self) -> dict[str, Any]:
        """The object as it is created."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND.kind,
            "metadata": {"name": self.name},
            "spec": dict(self.spec),
        }


def link(head: Head, transitions: Sequence[Transition], time: str, writer: str) -> Entry:
    """The entry that puts the transitions after ``head``.

    Raises:
        ValueError: when there are none or too many, a part of a checkpoint does not stand alone, or they are too long.
    """
    sequence = head.sequence + 1
    if not 1 <= len(transitions) <= MAX_TRANSITIONS:
        raise ValueError(f"an entry holds 1 to {MAX_TRANSITIONS} transitions, and these are {len(transitions)}")
    if sequence > MAX_SEQUENCE:
        raise ValueError("the ledger is full")
    body: Body = {
        "version": VERSION,
        "subjectDomain": head.subject_domain,
        "domain": domain_hash(head.subject_domain),
        "sequence": sequence,
        "previous": head.hash,
        "time": time,
        "writer": writer,
        "transitions": [transition_body(transition) for transition in transitions],
    }
    data = canonical(body)
    if (wrong := _misshapen(transitions, len(data))) is not None:
        raise ValueError(wrong)
    digest = sha256(data).hexdigest()
    return Entry(
        head.subject_domain, sequence, head.hash, time, writer, tuple(transitions), digest, {**body, "hash": digest}
    )


def _misshapen(transitions: Sequence[Transition], size: int) -> str | None:
    part = isinstance(transitions[0], Checkpoint)
    if len(transitions) > 1 and any(isinstance(transition, Checkpoint) for transition in transitions):
        return "a part of a checkpoint stands alone in its entry"
    if size > (most := MAX_CHECKPOINT_BYTES if part else MAX_BYTES):
        return f"the entry is {size:,} bytes long, at most {most:,} are allowed"
    return None


def parse_entry(name: str, spec: object) -> Entry:
    """The entry that is stored under ``name``, its own hash checked. Whether it follows another is the fold's to say.

    Raises:
        ChainError: naming it, when it is not well formed, is not what its hash says or bears another name than its own.
    """
    try:
        return _parse(name, spec)
    except (TransitionError, TypeError) as error:
        raise ChainError(name, str(error)) from error


def _parse(name: str, spec: object) -> Entry:
    if not isinstance(spec, dict) or spec.keys() != _KEYS:
        raise TransitionError("its fields are not those of an entry of this version")
    domain, sequence, previous, time = spec["subjectDomain"], spec["sequence"], spec["previous"], spec["time"]
    claimed, writer, raw = spec["hash"], spec["writer"], spec["transitions"]
    if spec["version"] != VERSION or type(spec["version"]) is not int:
        raise TransitionError(f"it is of version {spec['version']!r}, and this program reads version {VERSION}")
    if type(domain) is not str or not _DOMAIN.fullmatch(domain) or spec["domain"] != domain_hash(domain):
        raise TransitionError("its subjectDomain is none, or domain is not its hash")
    if type(sequence) is not int or not 1 <= sequence <= MAX_SEQUENCE:
        raise TransitionError("its sequence is no whole number from 1")
    if name != f"{spec['domain']}-{sequence}":
        raise TransitionError(f"it says that it is entry {sequence} of {domain}, and its name says something else")
    if (
        type(previous) is not str
        or not _HASH.fullmatch(previous)
        or type(time) is not str
        or not _STAMP.fullmatch(time)
    ):
        raise TransitionError("its previous is no hash, or its time is no moment in UTC")
    if type(writer) is not str or not isinstance(raw, list) or not 1 <= len(raw) <= MAX_TRANSITIONS:
        raise TransitionError("its writer or its transitions are not well formed")
    body = spec.copy()
    del body["hash"]
    data = canonical(body)
    if sha256(data).hexdigest() != claimed:
        raise TransitionError("its content is not what its hash says: it was changed after it was written")
    transitions = tuple([parse_transition(one) for one in raw])
    if (wrong := _misshapen(transitions, len(data))) is not None:
        raise TransitionError(wrong)
    return Entry(domain, sequence, previous, time, writer, transitions, claimed, spec)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a chain; ``sequence`` 0 and the genesis hash when there is none."""

    subject_domain: str
    sequence: int
    hash: str

    @classmethod
    def none(cls, subject_domain: str) -> Head:
        """Before the first entry. Raises ValueError when the domain's name is none."""
        if not _DOMAIN.fullmatch(subject_domain):
            raise ValueError(f"{subject_domain[:80]!r} is no subject domain; it must be 1 to 63 of a-z, 0-9 and '-'")
        return cls(subject_domain, 0, genesis(subject_domain))

    def message(self) -> bytes:
        """The bytes that an anchor's signature is over."""
        return canonical(
            {
                "hash": self.hash,
                "purpose": "mlprivacy.dev/ledger-head/v1",
                "sequence": self.sequence,
                "subjectDomain": self.subject_domain,
            }
        )


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head and an Ed25519 signature over its message, made outside the cluster's database."""

    head: Head
    signature: bytes

    def signed_by(self, public_key: bytes) -> bool:
        """Whether the key of these 32 bytes made the signature."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.head.message())
        except (InvalidSignature, ValueError):
            return False
        return True


def compare_with_anchor(known: Mapping[int, str], newest: Head, anchor: Head) -> str | None:
    """What an anchored head says against a chain; None when they agree, or the anchor is of an entry that was pruned.

    Args:
        known: hashes by sequence, of the entries that are there.
        newest: the chain's head.
        anchor: a head that was seen before.
    """
    name = entry_name(anchor.subject_domain, anchor.sequence)
    if anchor.sequence > newest.sequence:
        return (
            f"{name} was there once and is not any more: the ledger ends with entry {newest.sequence}. The cluster's "
            "database was restored or entries were deleted; bring the missing ones back from an export"
        )
    found = known.get(anchor.sequence)
    if found is not None and found != anchor.hash:
        return f"{name} is not the entry that was seen before under this name: the ledger was written anew from there"
    return None


def anchors_for(subject_domain: str, anchors: Iterable[Head]) -> list[Head]:
    """The anchors of one domain, oldest first."""
    return sorted((a for a in anchors if a.subject_domain == subject_domain), key=lambda a: a.sequence)
