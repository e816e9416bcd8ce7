"""The policy engine in one process: time of a decision, of a custom rule, and of looking at 10,000 jobs anew.

    policy.py [JOBS]

Real: `evaluate` as every caller has it; the worker of custom rules, as a process; for the re-evaluation the fact store
and its informers, index, queue, reconciler and reporter of the controller (tests/unit/stage.py). Not real there: the
API server (in memory; it counts what is written) and the collector. Its memory holds that API server's objects, too.
"""

import asyncio
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "operator"), str(ROOT / "tests" / "unit")]

from builders import (  # noqa: E402 - the folders are put on the path first
    NOW,
    Raw,
    asked,
    change,
    clinic_world,
    data_class,
    dataset,
    facts_of,
    grant,
    grant_to,
    health_class,
    policy,
    training_job,
    use,
)
from results import Target, table, target, write  # noqa: E402
from stage import OPERATOR, Stage, stage  # noqa: E402

from mlprivacy.cel.pool import CelPool  # noqa: E402
from mlprivacy.policy.custom import Expression, Key, document  # noqa: E402
from mlprivacy.policy.engine import _resolved, evaluate, parse_job  # noqa: E402
from mlprivacy.policy.facts import Facts  # noqa: E402
from mlprivacy.policy.packs import built_in_packs  # noqa: E402

ROUNDS, EACH = 9, 300
DATASETS = 5
JOBS = 10_000
CHANGED_EVERY = 20  # of the jobs whose decision a change of the pack makes another
EXPRESSIONS = (
    "true",
    "job.spec.purpose.startsWith('train')",
    "job.metadata.name.matches('^[a-z0-9-]{1,40}$')",
    "datasets.all(d, d.spec.columns.size() < 100)",
    "datasets.all(d, d.asked.columns.all(c, d.spec.columns.exists(k, k.name == c)))",
    "classes.all(c, c.spec.sensitivity in ['Public', 'Internal', 'Confidential', 'Restricted'])",
    "has(job.spec.privacy) && job.spec.privacy.epsilon <= 8.0",
    "namespaceObject.metadata.labels.size() > 0",
    "!has(job.spec.activeDeadlineSeconds) || job.spec.activeDeadlineSeconds < 86400",
    "timestamp(now) < timestamp('2100-01-01T00:00:00Z')",
)
PACK = """
name: acme
version: "{version}"
title: Ours
notice: Not legal advice.
rules:
  - {{id: consent-valid, citations: [ours]}}
{more}"""


def told(what: str) -> None:
    """Progress on the screen."""
    print(what, flush=True)


# -- one decision ------------------------------------------------------------------------------------------------------


def laws() -> Raw:
    """A policy with every pack that ships."""
    return policy(packs=[{"name": name} for name in built_in_packs()])


def five(**fields: Any) -> Raw:
    """A job on five datasets of another namespace."""
    return training_job(datasets=[asked(name=f"visits-{n}", mountPath=f"/data/{n}", **fields) for n in range(DATASETS)])


def facts_for_five(**spec: Any) -> Facts:
    """Five datasets, one grant, all packs."""
    sets = [dataset(f"visits-{n}", **spec) for n in range(DATASETS)]
    granted = grant(to=[grant_to(name=f"visits-{n}") for n in range(DATASETS)])
    return facts_of([*clinic_world(), *sets, granted, laws()], audit_retention_days=2192, attestations={})


