"""What became of the examples' jobs: what the person saw at apply, or what the status says; and what was expected."""

import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.client import Cluster
from mlprivacy.policy.custom import finding_id
from mlprivacy.policy.rules import rules_by_id

RESOURCES: Final = {"TrainingJob": "trainingjobs.mlprivacy.dev", "InferenceJob": "inferencejobs.mlprivacy.dev"}
FOLDERS: Final = ("clinic", "shop", "laws", "budget")
_SETTLE_SECONDS: Final = 60.0
# Rules that are only recorded here, as examples/expected.yaml says.
RECORDED: Final = frozenset({"rdma-drift", "records-of-processing", "trained-personnel"})


@dataclass(frozen=True)
class Outcome:
    """One job: accepted, warned, waiting, held or refused; the rules that say so; the sentence a person reads.

    What waits is accepted, and its privacy budget has no room for it yet.
    """

    kind: str
    namespace: str
    name: str
    outcome: str
    rules: tuple[str, ...]
    why: str

    @property
    def ref(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def load(examples: Path, folder: str) -> list[dict[str, Any]]:
    """The objects of one folder of examples, in the order of the files."""
    objects: list[dict[str, Any]] = []
    for path in sorted((examples / folder).glob("*.yaml")):
        objects += [o for o in yaml.safe_load_all(path.read_text(encoding="utf-8")) if o]
    return objects


def expected(examples: Path) -> dict[tuple[str, str, str], tuple[str, tuple[str, ...]]]:
    """Outcome and rules of every job in a cluster, by kind, namespace and name."""
    document = yaml.safe_load((examples / "expected.yaml").read_text(encoding="utf-8"))
    return {
        (j["kind"], j["namespace"], j["name"]): ("waiting" if j.get("waits") else j["outcome"], tuple(j["rules"]))
        for j in document["jobs"]
    }


def rules_of(objects: Iterable[Mapping[str, Any]]) -> set[str]:
    """Ids that a finding can have: the product's rules, and the custom rules of the policies among these objects."""
    custom = [r["id"] for o in objects if o["kind"] == "PrivacyPolicy" for r in o["spec"].get("custom") or []]
    return {*rules_by_id(), *map(finding_id, custom)}


def refused_at_apply(obj: Mapping[str, Any], stderr: str, rules: Iterable[str]) -> Outcome:
    """A job that the webhook refused. The rules are those whose id begins a line of the answer."""
    text = stderr.split("denied the request:", 1)[-1].strip() if "denied the request:" in stderr else stderr.strip()
    named = tuple(sorted({rule for rule in rules if any(_begins(line, rule) for line in text.splitlines())}))
    metadata = obj["metadata"]
    first, *others = [line for line in text.splitlines() if not line.endswith("is refused.")] or [text]
    if others:
        first += f" (and {len(others)} more)"
    return Outcome(obj["kind"], metadata["namespace"], metadata["name"], "refused", named, first)


def _begins(line: str, rule: str) -> bool:
    return line.lstrip(" -*").startswith((f"{rule}:", f"{rule} "))


def settled(cluster: Cluster, jobs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """The outcomes of jobs that exist, once each is decided on and what is allowed was created.

    Raises TimeoutError with the names of those that are not decided within a minute.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    found: dict[str, Outcome] = {}
    while len(found) < len(jobs):
        for job in jobs:
            metadata = job["metadata"]
            if _key(job) in found:
                continue
            live = cluster.get(RESOURCES[job["kind"]], metadata["name"], metadata["namespace"])
            outcome = _of_status(live) if live else None
            if outcome is not None:
                found[_key(job)] = outcome
        if time.monotonic() > deadline:
            missing = [
                j["metadata"]["name"] for j in jobs if not any(o.name == j["metadata"]["name"] for o in found.values())
            ]
            raise TimeoutError(f"Not decided within {_SETTLE_SECONDS:.0f} s: {', '.join(missing)}.")
        if len(found) < len(jobs):
            time.sleep(0.2)
    return list(found.values())


def _key(job: Mapping[str, Any]) -> str:
    return f"{job['kind']}/{job['metadata']['namespace']}/{job['metadata']['name']}"


def _of_status(live: Mapping[str, Any]) -> Outcome | None:
    status = live.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    accepted = conditions.get("Accepted")
    if accepted is None:
        return None
    findings = [f for f in status["decision"]["findings"] if f["rule"] not in RECORDED]
    rules = tuple(sorted({f["rule"] for f in findings}))
    metadata = live["metadata"]
    budget = conditions.get("BudgetReserved")
    if accepted["status"] == "True" and budget is not None and budget["status"] == "False":
        outcome, why = "waiting", f"{budget['reason']}: {budget['message']}"
    elif accepted["status"] == "True":
        if conditions["ControlsReady"]["status"] != "True" and conditions["Stalled"]["status"] != "True":
            return None
        outcome = "warned" if any(f["action"] == "Warn" for f in findings) else "accepted"
        ready = conditions["Ready"]
        why = f"{ready['message']} (assurance {status['assurance']['achieved']})"
        if findings:
            note = "" if outcome == "warned" else "recorded only: "
            why = note + f"{findings[0]['path']}: {findings[0]['message']}. To fix it: {findings[0]['remedy']}."
    else:
        outcome = "refused" if accepted["status"] == "False" else "held"
        why = accepted["message"]
    return Outcome(live["kind"], metadata["namespace"], metadata["name"], outcome, rules, why)


def table(outcomes: Sequence[Outcome], width: int) -> str:
    """The outcomes as a table of at most ``width`` columns, the sentence of each wrapped."""
    head = ("JOB", "OUTCOME", "RULES")
    rows = [(o.ref, o.outcome, ", ".join(o.rules) or "-") for o in outcomes]
    sizes = [max(len(r[i]) for r in [head, *rows]) for i in range(3)]
    sizes[2] = min(sizes[2], 32)
    left = sum(sizes) + 6
    room = max(width - left, 40)

    def line(cells: Sequence[str], why: str) -> list[str]:
        first = "  ".join(f"{cell:<{size}}" for cell, size in zip(cells, sizes, strict=True))
        wrapped = textwrap.wrap(" ".join(why.split()), room) or [""]
        return [f"{first}  {wrapped[0]}".rstrip(), *(" " * (left) + rest for rest in wrapped[1:])]

    lines = line(head, "WHY")
    lines.append("-" * min(width, left + room))
    for outcome, row in zip(outcomes, rows, strict=True):
        lines += line(row, outcome.why)
    return "\n".join(lines)
