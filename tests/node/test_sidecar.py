"""The native sidecar in a real pod: it gates the program, survives its own death, and leaves at once when told.

The program beside it neither silences nor replaces it.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mlprivacy.api import names
from node.cluster import NodeCluster
from node.operator import Operator
from node.programs import client, takes
from node.world import World, condition, eventually

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
    return next(s for s in statuses if s["name"] != names.CONTAINER_SEAL)


class Impostor:
    """Its world, and all that was said of whether it runs, in order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[Mapping[str, Any]] = []
        self.over = threading.Event()
        self.watching = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.over.wait(0.5):
            running = condition(self.world.job(), "Running")
            if running and (not self.told or self.told[-1] != running):
                self.told.append(running)


@pytest.fixture(scope="module")
def impostor(operator: Operator) -> Iterator[Impostor]:
    """A trainer that answers the collector in the place of its accountant, which died and left it the port.

    It takes its time to be found out, so that it is begun here and other tests go on meanwhile.
    """
    world = World(operator)
    assert isinstance(world.cluster, NodeCluster)
    world.apply(world.training_job("import os\nos.environ['ATTEMPT'] = '@/1'\n" + takes(names.PORT_SIDECAR)))
    pod = world.governed_pod()
    name = pod["metadata"]["name"]
    world.said(name, "began", "trainer")
    world.until("Running", "True", "AttemptRunning")
    os.kill(process_of(world.cluster, pod, "accountant"), signal.SIGKILL)
    for word in ("TAKEN", "ASKED", "/heartbeat"):
        world.said(name, word, "trainer")
    found = Impostor(world)
    found.watching.start()
    yield found
    found.over.set()
    found.watching.join()
    world.close()


@pytest.fixture
def own_impostor(own_node: NodeCluster, impostor: Impostor) -> Impostor:
    """On a node whose processes are ours to kill."""
    return impostor


@pytest.fixture(scope="module", autouse=True)
def _begun(request: pytest.FixtureRequest) -> None:
    """What takes its time begins with the module, where a test of it is wanted."""
    if any("own_impostor" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("impostor")


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


def test_a_model_server_that_floods_its_gateway_does_not_get_its_port(worlds: Callable[..., World]) -> None:
    """It was: three failed liveness probes, and the program that had waited for it had the clients' port."""
    world, street = worlds(), worlds(None)
    world.apply(world.inference_job(takes(8080, names.PORT_SIDECAR)))
    pod = world.governed_pod()
    name, ip = pod["metadata"]["name"], pod["status"]["podIP"]
    world.said(name, "began", "server")
    street.apply(street.plain_pod(client(ip, 8080), "client"))
    street.said("client", "NoPolicyLoaded")
    world.until("Running", "True", "AttemptRunning", world.inference)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = sidecar_status(world, name)
        assert (status["restartCount"], status["ready"]) == (0, True)
        assert "PATIENT" not in street.log("client")
        time.sleep(2)
    assert "TAKEN" not in world.log(name, "server")
    running = condition(world.inference(), "Running")
    assert (running["status"], running["reason"]) == ("True", "AttemptRunning")  # the collector hears it all the time


def test_a_pod_whose_gateway_died_is_replaced_before_its_program_can_serve_for_long(
    worlds: Callable[..., World], own_node: NodeCluster
) -> None:
    world, street = worlds(), worlds(None)
    world.apply(world.inference_job(takes(8080, flood=0)))
    pod = world.governed_pod()
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    world.said(name, "began", "server")
    os.kill(process_of(own_node, pod, "gateway"), signal.SIGKILL)
    eventually(lambda: uid not in [p["metadata"]["uid"] for p in world.pods()], "the pod to go", seconds=30)
    other = world.governed_pod(not_uid=[uid])
    assert sidecar_status(world, other["metadata"]["name"])["restartCount"] == 0
    street.apply(street.plain_pod(client(other["status"]["podIP"], 8080), "client"))
    street.said("client", "NoPolicyLoaded")
    events = world.cluster.kubectl("get", "events", "-n", world.namespace, "-o", "json").stdout
    assert "GatewayRestarted" in events


def test_a_pod_that_only_carries_our_labels_is_not_asked_by_the_collector(street: World) -> None:
    """Nobody guards labels where nothing is governed: what answers there is neither signed for nor stored."""
    labels = {names.LABEL_RENDERED: "training", names.LABEL_JOB_UID: "u", names.LABEL_ATTEMPT: "1"}
    street.apply(street.plain_pod(takes(names.PORT_SEAL, names.PORT_SIDECAR, flood=0), "forged", labels))
    street.said("forged", "TAKEN")
    time.sleep(15)  # a pod that has begun nothing is asked four times a second
    assert "ASKED" not in street.log("forged")


def test_a_trainer_that_plays_its_accountant_is_not_believed_and_is_stopped(own_impostor: Impostor) -> None:
    world = own_impostor.world
    job = world.until("Suspended", "True", "SidecarSilent", seconds=180)
    assert condition(job, "Stalled")["reason"] == "SidecarSilent"
    eventually(lambda: not world.pods(), "its pod to be gone")
    assert job["status"]["attempt"] == 1
    # The program ran all the while, and the job said that nobody heard its sidecar.
    told = own_impostor.told
    unheard = next(i for i, one in enumerate(told) if "has not heard" in one["message"])
    assert told[unheard]["reason"] == "SidecarSilent"
    assert {one["status"] for one in told[: unheard + 1]} == {"True"}

    # Another attempt is a decision of people's.
    for suspend in ("true", "false"):
        world.cluster.kubectl("patch", "trainingjobs.mlprivacy.dev", "study", "-n", world.namespace, "--type=merge",
                              "-p", f'{{"spec": {{"suspend": {suspend}}}}}')  # fmt: skip
        if suspend == "true":
            world.until("Suspended", "True", "SuspendedByUser")
    eventually(lambda: world.job()["status"].get("attempt") == 2, "another attempt, which people decided on")
