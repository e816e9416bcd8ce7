"""docs/reference/audit-records.md: the audit log's form, its records, and what `mlprivacy verify` can find."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Final

from docsgen.comments import constants, source_of
from docsgen.markdown import block, code, document, prose, sentence, table
from docsgen.pages import DocsError
from mlprivacy.audit import api, canary, chain, evidence, puller, reader, record, seal, verify

_INTRO = """
The collector keeps one hash chain per writer, as JSON lines in segments on its volume. A writer is the common name of
a client certificate that the operator's own authority signed (`mlprivacy-controller`, `mlprivacy-admission`); the
collector writes a chain of its own (`collector`). `mlprivacy verify DIR` recomputes all of them from the files alone.
"""
# Kind -> who writes it, and what it says. A kind in the code that is not here is an error, and the other way round.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "decision": (
        "controller",
        "a decision that does not allow a job: the whole canonical decision, the generation, who asked, and the "
        "objects that changed before it became what it is",
    ),
    "render": (
        "controller",
        "a decision that allows an attempt, with the names of all objects. The receipt is held before the Job or "
        "Deployment is created",
    ),
    "unsealed": (
        "controller",
        "a pod did not get past its seal, so nothing of the user's ran in it: attempt, pod, reason, the probe's exit "
        "code and sentence",
    ),
    "exception-used": (
        "controller",
        "an attempt that only a PolicyException let run: its rule, ticket and end, who asked, who approved, the job "
        "and the attempt. The receipt is held before the Job or Deployment is created; once for job uid and attempt",
    ),
    "admission-decision": (
        "admission",
        "what admission answered: operation, verdict, digest, rules. Sent without waiting, so one may be lost",
    ),
    "object-changed": (
        "admission",
        "somebody made or changed a Dataset, DatasetGrant, ConsentScope, DataClass, PrivacyPolicy, PolicyException or "
        "PrivacyBudget: who, whether it was let through, the digest of the spec before and after, which fields "
        "changed; of an exception whether it was asked for, approved, revoked or changed; of a budget what was done "
        "about its promise, and the promise. Sent without waiting. A write that the API server gave up afterwards has "
        "a record too",
    ),
    "ledger-restored": (
        "controller",
        "entries of a subject domain's ledger that the cluster's database had lost were written again from the "
        "collector's export: the first and the last of them, and the hash of the last. Sent without waiting",
    ),
    "object-deleted": (
        "controller",
        "one of these objects, or a governed Namespace, is gone: the digest of its last spec, and whether it was an "
        "approved exception. The API server's own audit log says who deleted it; what went while no controller ran is "
        "not recorded",
    ),
    "refusals": (
        "admission",
        "how many refusals of a namespace were not recorded one by one, by kind, from when to when: after 60 at once "
        "each namespace gets one record a minute. Under the empty name: of what is in no namespace, changes of "
        "exceptions that nobody approved included. Whatever else was let through is always recorded",
    ),
    "seal": ("collector", "a governed pod was seen to be sealed while the canary was alive"),
    "heartbeat": ("collector", "a sidecar answered, where its log stands, and how far it was pulled"),
    "sidecar": ("collector", "records of a sidecar's own log as pulled, or that the log does not continue"),
    "started": ("accountant, gateway", "the sidecar started; in the sidecar's own log"),
    "stopped": ("accountant, gateway", "the sidecar ended in order; in the sidecar's own log"),
    "hello": ("accountant", "the trainer's first message; in the sidecar's own log"),
    "step": ("accountant", "a training step that the trainer reported; in the sidecar's own log"),
    "note": ("accountant", "a remark of the trainer's; in the sidecar's own log"),
    "peer-refused": ("accountant", "another user id than the trainer's knocked at the socket"),
    "refused": ("gateway", "how many requests were refused since the last such record, and why"),
    "ledger-head": (
        "collector",
        "the newest entry of a subject domain's ledger, as the controller said it: number, hash, who said so, and the "
        "collector's signature. In the chain `ledger-heads`; a ledger that is older than this holds its domain",
    ),
    "segment-begin": ("the log", "first record of a segment; names the segment before"),
    "segment-end": ("the log", "last record of a full segment; names the segment after"),
    "torn": ("the log", "an unfinished last line was moved aside after a crash"),
}
_FIELDS: Final[Mapping[str, str]] = {
    "v": f"version of the form, {record.VERSION}",
    "writer": "the chain the record is in",
    "seq": "number in the chain, from 1 without gaps",
    "prev": "hash of the record before; of the first record, SHA-256 over the writer's name with a fixed prefix",
    "hash": "SHA-256 of the canonical record without this key",
    "time": "RFC 3339 in UTC, the writer's clock",
    "id": "SHA-256 over what makes the event that event: a restart sends the same id, and nothing is written twice",
    "kind": "one of the kinds below",
    "subject": "the object it is about: kind, namespace, name, uid",
    "data": "what happened; by kind",
}


def page() -> str:
    """The page.

    Raises:
        DocsError: when the code knows a kind or a field that this page does not describe, or the other way round.
    """
    _agree("kind", set(kinds_in_the_code()), set(_KINDS))
    _agree("field", set(record._RECORD_KEYS), set(_FIELDS))
    wrong = [c for c in constants(source_of(verify)) if c.owner == "Wrong"]
    return document(
        "Audit records",
        _INTRO,
        "## A record",
        prose(_FORM),
        table(("Field", "What it is"), ((code(n), sentence(t)) for n, t in _FIELDS.items())),
        "## Kinds",
        table(("Kind", "Written by", "What it says"), ((code(k), who, sentence(t)) for k, (who, t) in _KINDS.items())),
        "## Files",
        table(("Name", "What it is"), _files()),
        "## What `mlprivacy verify` finds",
        "It names the first bad record of each chain, by file, line and number. Exit code 1 when there is one.",
        table(("Finding", "What it means"), ((code(verify.Wrong[c.name].value), sentence(c.comment)) for c in wrong)),
        prose(_CUT),
        "## Record API",
        "The collector serves it on port 8444 under mutual TLS; the client's certificate says who writes.",
        block(inspect.cleandoc(api.__doc__ or "").split("\n\n", 1)[1].split("\n\n")[0], "text"),
        "## Seal",
        prose(_SEAL),
    )


_FORM = f"""
One line of JSON, at most {record.MAX_LINE:,} bytes: keys sorted, no spaces, UTF-8, no NaN or infinity, whole numbers
within 64 bits, nesting at most {record.MAX_DEPTH}. Every byte is on disk (`fdatasync`) before a receipt exists.
"""
_CUT = """
A chain alone can not show that its newest records were cut off. Note heads elsewhere (`GET /v1/heads` gives them) and
pass them to `mlprivacy verify --anchor WRITER=SEQ:HASH`.
"""
_SEAL = f"""
A governed pod is sealed when it does not reach the collector's canary (TCP and UDP, a ping of {seal.MESSAGE_BYTES}
bytes with a fresh nonce of {seal.NONCE_BYTES}) while the collector, within the same second, signs that its canary was
alive. The signature (Ed25519, purpose `{seal.PURPOSE}`) covers attempt, nonce and time. The canary closes a connection
that says nothing for {canary.READ_TIMEOUT:g} s. Its answer ends with a proof of {seal.PROOF_BYTES} bytes, by which the
collector knows it as its own: it looks at itself, through its Service too, before each signature.

