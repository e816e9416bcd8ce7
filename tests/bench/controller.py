"""The controller on a real API server: decisions and renderings a second, time to a decision, memory, restart.

All on the machine's cores together: API server, etcd, collector, controller, simulated nodes and this load generator.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "hack"), str(ROOT / "operator")]

from controller_cluster import (  # noqa: E402 - the folders are put on the path first
    Watch,
    cpu_seconds,
    create_all,
    delete_all,
    job,
    lawful_world,
    memory,
    operator,
    scrape,
    until,
)
from results import Target, table, target, write  # noqa: E402

from devstack import DevStack  # noqa: E402
from mlprivacy.kube.client import KubeClient  # noqa: E402

ROUNDS = 5
DECIDED, RENDERED, ACTIVE = 300, 40, 200
KINDS = ("refused", "held", "suspended")


def told(what: str) -> None:
    """Progress on the screen."""
    print(what, flush=True)


async def throughput(client: KubeClient, stack: DevStack, details: dict[str, Any]) -> list[Target]:
    """Decisions a second without rendering, and renderings a second, in interleaved rounds."""
    pid = stack.processes["controller"].pid
    decisions: list[float] = []
    renderings: list[float] = []
    cpu: dict[str, list[float]] = {"decision": [], "rendering": []}
    async with Watch(client).running() as watch:
        for number in range(ROUNDS):
            for kind, count in (("decision", DECIDED), ("rendering", RENDERED)):
                kinds = KINDS if kind == "decision" else ("allowed",)
                jobs = [job(f"{kind}-{number}-{n}", kinds[n % len(kinds)]) for n in range(count)]
                names = {j["metadata"]["name"] for j in jobs}
                seen = watch.decided if kind == "decision" else watch.started
                used = cpu_seconds(pid)
                sent = await create_all(client, jobs)
                await until(lambda s=seen, n=names: s.keys() >= n, 300, f"{kind}s")
                took = max(seen[n] for n in names) - min(sent.values())
                (decisions if kind == "decision" else renderings).append(count / took)
                cpu[kind].append((cpu_seconds(pid) - used) / count * 1000)
                told(f"round {number}: {count / took:.0f} {kind}s a second")
                await delete_all(client, watch, sorted(names))
                await asyncio.sleep(1)
    details["controllerCpuMsEach"] = {kind: [round(v, 2) for v in values] for kind, values in cpu.items()}
    return [
        target("decisions a second, create to condition (refused, held, suspended)", "1/s", 100, "higher", decisions),
        target("jobs rendered a second, create to start", "1/s", 10, "higher", renderings),
    ]


async def latency(client: KubeClient, details: dict[str, Any]) -> Target:
    """Apply to decision at ten jobs a second, every fourth one rendered."""
    async with Watch(client).running() as watch:
        sent: dict[str, float] = {}
        begun = time.perf_counter()
        kinds = (*KINDS, "allowed")
        for number in range(200):
            obj = job(f"paced-{number}", kinds[number % 4])
            await asyncio.sleep(max(0.0, begun + number / 10 - time.perf_counter()))
            sent |= await create_all(client, [obj])
        await until(lambda: watch.decided.keys() >= sent.keys(), 120, "paced decisions")
        times = sorted(watch.decided[name] - at for name, at in sent.items())
        await delete_all(client, watch, list(sent))
    details["decisionSeconds"] = {
        "p50": round(times[100], 4),
        "p90": round(times[180], 4),
        "worst": round(times[-1], 4),
    }
    told(f"apply to decision: {details['decisionSeconds']}")
    return Target("apply to decision at 10 jobs/s, p99", "s", 1.0, round(times[197], 4), "lower")


async def scale(client: KubeClient, stack: DevStack, details: dict[str, Any]) -> list[Target]:
    """10,000 TrainingJobs, 200 of them active, on 300 datasets: memory, then a restart."""
    async with Watch(client).running() as watch:
        jobs = [job(f"active-{n}", "allowed") for n in range(ACTIVE)]
        jobs += [job(f"idle-{n}", KINDS[n % 3]) for n in range(10_000 - ACTIVE)]
        names = {j["metadata"]["name"] for j in jobs}
        sent = await create_all(client, jobs)
        await until(lambda: watch.decided.keys() >= names, 900, "10,000 decisions")
        details["tenThousandDecidedSeconds"] = round(max(watch.decided.values()) - min(sent.values()), 1)
        await until(lambda: len(watch.started) >= ACTIVE, 300, "active jobs")
    told(f"10,000 jobs decided in {details['tenThousandDecidedSeconds']} s")
    await asyncio.sleep(5)
    collector = memory(stack.processes["collector"].pid)
    grown = memory(stack.processes["controller"].pid)
    stack.end("controller")
    begun = time.perf_counter()
    process = stack.run("controller")
    stack.wait_ready("controller", 120)
    await until(lambda: _steady(stack), 300, "the controller to be steady")
    took = time.perf_counter() - begun
    await asyncio.sleep(3)
    metrics = scrape(stack)
    written = sum(v for k, v in metrics.items() if _patches(k))
    restarted = memory(process.pid)
    details["memoryMiB"] = {
        "grown": [round(v, 1) for v in grown],
        "restarted": [round(v, 1) for v in restarted],
        "collector": [round(v, 1) for v in collector],
    }
    details["restartCpuSeconds"] = round(cpu_seconds(process.pid), 1)
    told(f"memory {details['memoryMiB']}, steady after {took:.1f} s")
    peak = round(max(grown[1], restarted[1]), 1)
    return [
        Target("10,000 jobs, 200 active: controller's peak memory", "MiB", 256, peak, "lower"),
        Target("10,000 jobs: restart to steady", "s", 60, round(took, 1), "lower"),
        Target("10,000 jobs: status writes of a restart without changes", "writes", 0, written, "lower"),
    ]  # fmt: skip


def _steady(stack: DevStack) -> bool:
    try:
        metrics = scrape(stack)
    except OSError:
        return False
    decided = sum(v for k, v in metrics.items() if k.startswith("mlprivacy_controller_decisions_total"))
    return (
        metrics.get("mlprivacy_jobs") == 10_000
        and decided >= 10_000
        and not metrics['mlprivacy_queue_depth{queue="jobs"}']
    )


def _patches(series: str) -> bool:
    return series.startswith("mlprivacy_kube_requests_total") and "trainingjobs" in series and 'verb="PATCH"' in series


async def measure(stack: DevStack) -> None:
    """All parts, one after the other."""
    details: dict[str, Any] = {}
    async with await KubeClient.connect(str(stack.cluster.kubeconfig)) as client:
        await lawful_world(client)
        targets = await throughput(client, stack, details)
        targets.append(await latency(client, details))
        targets += await scale(client, stack, details)
    path = write("controller", targets, details)
    print(table([{**vars(t), "met": t.met} for t in targets]))
    print(f"details: {path.relative_to(ROOT)}")


def main() -> int:
    """Run it; 1 when it did not get to its end."""
    with tempfile.TemporaryDirectory(prefix="mlprivacy-bench-") as folder, operator(Path(folder)) as stack:
        asyncio.run(measure(stack))
    return 0


if __name__ == "__main__":
    sys.exit(main())
