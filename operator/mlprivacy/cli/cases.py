"""Cases of policy tests: a folder with ``case.yaml`` and its objects, judged and compared with what it expects.

``mlprivacy test`` and the unit tests run the same code, and the decision is that of ``mlprivacy check``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from mlprivacy.api.base import Mode, dotted
from mlprivacy.api.reasons import Reason
from mlprivacy.cli import objects, offline
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.objects import JOB_KINDS, SUFFIXES, Item, Objects
from mlprivacy.cli.ruledocs import BUILT_IN
from mlprivacy.manifests import yamlload
from mlprivacy.policy.custom import CustomRules, finding_id
from mlprivacy.policy.engine import evaluate, rules_in_force
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.model import Action, Decision, Finding, Verdict
from mlprivacy.policy.rules import rules_by_id

CASE: Final = objects.CASE
DEFAULT_NAMESPACE: Final = "default"
_BY_OBJECTS: Final = frozenset(
    (
        *("now", "namespaces", "data_classes", "datasets", "grants", "consent_scopes", "policies", "packs"),
        *("claims", "visible_datasets", "custom", "budgets", "registered", "losses"),
    )
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class ExpectedFinding(_Model):
    """A finding that must be there. What is left out is not compared; ``message`` need only be contained."""

    rule: str
    action: Action | None = None
    path: str | None = None
    pack: str | None = None
    policy: str | None = None
    reason: Reason | None = None
    message: str | None = None

    def matches(self, finding: Finding) -> bool:
        """True when every field that is given is the finding's."""
        given = ("action", "path", "pack", "policy", "reason")
        return (
            finding.rule == self.rule
            and all(getattr(self, name) in (None, getattr(finding, name)) for name in given)
            and (self.message is None or self.message in finding.message)
        )

    def __str__(self) -> str:
        parts = [f"{k} {v}" for k, v in self if k != "rule" and v is not None]
        return f"{self.rule} ({', '.join(parts)})" if parts else self.rule


class Expectation(_Model):
    """What must be decided. Findings beside the expected ones are free, unless ``only`` is true."""

    verdict: Verdict
    mode: Mode | None = None
    findings: tuple[ExpectedFinding, ...] = ()
    absent: tuple[str, ...] = ()
    only: bool = False


class CaseFile(_Model):
    """``case.yaml``. ``allowInvalid`` takes objects with wrong fields as a cluster would hold them."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    now: str
    job: str | None = None
    facts: Annotated[dict[str, Any], Field(default_factory=dict)]
    expect: Expectation
    allow_invalid: bool = False


@dataclass(frozen=True)
class Difference:
    """One way in which the decision is not the expected one."""

    what: str
    expected: str
    found: str


@dataclass(frozen=True)
class Result:
    """What became of one case: it passed unless there are problems (bad input) or differences."""

    folder: Path
    name: str
    problems: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    expect: Expectation | None = None  # None where the case can not be read
    decision: Decision | None = None
    in_force: frozenset[str] = frozenset()  # rules that judged the job
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """``passed``, ``failed``, or ``error`` for bad input."""
        if self.problems:
            return "error"
        return "failed" if self.differences else "passed"


class BadCase(Exception):
    """The case can not be run; the arguments are sentences."""


def find(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Every folder with a ``case.yaml`` in or below these folders, in order. A hidden folder is not looked into."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_file() and path.name == CASE:
            found[path.parent] = None
            continue
        for file in sorted(path.rglob(CASE)):
            if not any(part.startswith(".") for part in file.relative_to(path).parts) and file.is_file():
                found[file.parent] = None
    return tuple(found)


def run(folder: Path, custom: CustomRules | None = None) -> Result:
    """Run the case in this folder. Never raises on its content."""
    began = time.perf_counter()
    name = folder.name
    try:
        case = read(folder / CASE)
        name = case.name
        found = _objects(folder, case)
        _no_unknown_rules(folder / CASE, case.expect, found)
        now = _now(folder / CASE, case.now)
        item = _job(folder, found, case.job)
        facts = offline.facts_of(
            item.raw,
            offline.FileLookup((i.raw for i in found.items), offline.Settings(now)),
            now,
            custom=custom,
            adjust=_adjust(folder / CASE, case.facts),
        )
    except BadCase as bad:
        return Result(folder, name, problems=tuple(map(str, bad.args)), seconds=time.perf_counter() - began)
    decision = evaluate(item.raw, facts)
    return Result(
        folder,
        name,
        differences=tuple(compare(case.expect, decision)),
        expect=case.expect,
        decision=decision,
        in_force=frozenset(rule.id for rule in rules_in_force(item.raw, facts)),
        seconds=time.perf_counter() - began,
    )


def read(file: Path) -> CaseFile:
    """Read a ``case.yaml``. Raises BadCase with sentences."""
    try:
        with file.open("rb") as handle:
            documents = yamlload.load(yamlload.decode(handle.read(yamlload.MAX_FILE + 1)))
    except OSError as error:
        raise BadCase(f"{file}: can not be read: {error.strerror}") from error
    except yamlload.LoadError as error:
        raise BadCase(f"{file}:{error.line}:{error.column}: {error.message}") from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise BadCase(f"{file}: is no case; write one map with name, now and expect")
    node = documents[0]
    try:
        return CaseFile.model_validate(node.value, by_alias=True, by_name=False)
    except ValidationError as problem:
        sentences = []
        for item in problem.errors(include_url=False):
            path = dotted(item["loc"], "").removeprefix(".")
            place = node.at(path)
            sentences.append(f"{file}:{place.line}:{place.column}: {path}: {item['msg']}")
        raise BadCase(*sentences) from problem


def compare(expect: Expectation, decision: Decision) -> Iterator[Difference]:
    """Each way in which ``decision`` is not what is expected."""
    if decision.verdict is not expect.verdict:
        yield Difference("verdict", expect.verdict.value, decision.verdict.value)
    if expect.mode is not None and decision.mode != expect.mode:
        yield Difference("mode", expect.mode, decision.mode or "none")
    left = list(decision.findings)
    for wanted in expect.findings:
        match = next((f for f in left if wanted.matches(f)), None)
        if match is not None:
            left.remove(match)
            continue
        near = [f for f in left if f.rule == wanted.rule]
        yield Difference("finding", str(wanted), "; ".join(map(described, near)) or "no finding of this rule")
    for rule in expect.absent:
        for finding in left:
            if finding.rule == rule:
                yield Difference("absent", f"no finding of {rule}", described(finding))
    if expect.only:
        yield from (Difference("only", "no other finding", described(f)) for f in left if f.rule not in expect.absent)


def described(finding: Finding) -> str:
    """A finding in one line, with every field that a case can expect."""
    asked = "".join(f", {k} {v}" for k, v in (("pack", finding.pack), ("policy", finding.policy)) if v)
    return f"{finding.rule} (action {finding.action}, path {finding.path}{asked}): {finding.message}"


def known_rules(found: Objects) -> set[str]:
    """Ids that a finding can have: rules, what stands for no rule, and custom rules of the case's policies."""
    own = {
        finding_id(rule.id)
        for item in found.of("PrivacyPolicy")
        if item.parsed is not None and item.parsed.spec is not None
        for rule in item.parsed.spec.custom
    }
    return {*rules_by_id(), *BUILT_IN, *own}


