"""A training job on a real kubelet, from the apply to the end: order, confinement, evidence."""

import json
from typing import Any

import pytest

from mlprivacy.api import names
from node.operator import NAMESPACE, Operator
from node.world import World, condition

LOOK_AROUND = """
import os, json, pathlib
def writable(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
        return True
    except OSError:
        return False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    "root": writable("/"), "usr": writable("/usr"), "tmp": writable("/tmp"), "output": writable("/output"),
    "data": os.path.isdir("/data/visits") and not writable("/data/visits"),
    "sidecar_log": os.path.exists("/var/lib/mlprivacy"),
    "socket": sorted(os.listdir("/var/run/mlprivacy")),
    "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith("CapEff")][0],
    "no_new_privileges": [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")][0],
    "seccomp": [l.split()[1] for l in open("/proc/self/status") if l.startswith("Seccomp:")][0],
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
}))
"""


def records(operator: Operator, kind: str) -> list[dict[str, Any]]:
    """Audit records of this kind, read in the collector's pod."""
    program = (
        "import json,pathlib\n"
        "for p in sorted(pathlib.Path('/var/lib/mlprivacy').rglob('*.jsonl')):\n"
        "  for l in p.read_text().splitlines():\n"
        f"    if json.loads(l)['kind']=={kind!r}: print(l)\n"
    )
    done = operator.cluster.kubectl("exec", "mlprivacy-collector-0", "-n", NAMESPACE, "--", "python3", "-c", program)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def finished(operator: Operator) -> Any:
    """One job that looked around and ended well: its world, the job, its pod, and what its program saw."""
    world = World(operator)
    world.apply(world.training_job(LOOK_AROUND))
    job = world.until("Completed", "True")
    pod = world.pods()[0]
    yield world, job, pod, json.loads(world.log(pod["metadata"]["name"], "trainer"))
    world.close()


def test_it_runs_to_its_end_and_says_so(finished: Any) -> None:
    _, job, pod, _ = finished
    assert condition(job, "Accepted")["status"] == "True"
    assert condition(job, "ControlsReady")["status"] == "True"
    assert condition(job, "Ready")["status"] == "True"
    assert job["status"]["assurance"]["achieved"] == "Declared"
    assert pod["status"]["phase"] == "Succeeded"


def test_the_program_starts_after_the_seal_and_the_accountant(finished: Any) -> None:
    pod = finished[2]
    seal, accountant = pod["status"]["initContainerStatuses"][:2]
    trainer = pod["status"]["containerStatuses"][0]
    assert seal["name"] == names.CONTAINER_SEAL
    assert seal["state"]["terminated"]["exitCode"] == 0
    began = accountant["state"].get("terminated", accountant["state"].get("running"))["startedAt"]
    assert seal["state"]["terminated"]["finishedAt"] <= began <= trainer["state"]["terminated"]["startedAt"]


def test_the_program_is_confined(finished: Any) -> None:
    seen = finished[3]
    assert (seen["uid"], seen["gid"]) == (names.UID_WORKLOAD, names.GID_POD)
    assert seen["token"] is False
    assert (seen["root"], seen["usr"]) == (False, False)
    assert (seen["tmp"], seen["output"]) == (True, True)
    assert seen["data"] is True
    assert seen["sidecar_log"] is False
    assert int(seen["capabilities"], 16) == 0
    assert (seen["no_new_privileges"], seen["seccomp"]) == ("1", "2")
    assert seen["processes"] == [1]  # nothing of its neighbours


def test_the_accountants_socket_is_all_it_sees_of_the_sidecar(finished: Any) -> None:
    assert len(finished[3]["socket"]) == 1


def test_seal_and_log_are_on_record(finished: Any, operator: Operator) -> None:
    uid = finished[2]["metadata"]["uid"]
    seals = [r for r in records(operator, "seal") if r["subject"]["uid"] == uid]
    assert len(seals) == 1
    assert [r for r in records(operator, "sidecar") if r["subject"]["uid"] == uid]


def test_the_audit_log_verifies_where_it_lies(finished: Any, operator: Operator) -> None:
    done = operator.cluster.kubectl(
        "exec", "mlprivacy-collector-0", "-n", NAMESPACE, "--", "mlprivacy", "verify", "/var/lib/mlprivacy"
    )
    assert "0 problems" in done.stdout
