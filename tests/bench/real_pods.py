"""What the controls cost on a real node: start latency of a governed pod against a plain one, memory of the whole.

Interleaved, one pod at a time, median of ROUNDS. A pod's start is counted from the API server's receipt of its create
(audit log, microseconds) to the first line of its program (the same machine's clock).
"""

import shutil
import statistics
import sys
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "hack")]

from results import Target, target, write  # noqa: E402 - the folders are put on the path first

from mlprivacy.api import names  # noqa: E402
from node.cluster import NodeCluster, temporary_directory  # noqa: E402
from node.operator import Operator  # noqa: E402
from node.requirements import unsupported  # noqa: E402
from node.world import World  # noqa: E402

ROUNDS = 20
PROGRAM = "import time\nprint('began', time.time(), flush=True)\n"


def created(cluster: NodeCluster, world: World, pod: str) -> float:
    """When the API server received the create of this pod, in seconds since 1970."""
    # The audit log names a pod of a Job by its generated name only in the answer, so the newest create is taken.
    events = [
        e
        for e in cluster.audit_events(verb="create", resource="pods", namespace=world.namespace, code=201)
        if e.name in ("", pod)
    ]
    return events[-1].received.timestamp()


def began(world: World, pod: str, container: str) -> float:
    return float(world.said(pod, "began", container).split()[1])


def last_line(world: World, pod: str, container: str) -> float:
    """When a container wrote its last line, by the runtime's clock."""
    text = world.cluster.kubectl("logs", pod, "-n", world.namespace, "-c", container, "--timestamps").stdout
    stamp = text.strip().splitlines()[-1].split()[0]
    return datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp()


def main() -> int:
    """Measure and write build/bench/real_pods.json; 0, also where no node can run (then nothing is written)."""
    if why := unsupported():
        print(f"left out: {why}")
        return 0
    directory = temporary_directory()
    try:
        with NodeCluster(directory, say=print) as cluster:
            return _measure(cluster)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(cluster: NodeCluster) -> int:
    operator = Operator(cluster, say=print)
    operator.install()
    world, street = World(operator), World(operator, None)
    plain, governed, sealed, rest = [], [], [], []
    for number in range(ROUNDS):
        name = f"plain-{number}"
        street.apply(street.plain_pod(PROGRAM, name))
        plain.append(began(street, name, "main") - created(cluster, street, name))
        job = f"study-{number}"
        world.apply(world.training_job(PROGRAM, job))
        world.until("Completed", "True", look=lambda job=job: world.job(job))
        pod = world.pods(f"{names.LABEL_TRAINING_JOB}={job}")[0]["metadata"]["name"]
        start, program = created(cluster, world, pod), began(world, pod, "trainer")
        seal = last_line(world, pod, names.CONTAINER_SEAL)
        governed.append(program - start)
        sealed.append(seal - start)
        rest.append(program - seal)
        print(f"round {number}: plain {plain[-1]:.2f} s, governed {governed[-1]:.2f} s", flush=True)
    memory = cluster.memory_bytes() / (1 << 30)
    added = [g - p for g, p in zip(governed, plain, strict=True)]
    targets: list[Target] = [
        target("start of a governed pod, added to a plain one's", "s", 3.0, "lower", added),
        target("memory of node, control plane, operator and pods", "GiB", 1.6, "lower", [memory]),
    ]
    details = {
        "plainSeconds": plain,
        "governedSeconds": governed,
        "medians": {
            "plain": statistics.median(plain),
            "governed until the seal probe has ended": statistics.median(sealed),
            "from there to the program: accountant started and found ready, program started": statistics.median(rest),
        },
    }
    print(f"details: {write('real_pods', targets, details)}")
    world.close()
    street.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
