"""What admission adds to a create through the real API server, beside a namespace that no webhook matches.

    python tests/bench/admission_apiserver.py                  writes build/bench/admission_apiserver.json
    python tests/bench/admission_apiserver.py engines          one handler under aiohttp and under granian (HTTP/2)

One client creates and deletes; rounds are interleaved. The guard policies are off: this is the cost of the webhook.
Pods are compared with a namespace without the label; TrainingJobs with the operator's own namespace, which every
webhook leaves out. CPU is that of the admission process alone, memory its resident set at the end.
"""

import asyncio
import contextlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "hack")]

from admission_samples import governed_pod, pod, training_job  # noqa: E402
from processes import cpu_seconds, resident_mib  # noqa: E402
from results import Target, table, target, write  # noqa: E402

from controlplane.cluster import ControlPlane  # noqa: E402
from controlplane.processes import Process  # noqa: E402
from mlprivacy.kube.client import KubeClient  # noqa: E402
from mlprivacy.kube.resources import PODS, TRAININGJOBS, Resource  # noqa: E402

ROUNDS: Final = 5
CREATES: Final = 40  # of each kind in each round
FREE: Final = "ungoverned"
EXCLUDED: Final = "mlprivacy-system"


def lab_module() -> ModuleType:
    """The lab of the cluster tests."""
    spec = importlib.util.spec_from_file_location("admission_lab", ROOT / "tests" / "cluster" / "admission" / "lab.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("tests/cluster/admission/lab.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["admission_lab"] = module
    spec.loader.exec_module(module)
    return module


async def creates(client: KubeClient, resource: Resource, obj: dict[str, Any], label: str) -> list[float]:
    """Milliseconds of each create; everything is deleted afterwards."""
    times: list[float] = []
    names = [f"{label}-{index}" for index in range(CREATES)]
    for name in names:
        body = {**obj, "metadata": {**obj["metadata"], "name": name}}
        begun = time.perf_counter()
        await client.create(resource, body)
        times.append((time.perf_counter() - begun) * 1000)
    for name in names:
        await client.delete(resource, name, obj["metadata"]["namespace"], grace_seconds=0)
    return times


async def rounds(kubeconfig: Path, process: Process) -> dict[str, dict[str, list[float]]]:
    """Added p50 and CPU per create, by kind, for every round."""
    found: dict[str, dict[str, list[float]]] = {k: {"added": [], "plain": [], "cpu": []} for k in ("pod", "job")}
    async with KubeClient(await credentials(kubeconfig)) as client:
        job = training_job()
        job["metadata"].pop("uid"), job["metadata"].pop("resourceVersion")
        stored = await client.create(TRAININGJOBS, job)
        decision = await decision_of(client, stored)
        pods = {"governed": governed_pod(stored, decision), "free": pod({"app": "sample"}, {}, namespace=FREE)}
        jobs = {"governed": job, "free": {**job, "metadata": {**job["metadata"], "namespace": EXCLUDED}}}
        for number in range(-1, ROUNDS):  # one to warm up
            for kind, resource, objs in (("pod", PODS, pods), ("job", TRAININGJOBS, jobs)):
                p50: dict[str, float] = {}
                for which in ("governed", "free") if number % 2 == 0 else ("free", "governed"):
                    cpu = cpu_seconds(process.pid)
                    label = f"{kind}-{which}-{number + 1}"
                    p50[which] = statistics.median(await creates(client, resource, objs[which], label))
                    if which == "governed" and number >= 0:
                        found[kind]["cpu"].append((cpu_seconds(process.pid) - cpu) / CREATES * 1000)
                if number >= 0:
                    found[kind]["added"].append(p50["governed"] - p50["free"])
                    found[kind]["plain"].append(p50["free"])
            print(f"round {number + 1} of {ROUNDS}", flush=True)
    return found


async def credentials(kubeconfig: Path) -> Any:
    """Of the administrator."""
    from mlprivacy.kube import credentials as known  # noqa: PLC0415

    return await known.load(str(kubeconfig))


async def decision_of(client: KubeClient, job: dict[str, Any]) -> str:
    """The digest that the admission process decides on, computed from the same objects."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from mlprivacy.kube.facts import FactStore  # noqa: PLC0415
    from mlprivacy.policy.engine import evaluate  # noqa: PLC0415

    store = FactStore(client)
    store.start()
    try:
        await store.wait_synced(30)
        return evaluate(job, await store.gather(job, datetime.now(UTC))).digest
    finally:
        await store.stop()


def measure(arguments: tuple[str, ...] = (), program: list[str] | None = None) -> tuple[dict[str, Any], float]:
    """All rounds against one admission process; `program` replaces the command that starts it."""
    module = lab_module()
    with tempfile.TemporaryDirectory() as name, ControlPlane(Path(name) / "cluster", run_seconds=600) as cluster:
        lab = module.Lab(cluster, Path(name) / "stack", arguments=arguments)
        try:
            lab.install()
            process = lab.start() if program is None else start_other(lab, program)
            lab.load()
            cluster.create_namespace(FREE)
            found = asyncio.run(rounds(cluster.kubeconfig, process))
            return found, resident_mib(process.pid)
        finally:
            lab.stack.stop()


def start_other(lab: Any, program: list[str]) -> Process:
    """Another server on the port of the webhooks, with the ServiceAccount's own token."""
    kubeconfig = lab.cluster.kubeconfig_for_service_account(EXCLUDED, "mlprivacy-admission")
    ports = lab.stack.ports
    argv = [
        *program,
        str(kubeconfig),
        str(ports["admission"]),
        str(ports["health-admission"]),
        str(lab.cluster.webhook_client_ca),
    ]
    process = Process("admission", argv, lab.stack.directory / "logs" / "other.log")
    process.start({**os.environ, "PYTHONUNBUFFERED": "1"})
    lab.stack.processes["admission"] = process
    lab.stack.wait_ready("admission")
    return process


def engines() -> None:
    """The two engines, one after the other, with and without uvloop."""
    shown: dict[str, Any] = {}
    other = [sys.executable, str(HERE / "admission_engine.py")]
    for name in ("aiohttp", "aiohttp-uvloop", "granian-h2"):
        found, memory = measure(program=[*other, name])
        shown[name] = {
            kind: {what: round(statistics.median(values), 3) for what, values in by.items()}
            for kind, by in found.items()
        } | {"MiB": round(memory, 1)}
        print(name, shown[name], flush=True)
    write("admission_engines", [], shown)


def main() -> None:
    """Measure, write and print."""
    found, memory = measure()
    pods, jobs = found["pod"], found["job"]
    targets: list[Target] = [
        target("through the API server: added p50 of a governed 8.6 kB pod", "ms", 1.4, "lower", pods["added"]),
        target("through the API server: added p50 of a TrainingJob", "ms", 3.7, "lower", jobs["added"]),
        target("through the API server: server CPU of a governed pod", "ms", 0.8, "lower", pods["cpu"]),
        target("through the API server: server CPU of a TrainingJob", "ms", 1.6, "lower", jobs["cpu"]),
        target("admission: resident memory", "MiB", 110.0, "lower", [memory]),
    ]
    details = {kind: {"p50 without a webhook": [round(x, 3) for x in by["plain"]]} for kind, by in found.items()}
    write("admission_apiserver", targets, details)
    print(table([vars(t) | {"met": t.met} for t in targets]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        engines() if sys.argv[1:] == ["engines"] else main()
