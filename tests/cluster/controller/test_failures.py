"""Processes that die, an API server and a collector that are away, definitions that are missing.

On a control plane of its own, since its API server and its processes are ended. Nodes are simulated: a pod there
proves objects and their order, never a process.
"""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from controlplane.processes import Process
from devstack import DevStack
from mlprivacy.controller.writes import Write

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
HERE = Path(__file__).parent
LEASE = ("lease", "mlprivacy-controller", "mlprivacy-system")


class FragileStack(DevStack):
    """Its controller kills itself after each kind of write, while `fragile` is set."""

    fragile = False

    def run(self, component: str) -> Process:
        if component != "controller" or not self.fragile:
            return super().run(component)
        super().run(component).stop()
        process = self.processes[component]
        launcher = str(HERE / "killed_controller.py")
        process.argv = [sys.executable, launcher, *process.argv[process.argv.index("controller") :]]
        process.start({**os.environ, "KILLED_AFTER": str(self.directory / "killed-after")})
        return process


@pytest.fixture(scope="module")
def fragile(private_cluster, tmp_path_factory):
    """The whole operator."""
    folder = tmp_path_factory.mktemp("fragile")
    with FragileStack(private_cluster, folder, extra={"collector": ["--simulated-nodes"]}) as running:
        yield running


@pytest.fixture
def world(fragile, make_world):
    """A world on that control plane."""
    made = make_world(fragile.cluster)
    apply(made, made.klass(), made.scope(), made.dataset())
    yield made
    made.close()


def test_killed_after_every_kind_of_write_it_converges(fragile, make_world):
    """One life of a job, through which the controller dies once after each kind of write and is started again."""
    fragile.end("controller")
    fragile.fragile = True
    done = fragile.directory / "killed-after"

    def keep_alive():
        process = fragile.processes.get("controller")
        if process is None or not process.alive():
            fragile.run("controller")

    def eventually(look, what):
        return world.eventually(lambda: keep_alive() or look(), what)

    def attempt(number):
        def look():
            status = world.job().get("status") or {}
            running = world.condition(world.job(), "Running").get("status") == "True"
            return running and status.get("attempt") == number

        return look

    world = make_world(fragile.cluster)
    world.apply(budget_of(world))
    world.data()
    world.apply(world.training_job())
    eventually(attempt(1), "the first attempt")
    uid = world.job()["metadata"]["uid"]

    world.delete("consentscopes.mlprivacy.dev", "research")
    eventually(lambda: world.condition(world.job(), "Suspended").get("status") == "True", "the job stopped")
    world.apply(world.scope())
    eventually(attempt(2), "the second attempt")
    world.delete("trainingjobs.mlprivacy.dev", "study")
    eventually(lambda: not world.job(), "the job gone")
    eventually(lambda: set(done.read_text(encoding="utf-8").split()) == {w.value for w in Write}, "each write survived")

    assert not any(world.rendered().values())
    creates = [
        e
        for e in world.cluster.audit_events(resource="jobs", namespace=world.namespace, verb="create", code=201)
        if "dryRun" not in e.raw["requestURI"]
    ]
    assert [e.name for e in creates] == ["mlp-study-1", "mlp-study-2"]
    for resource in ("networkpolicies", "serviceaccounts", "configmaps"):
        made = min(e.completed for e in world.written(resource) if e.name.startswith("mlp-study"))
        assert made <= creates[0].received
    fragile.fragile = False
    fragile.end("controller")
    fragile.run("controller")
    fragile.wait_ready("controller")
    records = _records(fragile, uid)
    assert [r["data"]["attempt"] for r in records if r["kind"] == "render"] == [1, 2]
    world.close()


def budget_of(world):
    """A PrivacyBudget with room for some attempts, so that pods wait behind their gate as well."""
    spec = {
        "subjectDomain": f"{world.namespace}-patients",
        "identities": [f"urn:{world.namespace}:visits"],
        "epsilon": 30,
        "delta": 1e-8,
        "unit": "User",
        "blocks": {"by": "Subject"},
    }
    metadata = {"name": f"{world.namespace}-patients"}
    return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "PrivacyBudget", "metadata": metadata, "spec": spec}


