"""The ledger of the privacy budget: appends a second on a real API server, by one writer, each durable.

    budget_append.py

Real: the API server with the product's definition (its schema and its CEL rules judge every entry), etcd on this
machine's disk with its fsync on, and all that an append does: the step is checked against the state, linked, hashed,
created, and added up. A third of the steps reserve at the 28 orders of a budget, a third bind a pod, a third commit.
In turn with them as many ConfigMaps of the same size are created the same way: what this server takes for any object.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "hack"), str(ROOT / "operator")]

import orjson  # noqa: E402 - the folders are put on the path first
from budget_ledger import BLOCKS, founding, jobs_of  # noqa: E402
from results import table, target, write  # noqa: E402

from controlplane import ControlPlane  # noqa: E402
from controlplane.processes import Process  # noqa: E402
from mlprivacy.budget.ledger.append import Ledger  # noqa: E402
from mlprivacy.kube.client import KubeClient  # noqa: E402
from mlprivacy.kube.ledgerlog import ApiLedgerLog  # noqa: E402
from mlprivacy.kube.resources import CONFIGMAPS  # noqa: E402

ROUNDS, TURNS, APPENDS = 6, 8, 40  # in turn with as many ConfigMaps, so that a busy machine slows both alike
DEFINITION = ROOT / "crds" / "mlprivacy.dev_ledgerentries.yaml"


class DurableControlPlane(ControlPlane):
    """Its etcd syncs every write, as etcd does unless told otherwise."""

    def _spawn(self, name: str, argv: list[str]) -> Process:
        return super()._spawn(name, [word for word in argv if word != "--unsafe-no-fsync"])


async def measure(cluster: ControlPlane) -> dict[str, Any]:
    """Rounds of appends and of ConfigMaps, one after the other."""
    cluster.kubectl("apply", "--server-side", "-f", str(DEFINITION))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/ledgerentries.mlprivacy.dev")
    async with await KubeClient.connect(str(cluster.kubeconfig)) as client:
        ledger = Ledger(ApiLedgerLog(client), "clinic-patients", "controller", lambda: datetime.now(UTC))
        for step in founding():
            await ledger.append([step])
        steps = jobs_of(Random(6))  # noqa: S311 - jobs of a benchmark
        rounds: list[dict[str, float]] = []
        for number in range(ROUNDS):
            appending = creating = size = 0.0
            for turn in range(TURNS):
                sizes, begun = [], time.perf_counter()
                for _ in range(APPENDS):
                    appended = await ledger.append([next(steps)])
                    assert appended.entry is not None
                    sizes.append(len(orjson.dumps(appended.entry.spec)))
                appending += time.perf_counter() - begun
                maps = [config_map(f"m-{number}-{turn}-{index}", one) for index, one in enumerate(sizes)]
                begun = time.perf_counter()
                for one in maps:
                    await client.create(CONFIGMAPS, one)
                creating += time.perf_counter() - begun
                size += sum(sizes)
            total = TURNS * APPENDS
            rounds.append({"appends": total / appending, "creates": total / creating, "bytes": size / total})
            print(f"round {number + 1}: {rounds[-1]}", flush=True)
    return {"rounds": rounds[1:], "warmUp": rounds[0]}


def config_map(name: str, size: int) -> dict[str, Any]:
    """A ConfigMap that holds so many bytes."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"x": "x" * size},
    }


def main() -> int:
    """Run all rounds and print the table."""
    with tempfile.TemporaryDirectory() as folder, DurableControlPlane(Path(folder), nodes=0) as cluster:
        found = asyncio.run(measure(cluster))
    rounds = found["rounds"]
    targets = [
        target("Ledger: appends on the real API server", "1/s", 50, "higher", [one["appends"] for one in rounds])
    ]
    ratio = statistics.median(one["appends"] / one["creates"] for one in rounds)
    print(f"{ratio:.2f} appends in the time of one create of a ConfigMap of that size")
    write("budget_append", targets, {**found, "appendsPerCreate": round(ratio, 3), "blocks": BLOCKS})
    print(table([{**vars(one), "met": one.met} for one in targets]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
