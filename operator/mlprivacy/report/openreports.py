"""A decision as a Report of openreports.io/v1alpha1: one per job, bounded in bytes, the same for the same decision.

The API: https://github.com/openreports/reports-api (apis/openreports.io/v1alpha1/report_types.go). A Report is read by
dashboards and by people who may not read the job, so a private finding says no more in it than its rule does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlprivacy.api import names
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.custom import PREFIX
from mlprivacy.policy.model import Action, Decision, Finding, canonical_digest
from mlprivacy.policy.rules import rules_by_id

API_VERSION: Final = "openreports.io/v1alpha1"
SOURCE: Final = "mlprivacy"
OBJECT_BYTES: Final = 6000
"""The whole object, as the API server stores it."""
APPLIED_BYTES: Final = 4800
"""The object as it is applied. The rest is the API server's: managedFields, uid, times."""
RESULTS: Final = ("pass", "fail", "warn", "error", "skip")  # the API's own words, of which error is not used
MORE: Final = "more-findings"
"""The rule of the last result where findings were left out."""

_REST_BYTES: Final = 640  # of the last result
_FAMILY_OF_OTHERS: Final = {"schema": "schema", "references": "references", "not-enforced-here": "references"}
_SEVERITY: Final = {Action.DENY: "high", Action.HOLD: "medium", Action.WARN: "low", Action.EVIDENCE: "info"}
_PRIVATE_MESSAGE: Final = "something that it refers to in another namespace is not as it must be"
_PRIVATE_REMEDY: Final = "ask the owner of the data"
_PRIVATE_MORE: Final = "The status of the job says more."
_KINDS: Final = {kind.lower(): kind for kind in ("TrainingJob", "InferenceJob")}


@dataclass(frozen=True)
class _Limits:
    """Bytes that a text may take, as it is stored."""

    message: int
    remedy: int
    citations: int
    path: int
    name: int = 80


_LONG: Final = _Limits(message=480, remedy=320, citations=200, path=160)
_SHORT: Final = _Limits(message=200, remedy=120, citations=100, path=100)  # where not all findings fit


def report_name(kind: str, name: str) -> str:
    """The name of a job's Report; a TrainingJob and an InferenceJob may have one name."""
    return f"{names.OBJECT_PREFIX}{kind.lower()}-{name}"


def job_of(name: str) -> tuple[str, str] | None:
    """Kind and name of the job that a Report of this name is about; None for a name that is not ours."""
    prefix, _, rest = name.partition("-")
    word, _, job = rest.partition("-")
    kind = _KINDS.get(word)
    return (kind, job) if f"{prefix}-" == names.OBJECT_PREFIX and kind and job else None


def report_of(decision: Decision) -> dict[str, Any] | None:
    """The Report to be applied, of at most `APPLIED_BYTES` as stored; None for a decision without findings."""
    if not decision.findings:
        return None
    kind, namespace, name, uid = decision.subject
    counts = Counter(result_of(f) for f in decision.findings)
    job = {"apiVersion": names.API_VERSION, "kind": kind, "name": name, "uid": uid}
    label = names.LABEL_TRAINING_JOB if kind == "TrainingJob" else names.LABEL_INFERENCE_JOB
    report: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Report",
        "metadata": {
            "name": report_name(kind, name),
            "namespace": namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY, label: name},
            "ownerReferences": [job],
        },
        "source": SOURCE,
        "scope": {**job, "namespace": namespace},
        "summary": {word: counts[word] for word in RESULTS},
        "results": [],
    }
    where = f"`mlprivacy explain {kind.lower()}/{name} -n {namespace}`"
    report["results"] = _results(decision.findings, APPLIED_BYTES - stored_bytes(report), where)
    return report


def content_digest(report: Mapping[str, Any]) -> str:
    """Over what we say in a Report, as built or as stored; what others added elsewhere does not count."""
    metadata = report["metadata"]
    labels = {
        k: v
        for k, v in (metadata.get("labels") or {}).items()
        if k == names.LABEL_MANAGED_BY or k.startswith(f"{names.GROUP}/")
    }
    said = {key: report.get(key) for key in ("source", "scope", "scopeSelector", "summary", "results")}
    return canonical_digest({**said, "labels": labels, "owners": metadata.get("ownerReferences")})