def _records(stack, uid):
    """The audit records about one job, of a log that verifies."""
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", "verify", str(stack.audit_directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [
        json.loads(line)
        for segment in sorted(stack.audit_directory.rglob("*.jsonl"))
        for line in segment.read_bytes().splitlines()
    ]
    return [r for r in lines if r["subject"]["uid"] == uid]


def test_no_collector_no_start(fragile, world):
    fragile.end("collector")
    world.apply(world.training_job())
    job = world.until("ControlsReady", "False", "AuditUnavailable")
    assert not world.all("jobs")
    assert not job["status"].get("startedAt")
    fragile.run("collector")
    world.started()


def test_two_controllers_and_the_death_of_the_active_one(fragile, world, tmp_path):
    second = DevStack(fragile.cluster, tmp_path / "second", components=("controller",), install=False)
    second.ports |= {name: fragile.ports[name] for name in ("admission", "collector", "canary")}
    holder = fragile.cluster.get(*LEASE)["spec"]["holderIdentity"]
    with second:
        world.apply(world.training_job())
        world.running()
        assert fragile.cluster.get(*LEASE)["spec"]["holderIdentity"] == holder
        assert _leads(fragile)
        assert not _leads(second)
        fragile.end("controller", kill=True)
        world.apply(world.training_job("later"))
        world.started(name="later")
        assert _leads(second)
    fragile.run("controller")
    fragile.wait_ready("controller")
    creates = [
        e
        for e in world.cluster.audit_events(resource="jobs", namespace=world.namespace, verb="create", code=201)
        if "dryRun" not in e.raw["requestURI"]
    ]
    assert sorted(e.name for e in creates) == ["mlp-later-1", "mlp-study-1"]


def _leads(stack):
    url = f"http://127.0.0.1:{stack.ports['health-controller']}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    return 'mlprivacy_leader{lease="mlprivacy-controller"} 1.0' in text


def test_an_api_server_that_hangs_for_a_moment(fragile, world):
    process = fragile.processes["controller"]
    fragile.cluster.pause_apiserver()
    world.pause(3)
    fragile.cluster.resume_apiserver()
    apply(world, world.training_job())
    world.started()
    assert fragile.processes["controller"] is process
    assert process.alive()


def test_an_api_server_that_is_away_for_long(fragile, world):
    """A controller that can not renew its lease ends: another may be active. Whoever started it starts it anew."""
    apply(world, world.training_job())
    world.running()
    process = fragile.processes["controller"]
    fragile.cluster.stop_apiserver()
    world.eventually(lambda: not process.alive(), "the end of a controller without a lease")
    fragile.cluster.start_apiserver()
    fragile.run("controller")
    fragile.wait_ready("controller")
    world.delete("consentscopes.mlprivacy.dev", "research")
    world.until("Suspended", "True", "NoLongerAllowed")
    assert [j["metadata"]["name"] for j in world.all("jobs")] == ["mlp-study-1"]


def apply(world, *objects):
    """Apply as soon as admission, which was cut off too, has read everything again."""
    world.eventually(lambda: world.cluster.apply(*objects, check=False).returncode == 0, "admission to take it")


def test_a_definition_that_is_missing_is_waited_for(fragile, world):
    name = "inferencejobs.mlprivacy.dev"
    stored = fragile.cluster.get("crd", name)
    fragile.end("controller")
    fragile.cluster.delete_definitions(name)
    fragile.run("controller")
    log = fragile.processes["controller"].log
    world.eventually(lambda: "InferenceJob is missing" in log.read_text(encoding="utf-8"), "the log to tell")
    assert fragile.processes["controller"].alive()
    metadata = {key: stored["metadata"][key] for key in ("name", "labels", "annotations")}
    definition = {"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": metadata}
    fragile.cluster.kubectl("create", "-f", "-", input={**definition, "spec": stored["spec"]})
    apply(world, world.training_job())
    world.started()