def scenarios() -> dict[str, tuple[Raw, Facts]]:
    """A usual job, one of which nearly everything is wrong, one without special categories."""
    plain = {"uses": [use()], "columns": [{"name": n, "dataClass": "demographic"} for n in ("age", "diagnosis", "id")]}
    wrong = change(change(five(), "spec.purpose", "advertising"), "spec.privacy.epsilon", 50)
    wrong["spec"]["template"]["spec"] |= {"hostNetwork": True, "containers": [{"name": "a", "image": "x:latest"}]}
    return {
        "usual": (five(), facts_for_five()),
        "wrong": (wrong, facts_for_five(retention={"until": "2020-01-01"})),
        "plain": (five(), facts_for_five(**plain)),
    }


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not pass."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def decisions(details: dict[str, Any]) -> list[Target]:
    """p99 of each scenario, in interleaved rounds; the collector of garbage runs, as in the processes."""
    cases = scenarios()
    wall: dict[str, list[float]] = {name: [] for name in cases}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    middle: dict[str, list[float]] = {name: [] for name in cases}
    for job, facts in cases.values():
        for _ in range(50):
            evaluate(job, facts)
    gc.collect()
    gc.freeze()
    for _ in range(ROUNDS):
        for name, (job, facts) in cases.items():
            took, used = [], []
            for _ in range(EACH):
                begun, ran = time.perf_counter(), time.thread_time()
                evaluate(job, facts)
                used.append((time.thread_time() - ran) * 1000)
                took.append((time.perf_counter() - begun) * 1000)
            wall[name].append(percentile(took, 0.99))
            cpu[name].append(percentile(used, 0.99))
            middle[name].append(statistics.median(took))
    gc.unfreeze()
    details["evaluate"] = {
        name: {
            "verdict": evaluate(job, facts).verdict.value,
            "findings": len(evaluate(job, facts).findings),
            "medianMs": round(statistics.median(middle[name]), 3),
            "p99CpuMs": [round(v, 3) for v in cpu[name]],
            "p99WallMs": [round(v, 3) for v in wall[name]],
        }
        for name, (job, facts) in cases.items()
    }
    worst_cpu = max(cpu, key=lambda name: statistics.median(cpu[name]))
    worst_wall = max(wall, key=lambda name: statistics.median(wall[name]))
    return [
        target(f"evaluate, {DATASETS} datasets, all packs ({worst_cpu}): p99 of CPU", "ms", 2, "lower", cpu[worst_cpu]),
        target(f"evaluate, the same ({worst_wall}): p99 of time", "ms", 2, "lower", wall[worst_wall]),
    ]


# -- custom rules ------------------------------------------------------------------------------------------------------


def custom_rules(details: dict[str, Any]) -> list[Target]:
    """Ten rules over documents that were not seen before, so that none is remembered; and one rule alone."""
    job, facts = scenarios()["usual"]
    kind, parsed = parse_job(job)
    case = _resolved(kind, parsed, parsed.spec, facts)[0]
    rules = tuple(Expression(Key("policy", f"rule-{n}"), text) for n, text in enumerate(EXPRESSIONS))
    numbers = itertools.count()

    def fresh() -> dict[str, Any]:
        return document(case, change(job, "metadata.annotations", {"n": str(next(numbers))}))

    ten: list[float] = []
    one: list[float] = []
    with CelPool() as pool:
        begun = time.perf_counter()
        answers = pool.evaluate(rules, fresh())
        first = (time.perf_counter() - begun) * 1000
        for _ in range(ROUNDS):
            for chosen, times in ((rules, ten), (rules[4:5], one)):
                documents = [fresh() for _ in range(30)]
                begun = time.perf_counter()
                for item in documents:
                    pool.evaluate(chosen, item)
                times.append((time.perf_counter() - begun) * 1000 / 30 / len(chosen))
    details["custom"] = {
        "firstWithTheWorkersStartMs": round(first, 1),
        "answers": {key.rule: str(answer) for key, answer in answers.items()},
        "documentBytes": len(str(fresh())),
    }
    return [
        target("each of ten custom rules over a new document", "ms", 1, "lower", ten),
        target("one custom rule alone over a new document", "ms", 1, "lower", one),
    ]


# -- 10,000 jobs -------------------------------------------------------------------------------------------------------


def world(jobs: int) -> list[Raw]:
    """Jobs in twenty namespaces on 300 datasets: refused, held, and allowed but suspended; every one under the pack."""
    places = [f"team-{n}" for n in range(20)]
    labels = {"mlprivacy.dev/enforce": "enforce"}
    objects: list[Raw] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels | {"name": name}}}
        for name in places
    ]
    objects += [data_class(), health_class(), data_class("direct-identifier", categories=["user.unique_id"])]
    objects += [dataset(f"data-{n}", places[n % 20], uses=[use()], columns=columns(n)) for n in range(300)]
    objects += [policy("ours", packs=[{"name": "acme"}]), pack(1)]
    for n in range(jobs):
        kind = ("refused", "held", "suspended")[n % 3]
        used = asked(name=f"data-{n % 300}" if kind != "held" else f"missing-{n % 300}", columns=["age"])
        del used["namespace"]
        job = training_job(f"job-{n}", places[n % 20], datasets=[used], suspend=True)
        job["metadata"]["uid"] = f"uid-{n}"
        if kind == "refused":
            job["spec"]["purpose"] = "advertising"
        if n % CHANGED_EVERY == 0:
            job["spec"]["highRisk"] = {}
        objects.append(job)
    return objects


