"""A control plane with the operator on it and a small lawful world, for the controller's benchmark."""

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from controlplane import ControlPlane
from devstack import DevStack
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError
from mlprivacy.kube.resources import CONSENTSCOPES, DATACLASSES, DATASETS, NAMESPACES, TRAININGJOBS

HOME = "bench"
STAMP = {"mlprivacy.dev/requested-by": "admin"}  # admission is not measured here, and its stamp is demanded by a guard
IMAGE = "registry.example/trainer@sha256:" + "c" * 64


@contextlib.contextmanager
def operator(directory: Path) -> Iterator[DevStack]:
    """Controller and collector; pods run for ten minutes."""
    with (
        ControlPlane(directory / "cluster", run_seconds=600, nodes=3) as cluster,
        DevStack(
            cluster,
            directory / "operator",
            components=("controller", "collector"),
            values={"webhooks": {"enabled": False}},
            extra={"collector": ["--simulated-nodes"]},
        ) as stack,
    ):
        yield stack


def job(name: str, kind: str) -> Object:
    """A TrainingJob of about 3 kB that will be `allowed`, `refused`, `held` or `suspended`."""
    settings = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(24)]
    container = {"name": "trainer", "image": IMAGE, "command": ["python", "/app/train.py"], "env": settings}
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": HOME, "annotations": STAMP},
        "spec": {
            "purpose": "marketing" if kind == "refused" else "train_ai_system",
            "datasets": [
                {
                    "name": "absent" if kind == "held" else f"visits-{sum(name.encode()) % 300}",
                    "columns": ["age"],
                    "mountPath": "/data/visits",
                }
            ],
            "privacy": {
                "mechanism": "DPSGD", "epsilon": 3, "delta": 1e-8, "batchSize": 256, "epochs": 10, "maxGradNorm": 1.0,
            },
            "suspend": kind == "suspended",
            "template": {"spec": {"containers": [container]}},
        },
    }  # fmt: skip


async def lawful_world(client: KubeClient) -> None:
    """A governed namespace with a class, a scope and 300 datasets."""

    def ours(kind: str, name: str, spec: Object, namespace: str | None = HOME) -> Object:
        metadata: Object = {"name": name, "annotations": STAMP, **({"namespace": namespace} if namespace else {})}
        return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    labels = {"mlprivacy.dev/enforce": "enforce"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME, "labels": labels}}
    await client.create(NAMESPACES, namespace)
    klass = {"categories": ["user.demographic"], "sensitivity": "Internal"}
    await client.create(DATACLASSES, ours("DataClass", "demographic", klass, None))
    scope = {
        "purposes": ["train_ai_system"], "processing": ["Training"], "dataClasses": ["demographic"], "version": "1",
        "noticeURL": "https://clinic.example/notice", "registry": {"embedded": {}}, "acceptedVersions": ["1"],
    }  # fmt: skip
    await client.create(CONSENTSCOPES, ours("ConsentScope", "research", scope))
    use = {
        "purpose": "train_ai_system", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-a",
        "consentScope": "research",
    }  # fmt: skip
    for number in range(300):
        spec = {
            "identity": f"urn:bench:visits-{number}",
            "source": {"uri": f"s3://bench/visits-{number}/*.parquet", "format": "Parquet"},
            "subjects": {"column": "patient_id", "kind": "patient", "atLeast": 200_000},
            "columns": [{"name": n, "dataClass": "demographic"} for n in ("patient_id", "age")],
            "uses": [use],
        }
        await client.create(DATASETS, ours("Dataset", f"visits-{number}", spec))


class Watch:
    """When each job was first seen decided, and first seen started, by the clock of this process."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.decided: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.gone: set[str] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Watch"]:
        version = ""
        async for page in self._client.list_pages(TRAININGJOBS, HOME, metadata_only=True):
            version = page.resource_version
        task = asyncio.create_task(self._follow(version))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, version: str) -> None:
        async for event in self._client.watch(TRAININGJOBS, HOME, resource_version=version, timeout_seconds=3600):
            now, obj = time.perf_counter(), event["object"]
            name, status = obj["metadata"].get("name", ""), obj.get("status") or {}
            if event["type"] == "DELETED":
                self.gone.add(name)
            if any(c["type"] == "Accepted" for c in status.get("conditions") or []):
                self.decided.setdefault(name, now)
            if status.get("startedAt"):
                self.started.setdefault(name, now)


async def create_all(client: KubeClient, jobs: list[Object], together: int = 16) -> dict[str, float]:
    """Create jobs, so many requests at a time; when each was sent."""
    sent: dict[str, float] = {}
    gate = asyncio.Semaphore(together)

    async def one(obj: Object) -> None:
        async with gate:
            sent[obj["metadata"]["name"]] = time.perf_counter()
            await client.create(TRAININGJOBS, obj)

    await asyncio.gather(*(one(obj) for obj in jobs))
    return sent


async def until(look: Any, seconds: float, what: str) -> None:
    """Wait for a true answer. Raises TimeoutError that says for what."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(0.05)


async def delete_all(client: KubeClient, watch: Watch, names: list[str]) -> None:
    """Delete jobs and wait until all are gone."""
    gate = asyncio.Semaphore(16)

    async def one(name: str) -> None:
        async with gate:
            with contextlib.suppress(ApiError):
                await client.delete(TRAININGJOBS, name, HOME)

    await asyncio.gather(*(one(name) for name in names))
    await until(lambda: watch.gone >= set(names), 300, "jobs to be gone")


def scrape(stack: DevStack) -> dict[str, float]:
    """The controller's metrics."""
    url = f"http://127.0.0.1:{stack.ports['health-controller']}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process now and at its peak, MiB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
