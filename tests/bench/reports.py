"""Reports of 10,000 jobs, as full as they can be: what they cost the controller in memory, and each in etcd.

The same jobs without the definition first, then with it, then after a restart. On the machine's cores together. A
number as argument takes so many jobs instead.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "hack"), str(ROOT / "operator")]

from controller_cluster import (  # noqa: E402 - the folders are put on the path first
    HOME,
    create_all,
    job,
    lawful_world,
    memory,
    operator,
    scrape,
    until,
)
from results import Target, table, write  # noqa: E402

from devstack import DevStack  # noqa: E402
from mlprivacy.kube.client import KubeClient, Object  # noqa: E402
from mlprivacy.kube.resources import REPORTS  # noqa: E402

CRD = ROOT / "tests" / "cluster" / "controller" / "openreports-crd.yaml"
JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


def held(number: int) -> Object:
    """A job with more to say about it than a Report has room for."""
    made = job(f"held-{number}", "held")
    made["spec"]["datasets"] = [
        {"name": f"absent-{n}-{'x' * 50}", "columns": ["age"], "mountPath": f"/data/{n}"} for n in range(15)
    ]
    return made


async def decided(stack: DevStack) -> tuple[float, float]:
    """Memory once the queue is empty and every job was decided on."""

    def steady() -> bool:
        try:
            metrics = scrape(stack)
        except OSError:
            return False
        made = metrics.get('mlprivacy_controller_decisions_total{verdict="Hold"}', 0.0)
        idle = not metrics.get('mlprivacy_queue_depth{queue="jobs"}', 1.0)
        return metrics.get("mlprivacy_jobs") == JOBS and made >= JOBS and idle

    await until(steady, 1800, "the controller to be steady")
    await asyncio.sleep(5)
    await until(steady, 1800, "the controller to be steady")
    return memory(stack.processes["controller"].pid)


async def restarted(stack: DevStack) -> tuple[float, float]:
    """Memory of a controller that found everything there."""
    stack.end("controller")
    stack.run("controller")
    stack.wait_ready("controller", 240)
    return await decided(stack)


async def reports(client: KubeClient) -> tuple[int, int]:
    """How many there are, and the bytes of the largest, as JSON with all that the API server adds."""
    found, largest = 0, 0
    async for page in client.list_pages(REPORTS, HOME):
        found += len(page.items)
        largest = max(
            largest, *(len(json.dumps(o, ensure_ascii=False, separators=(",", ":")).encode()) for o in page.items), 0
        )
    return found, largest


async def measure(stack: DevStack) -> None:
    """Without the definition, with it, and with it after a restart."""
    details: dict[str, Any] = {}
    async with await KubeClient.connect(str(stack.cluster.kubeconfig)) as client:
        await lawful_world(client)
        await create_all(client, [held(n) for n in range(JOBS)])
        await decided(stack)
        before = await restarted(stack)
        print(f"without reports: {before} MiB", flush=True)
        began = time.perf_counter()
        stack.cluster.kubectl("apply", "-f", str(CRD))
        await until(lambda: scrape(stack).get('mlprivacy_reports_total{change="written"}') == JOBS, 1800, "all reports")
        details["writtenSeconds"] = round(time.perf_counter() - began, 1)
        grown = await decided(stack)
        count, largest = await reports(client)
        after = await restarted(stack)
        written = scrape(stack).get('mlprivacy_reports_total{change="written"}', 0.0)
    details["memoryMiB"] = {
        "without": [round(v, 1) for v in before],
        "grown": [round(v, 1) for v in grown],
        "restarted": [round(v, 1) for v in after],
    }
    details["reports"] = count
    print(f"{details}", flush=True)
    cost = round(max(grown[1], after[1]) - before[1], 1)
    targets = [
        Target(f"reports of {JOBS:,} jobs: controller's memory, peak over peak", "MiB", 160, cost, "lower"),
        Target("the largest report, as stored", "B", 6000, largest, "lower"),
        Target("reports written by a restart without changes", "writes", 0, written, "lower"),
    ]
    path = write("reports", targets, details)
    print(table([{**vars(t), "met": t.met} for t in targets]))
    print(f"details: {path.relative_to(ROOT)}")


def main() -> int:
    """Run it; 1 when it did not get to its end."""
    with tempfile.TemporaryDirectory(prefix="mlprivacy-bench-") as folder, operator(Path(folder)) as stack:
        asyncio.run(measure(stack))
    return 0


if __name__ == "__main__":
    sys.exit(main())
