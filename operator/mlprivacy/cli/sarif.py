"""The judgement as SARIF 2.1.0 (OASIS), for code scanning: one result per finding, at its line."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from mlprivacy import __version__
from mlprivacy.cli.objects import BadInput, Item, Place
from mlprivacy.cli.offline import Judgement
from mlprivacy.cli.together import RULE
from mlprivacy.policy.custom import PREFIX
from mlprivacy.policy.model import Action, Finding
from mlprivacy.policy.rules import rules_by_id

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL: Final = {Action.DENY: "error", Action.HOLD: "warning", Action.WARN: "warning", Action.EVIDENCE: "note"}
_OTHER_RULES: Final = {
    "bad-input": "A file or an object can not be read.",
    "unknown-pack": "A policy names a pack that is not there, so jobs under it hold.",
    RULE: "A PrivacyBudget can not be kept, or does not go together with the other budgets and datasets.",
    "references": "Something that the job refers to does not exist, or is not granted.",
    "not-enforced-here": "The job asks for something that nothing enforces yet.",
    "schema": "The spec can not be read.",
}


def report(judgement: Judgement) -> dict[str, Any]:
    """The whole log, ready for json.dumps."""
    used = sorted(
        {finding.rule for judged in judgement.judged for finding in judged.decision.findings}
        | {finding.rule for examined in judgement.examined for finding in examined.findings}
        | ({"bad-input"} if judgement.bad else set())
        | ({"unknown-pack"} if judgement.policy_problems else set())
    )
    results = [_bad(bad, "bad-input", "error", used) for bad in judgement.bad]
    results += [_bad(problem, "unknown-pack", "warning", used) for problem in judgement.policy_problems]
    for item, findings in (
        *((examined.item, examined.findings) for examined in judgement.examined),
        *((judged.item, judged.decision.findings) for judged in judgement.judged),
    ):
        results += [_finding(item, finding, used) for finding in findings]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "mlprivacy",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_rule(name) for name in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": not judgement.bad, "exitCode": judgement.exit_code}],
                "results": results,
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    rule = rules_by_id().get(name)
    if rule is None:
        own = "A rule of the privacy office's own, in a PrivacyPolicy." if name.startswith(PREFIX) else name
        return {
            "id": name,
            "name": _camel(name.replace("/", "-")),
            "shortDescription": {"text": _OTHER_RULES.get(name, own)},
            "defaultConfiguration": {"level": "error" if name in ("bad-input", "schema", RULE) else "warning"},
        }
    citations = ", ".join(rule.citations)
    return {
        "id": rule.id,
        "name": _camel(rule.id),
        "shortDescription": {"text": rule.reason},
        "fullDescription": {"text": f"{rule.reason} Behind it: {citations}."},
        "help": {
            "text": f"{rule.reason} To fix it: {rule.remedy}. Behind it: {citations}.",
            "markdown": f"{rule.reason}\n\n**To fix it:** {rule.remedy}.\n\n**Behind it:** {citations}.",
        },
        "defaultConfiguration": {"level": _LEVEL[rule.action]},
        "properties": {"tags": ["privacy", rule.family], "citations": list(rule.citations)},
    }


def _finding(item: Item, finding: Finding, used: list[str]) -> dict[str, Any]:
    result = _result(
        (finding.rule, used.index(finding.rule)),
        _LEVEL[finding.action],
        f"{finding.message} To fix it: {finding.remedy}" if finding.remedy else finding.message,
        item.place_of(finding.path),
        f"{item.what} {finding.path}",
    )
    result["properties"] = {
        **({"exception": finding.exception} if finding.exception else {}),
        "object": item.what,
        "action": finding.action.value,
        **({"enforced": finding.enforced.value} if finding.softened else {}),
        "reason": finding.reason.value,
        "citations": list(finding.citations),
    }
    return result


def _bad(bad: BadInput, rule: str, level: str, used: list[str]) -> dict[str, Any]:
    text = f"{bad.path} {bad.message}" if bad.path else bad.message
    return _result((rule, used.index(rule)), level, text, bad.place, f"{bad.what} {bad.path}".strip())


def _result(rule: tuple[str, int], level: str, text: str, place: Place, where: str) -> dict[str, Any]:
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _uri(place.file)}}}
    if place.line:
        location["physicalLocation"]["region"] = {"startLine": place.line, "startColumn": max(place.column, 1)}
    if where:
        location["logicalLocations"] = [{"fullyQualifiedName": where}]
    mark = "\0".join((rule[0], where, text))
    return {
        "ruleId": rule[0],
        "ruleIndex": rule[1],
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"finding/v1": hashlib.sha256(mark.encode("utf-8", "replace")).hexdigest()},
    }


def _uri(file: str) -> str:
    """A relative path as a relative reference, an absolute one as file://."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))