def columns(number: int) -> list[Raw]:
    """The columns of a dataset, wide as those of usual ones."""
    more = [{"name": f"value_{n}", "dataClass": "demographic"} for n in range(number % 20)]
    ids = {"name": "patient_id", "dataClass": "direct-identifier"}
    return [ids, {"name": "age", "dataClass": "demographic"}, *more]


def pack(version: int, *, strict: bool = False) -> Raw:
    """The ConfigMap of the pack; the strict one asks for a rule that some of the jobs do not meet."""
    more = "  - {id: high-risk-ai, action: Deny, citations: [ours]}\n" if strict else ""
    text = PACK.format(version=version, more=more)
    metadata = {"name": "acme", "namespace": OPERATOR, "labels": {"mlprivacy.dev/pack": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"pack.yaml": text}}


def resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20


async def change_of(on: Stage, raw: Raw) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, jobs looked at and jobs written after one change."""
    on.looked.clear()
    before = on.api.writes["patch", "TrainingJob"]
    begun, used = time.perf_counter(), time.process_time()
    on.put(raw)
    await on.settled(600)
    took, cpu = time.perf_counter() - begun, time.process_time() - used
    return took, cpu, len(on.jobs_looked_at()), on.api.writes["patch", "TrainingJob"] - before


async def reevaluation(jobs: int, details: dict[str, Any]) -> list[Target]:
    """A change that changes no decision, one that changes some, and back, three times."""
    empty = resident()
    same: list[float] = []
    some: list[float] = []
    needless: list[float] = []
    wrong = 0
    raw: list[Any] = []
    sizes: list[float] = []
    async with stage(world(jobs), NOW) as on:
        on.collector.keep = on.api.keep_events = False
        sizes.append(resident())
        details["jobs"] = jobs
        for number in range(3):
            steps: list[tuple[str, Callable[[], Raw], list[float]]] = [
                ("nothing", lambda n=number: pack(10 * n + 2), same),
                ("some", lambda n=number: pack(10 * n + 3, strict=True), some),
                ("back", lambda n=number: pack(10 * n + 4), some),
            ]
            for what, make, times in steps:
                took, cpu, looked, written = await change_of(on, make())
                times.append(took)
                expected = 0 if what == "nothing" else len(range(0, jobs, CHANGED_EVERY))
                needless.append(float(max(0, written - expected)))
                wrong += abs(written - expected) + abs(looked - jobs)
                raw.append({"change": what, "seconds": round(took, 2), "cpu": round(cpu, 2), "written": written})
                told(f"round {number}, {what}: {looked} jobs in {took:.1f} s ({cpu:.1f} s of CPU), {written} written")
            sizes.append(resident())
        index, states = len(on.controller._index._jobs), len(on.controller._index._shared)
    details["reevaluation"] = {
        "rounds": raw,
        "objectsJobsRestOn": index,
        "differentSetsOfDependencies": states,
        "residentMiB": {"before": round(empty, 1), "afterEachRound": [round(s, 1) for s in sizes]},
        "jobsLookedAtOrWrittenWrongly": wrong,
    }
    return [
        target(f"{jobs} jobs after a pack change that changes no decision", "s", 60, "lower", same),
        target(f"{jobs} jobs after one that changes every {CHANGED_EVERY}th", "s", 60, "lower", some),
        Target("writes of jobs whose decision is the same", "writes", 0, max(needless), "lower", tuple(needless)),
        Target("memory grown over nine changes", "MiB", 32, round(sizes[-1] - sizes[0], 1), "lower"),
    ]


def main() -> int:
    """Run it; 1 when it did not get to its end."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    details: dict[str, Any] = {}
    targets = decisions(details)
    told(table([{**vars(t), "met": t.met} for t in targets]))
    targets += custom_rules(details)
    targets += asyncio.run(reevaluation(jobs, details))
    path = write("policy", targets, details)
    print(table([{**vars(t), "met": t.met} for t in targets]))
    print(f"details: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