def _no_unknown_rules(file: Path, expect: Expectation, found: Objects) -> None:
    """A rule with a slip in its name would be absent for ever."""
    unknown = sorted(({f.rule for f in expect.findings} | set(expect.absent)) - known_rules(found))
    if unknown:
        known = ", ".join(sorted(rules_by_id()))
        raise BadCase(f"{file}: expect names {', '.join(unknown)}, which is no rule; there are {known}")


def _objects(folder: Path, case: CaseFile) -> Objects:
    files = [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and p.name != CASE and p.is_file()]
    if not files:
        raise BadCase(f"{folder}: has no objects.yaml; put the objects that the case is about there")
    found = objects.read(map(str, files), default_namespace=DEFAULT_NAMESPACE)
    # A field that is wrong belongs to an object (`what`); a file that can not be read is never part of a case.
    bad = [b for b in found.bad if not (case.allow_invalid and b.what)]
    if bad:
        raise BadCase(*map(str, bad))
    return found


def _job(folder: Path, found: Objects, wanted: str | None) -> Item:
    jobs = [
        j for j in found.of(*JOB_KINDS) if wanted in (None, j.name, f"{j.namespace}/{j.name}", f"{j.kind}/{j.name}")
    ]
    if len(jobs) == 1:
        return jobs[0]
    named = f" named {wanted}" if wanted else ""
    if jobs:
        raise BadCase(
            f"{folder / CASE}: {len(jobs)} jobs{named} are there; set job to a NAME, NAMESPACE/NAME or KIND/NAME"
        )
    raise BadCase(f"{folder}: there is no job{named} among the objects; add the TrainingJob or InferenceJob to judge")


def _now(file: Path, text: str) -> datetime:
    try:
        return offline.parse_now(text)
    except CliError as error:
        raise BadCase(f"{file}: now: {text!r} is no moment; write 2027-01-31 or 2027-01-31T12:00:00Z") from error


def _adjust(file: Path, given: Mapping[str, Any]) -> offline.Adjust:
    """Facts that are no objects, as ``facts:`` sets them, laid over what the objects say."""
    hints = get_type_hints(Facts)
    settable = {to_camel(f.name): f.name for f in fields(Facts) if f.name not in _BY_OBJECTS}
    values: dict[str, Any] = {}
    for key, raw in given.items():
        name = settable.get(key)
        if name is None:
            raise BadCase(
                f"{file}: facts.{key} is no fact that a case can set; there are {', '.join(sorted(settable))}"
            )
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(raw)
        except ValidationError as problem:
            said = problem.errors(include_url=False)[0]
            raise BadCase(f"{file}: {dotted((key, *said['loc']), 'facts')}: {said['msg']}") from problem
        except PydanticSchemaGenerationError as error:
            raise BadCase(f"{file}: facts.{key} is made of objects; put them into objects.yaml") from error

    def adjust(facts: Facts) -> Facts:
        return replace(facts, **values) if values else facts

    return adjust
