"""The native sidecar in a real pod: it gates the program, survives its own death, and leaves at once when told."""

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

from mlprivacy.api import names
from node.cluster import NodeCluster
from node.world import World, eventually

WAIT = "import time\nprint('training', flush=True)\ntime.sleep(600)\n"
LEAVE = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + WAIT


def process_of(node: NodeCluster, pod: dict, word: str) -> int:
    """The pid, on the machine, of the process of this pod whose command line holds a word."""
    uid = pod["metadata"]["uid"]
    for pid in node.sandbox.group.pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            continue
        if uid in groups and word.encode() in command:
            return pid
    raise LookupError(f"no process {word} of pod {uid}")


def sidecar_status(world: World, pod: str) -> dict:
    statuses = world.get("pods", pod)["status"]["initContainerStatuses"]
    return next(s for s in statuses if s["name"] == names.CONTAINER_ACCOUNTANT)


def test_it_comes_back_after_kill_9_and_its_log_goes_on(world: World, own_node: NodeCluster) -> None:
    world.apply(world.training_job(WAIT))
    pod = world.governed_pod()
    name = pod["metadata"]["name"]
    world.said(name, "training", "trainer")
    os.kill(process_of(own_node, pod, "accountant"), signal.SIGKILL)

    eventually(lambda: sidecar_status(world, name)["restartCount"] == 1, "the kubelet to start it again")
    eventually(lambda: sidecar_status(world, name).get("started"), "its startup probe to pass again")
    assert world.get("pods", name)["status"]["phase"] == "Running"
    log = process_of(own_node, pod, "accountant")
    lines = [
        json.loads(line)
        for path in sorted(Path(f"/proc/{log}/root/var/lib/mlprivacy").rglob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert [line["kind"] for line in lines].count("started") == 2
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))  # one chain, nothing lost


def test_a_deleted_pod_is_gone_within_two_seconds_of_its_program(world: World) -> None:
    world.apply(world.training_job(LEAVE))
    pod = world.governed_pod()
    name = pod["metadata"]["name"]
    world.said(name, "training", "trainer")
    began = time.monotonic()
    # By an administrator: what is measured is how the processes end, with the grace period that the operator gave.
    world.delete("pod", name)
    ended: list[dict] = []

    def gone() -> bool:
        found = world.get("pods", name)
        if found is not None:
            ended[:] = [found]
        return found is None

    eventually(gone, "the pod to go", seconds=25, interval=0.05)
    took = time.monotonic() - began
    assert took < names_grace(pod), f"{took:.1f} s, the grace period: the sidecar did not heed SIGTERM"
    statuses = {
        s["name"]: s["state"]["terminated"]
        for s in [*ended[0]["status"]["initContainerStatuses"], *ended[0]["status"]["containerStatuses"]]
        if "terminated" in s["state"]
    }
    if names.CONTAINER_ACCOUNTANT in statuses and "trainer" in statuses:
        trainer, sidecar = (
            datetime.fromisoformat(statuses[n]["finishedAt"]) for n in ("trainer", names.CONTAINER_ACCOUNTANT)
        )
        assert (sidecar - trainer).total_seconds() <= 2


def names_grace(pod: dict) -> float:
    """The pod's grace period in seconds."""
    return float(pod["spec"]["terminationGracePeriodSeconds"])


def test_the_accountant_hears_the_trainer_and_nobody_else(world: World) -> None:
    program = """
import json, socket, os
path = [os.path.join("/var/run/mlprivacy", n) for n in os.listdir("/var/run/mlprivacy")][0]
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.connect(path)
s.sendall(json.dumps({"type": "step", "step": 1}).encode() + b"\\n")
s.settimeout(5)
print("answer", s.recv(4096).decode())
"""
    world.apply(world.training_job(program))
    world.until("Completed", "True")
    assert "answer" in world.log(world.pods()[0]["metadata"]["name"], "trainer")