def result_of(finding: Finding) -> str:
    """What the API calls it. A hold is no failure: what is missing may yet come, and SARIF has it as a warning, too."""
    if finding.exception is not None:
        return "skip"
    if finding.action is Action.DENY:
        return "fail"
    return "pass" if finding.reason is Reason.RECORDED else "warn"


def stored_bytes(value: Any) -> int:
    """Bytes of a value in the API server's JSON, which escapes more than others' does."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "replace")) + 5 * sum(map(text.count, "<>&"))


# -- results -----------------------------------------------------------------------------------------------------------


def _results(findings: Sequence[Finding], room: int, where: str) -> list[dict[str, Any]]:
    """As many as fit, strictest first; texts are cut before findings are left out, and those are counted at the end."""
    for limits in (_LONG, _SHORT):
        results = _fitting(findings, limits, room)
        if len(results) == len(findings):
            return results
    kept = _fitting(findings, _SHORT, room - _REST_BYTES)
    return [*kept, _rest(findings[len(kept) :], where)]


def _fitting(findings: Sequence[Finding], limits: _Limits, room: int) -> list[dict[str, Any]]:
    """The first results, as many as there is room for."""
    kept: list[dict[str, Any]] = []
    for finding in findings:
        result = _result(finding, limits)
        room -= len(",") + stored_bytes(result)
        if room < 0:
            break
        kept.append(result)
    return kept


def _result(finding: Finding, limits: _Limits) -> dict[str, Any]:
    message, remedy = _told(finding)
    result = result_of(finding)
    properties = {
        "action": finding.action.value,
        "enforced": finding.enforced.value if finding.softened else "",
        "reason": finding.reason.value,
        "path": bounded(finding.path, limits.path),
        "remedy": bounded(remedy, limits.remedy),
        "citations": bounded("; ".join(finding.citations), limits.citations),
        "pack": bounded(finding.pack or "", limits.name),
        "policy": bounded(finding.policy or "", limits.name),
        "exception": bounded(finding.exception or "", limits.name),
    }
    return {
        "policy": bounded(finding.pack or finding.policy or SOURCE, limits.name),
        "rule": bounded(finding.rule, limits.name),
        "category": _category(finding.rule),
        "severity": _SEVERITY[finding.action],
        "result": result,
        "scored": result == "fail",
        "message": bounded(message, limits.message),
        "properties": {key: text for key, text in properties.items() if text},
    }


def _told(finding: Finding) -> tuple[str, str]:
    """Message and remedy. Of a private finding those of its rule, which say nothing about anybody's objects."""
    if not finding.private:
        return finding.message, finding.remedy
    rule = rules_by_id().get(finding.rule)
    message = rule.reason if rule else _PRIVATE_MESSAGE
    return f"{message.rstrip('.')}. {_PRIVATE_MORE}", rule.remedy if rule else _PRIVATE_REMEDY


def _category(name: str) -> str:
    rule = rules_by_id().get(name)
    if rule is not None:
        return rule.family
    return "custom" if name.startswith(PREFIX) else _FAMILY_OF_OTHERS.get(name, SOURCE)


def _rest(findings: Sequence[Finding], where: str) -> dict[str, Any]:
    """The last result: how many findings are not here, and where they are. It is as bad as the worst of them."""
    counts = Counter(result_of(f) for f in findings)
    worst = next(word for word in ("fail", "warn", "skip", "pass") if counts[word])
    strictest = max((f.action for f in findings), key=lambda action: action.rank)
    told = ", ".join(f"{counts[word]} {word}" for word in RESULTS if counts[word])
    return {
        "policy": SOURCE,
        "rule": MORE,
        "category": SOURCE,
        "severity": _SEVERITY[strictest],
        "result": worst,
        "scored": worst == "fail",
        "message": f"{len(findings)} more findings have no room here ({told}); {where} lists all",
        "properties": {"more": str(len(findings))} | {word: str(counts[word]) for word in RESULTS if counts[word]},
    }


def bounded(text: str, limit: int) -> str:
    """`text` on one line, without control characters, cut to `limit` bytes as they are stored."""
    plain = text[: limit + 1]
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else " " for c in plain)
    if len(text) <= limit and _bytes_of(plain) <= limit:
        return plain
    room = limit - len("…".encode())
    kept: list[str] = []
    for c in plain:
        room -= _bytes_of(c)
        if room < 0:
            break
        kept.append(c)
    return "".join(kept).rstrip() + "…"


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + 5 * sum(map(text.count, "<>&")) + sum(map(text.count, '"\\'))