With its offer the probe names the pod's own Ed25519 key, which the collector keeps until the pod is gone. Heartbeat and
log of the pod count only when they are signed with it (header `{evidence.HEADER}`, purpose `{evidence.PURPOSE}`) over
attempt, target with a fresh nonce, and the digest of the body. Of one pod's log {puller.LOG_BYTES >> 20} MiB are taken.
"""


def _files() -> Iterator[tuple[str, str]]:
    yield (
        code(f"WRITER/{reader.segment_name(1)}"),
        (f"A segment, named by its first record. A new one begins at {chain.SEGMENT_BYTES >> 20} MiB."),
    )
    yield code(f"WRITER/*{reader.PENDING}"), "The next segment, made before the one before it is closed."
    yield (
        code(f"WRITER/*{reader.TORN}*"),
        "An unfinished last line, moved aside after a crash. Kept as evidence.",
    )
    yield code(reader.LOCK), "Held while a collector has the log open: two can not write at once."


def _agree(what: str, code_has: set[str], page_has: set[str]) -> None:
    for name in sorted(code_has ^ page_has):
        where = "described in docsgen/audit_records.py and not in the code" if name in page_has else "not described"
        raise DocsError(f"The audit record {what} {name!r} is {where}. Describe it in docsgen/audit_records.py.")


def kinds_in_the_code() -> Iterator[str]:
    """Kinds of records that the code names: KIND_* constants, ``Event(kind=…)``, ``.record("…")``, TYPES."""
    for package in ("audit", "controller", "admission", "dataplane"):
        root = importlib.import_module(f"mlprivacy.{package}")
        for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            yield from kinds_in(source_of(importlib.import_module(module.name)))


def kinds_in(source: str) -> Iterator[str]:
    """The kinds that one module names. A kind given by a variable is looked for in what is assigned to it."""
    nodes = list(ast.walk(ast.parse(source)))
    assigned: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                assigned.setdefault(target.id, []).append(node.value)
    for name, values in assigned.items():
        if "KIND" in name.split("_") or name == "TYPES":
            yield from (text for value in values for text in _texts(value))
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        given = [k.value for k in call.keywords if k.arg == "kind"] if called == "Event" else []
        given += call.args[:1] if called == "record" else []
        for value in given:
            if isinstance(value, ast.Name):
                yield from (text for one in assigned.get(value.id, ()) for text in _texts(one))
            else:
                yield from _texts(value)


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=two):
            yield from _texts(one)
            yield from _texts(two)
        case ast.Tuple(elts=items):
            for item in items:
                yield from _texts(item)
