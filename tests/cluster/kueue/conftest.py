"""What the tests with Kueue share: the operator with a budget that answers from a table, and Kueue's definitions.

The world of jobs and data is that of ../controller. Kueue itself is not there: `queue_manager.py` plays its part.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane.processes import Process
from devstack import DevStack

HERE: Final = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from queue_manager import WORKLOADS, QueueManager, is_true  # noqa: E402 - found through the line above

_SPEC = importlib.util.spec_from_file_location("world_of_jobs", HERE.parent / "controller" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_JOBS = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_JOBS)

QUEUE: Final = "kueue.x-k8s.io/queue-name"
CHECK: Final = "privacy-budget"
Object = dict[str, Any]


class Budgeted(DevStack):
    """Its controller asks a table for privacy budget."""

    def run(self, component: str) -> Process:
        if component != "controller":
            return super().run(component)
        table, asked = self.directory / "table.json", self.directory / "asked"
        if not table.exists():
            table.write_text("{}", encoding="utf-8")
            asked.touch()
        super().run(component).stop()
        process = self.processes[component]
        launcher = str(HERE / "asking_controller.py")
        process.argv = [sys.executable, launcher, *process.argv[process.argv.index("controller") :]]
        process.start({**os.environ, "BUDGET_TABLE": str(table), "BUDGET_ASKED": str(asked)})
        return process


@pytest.fixture(scope="module")
def own(private_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Budgeted]:
    """The whole operator, on a control plane whose definitions the tests change."""
    folder = tmp_path_factory.mktemp("kueue")
    with Budgeted(private_cluster, folder, extra={"collector": ["--simulated-nodes"]}) as running:
        yield running


class Queued(_JOBS.World):  # type: ignore[misc, name-defined]
    """A world with a queue."""

    def __init__(self, stack: Budgeted, ceiling: str | None = "enforce") -> None:
        super().__init__(stack.cluster, ceiling)
        self.stack = stack
        self.kueue = QueueManager(stack.cluster, self.namespace, [CHECK])

    def queued_job(self, name: str = "study", labels: Object | None = None, **spec: Any) -> Object:
        job: Object = self.training_job(name, **spec)
        job["metadata"]["labels"] = {QUEUE: "team", **(labels or {})}
        return job

    def budget(self, state: str, reason: str, message: str, again: float | None = None, name: str = "study") -> None:
        """What the budget answers about a job from now on."""
        path = self.stack.directory / "table.json"
        table = json.loads(path.read_text(encoding="utf-8"))
        table[f"{self.namespace}/{name}"] = {"state": state, "reason": reason, "message": message, "again": again}
        new = path.with_suffix(".new")
        new.write_text(json.dumps(table), encoding="utf-8")
        new.replace(path)

    def asked(self, name: str = "study") -> list[int]:
        """For which attempts the budget was asked, without repeats."""
        lines = (self.stack.directory / "asked").read_text(encoding="utf-8").splitlines()
        mine = [int(line.split()[1]) for line in lines if line.startswith(f"{self.namespace}/{name} ")]
        return sorted(set(mine))

    def workload(self, name: str = "mlp-study-1", which: Callable[[Object], Any] = lambda one: True) -> Object:
        """The Workload, once it is there and as asked."""

        def look() -> Object | None:
            found = self.kueue.get(name)
            return found if found and which(found) else None

        try:
            found: Object = self.eventually(look, f"the Workload {name}")
        except pytest.fail.Exception:
            print(json.dumps(self.kueue.get(name), indent=1))
            print(json.dumps(self.job().get("status"), indent=1))
            raise
        return found

    def check(self, state: str, name: str = "mlp-study-1", message: str = "") -> Object:
        """The check of the privacy budget, once it is in this state."""

        def look() -> Object | None:
            found = self.kueue.check(name, CHECK)
            return found if found.get("state") == state and message in found["message"] else None

        try:
            found: Object = self.eventually(look, f"{state} of {name}")
        except pytest.fail.Exception:
            print(json.dumps(self.kueue.get(name), indent=1))
            raise
        return found

    def admitted(self, name: str = "mlp-study-1") -> Object:
        """Kueue lets the Workload through, as soon as the check is Ready."""
        self.workload(name)
        self.kueue.reserve(name)
        self.check("Ready", name)
        self.kueue.sync(name)
        return self.workload(name, lambda one: is_true(one, "Admitted"))

    def end_as_its_node(self, pod: Object) -> None:
        """Report that a pod ended well, as its node would; nobody else may where the label chain is enforced."""
        node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
        scope = ("-n", self.namespace, "--subresource=status", "--type=merge")
        self.cluster.kubectl(
            "patch", "pod", name, *scope, "-p", '{"status": {"phase": "Succeeded"}}',
            as_user=f"system:node:{node}", groups=("system:nodes", "system:masters"),
        )  # fmt: skip

    def no_workload(self) -> None:
        def look() -> bool:
            return not self.all(WORKLOADS)

        self.eventually(look, "no Workload left")

    def close(self) -> None:
        self.cluster.kubectl("delete", WORKLOADS, "--all", "-n", self.namespace, "--ignore-not-found", check=False)
        super().close()


@pytest.fixture(scope="module")
def installed(own: Budgeted) -> Budgeted:
    """With Kueue's definitions, and a check that asks for the privacy budget."""
    own.cluster.kubectl("apply", "-f", str(HERE / "crds"))
    for crd in ("workloads", "admissionchecks", "workloadpriorityclasses"):
        own.cluster.kubectl("wait", "--for=condition=Established", f"crd/{crd}.kueue.x-k8s.io", "--timeout=30s")
    check = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "AdmissionCheck",
        "metadata": {"name": CHECK},
        "spec": {"controllerName": "mlprivacy.dev/privacy-budget"},
    }
    own.cluster.apply(check)

    def active() -> bool:
        return is_true(own.cluster.get("admissionchecks.kueue.x-k8s.io", CHECK), "Active")

    _JOBS.eventually(active, "the AdmissionCheck is answered")
    return own


@pytest.fixture
def unqueued(own: Budgeted) -> Iterator[Queued]:
    """A world on that control plane, whatever is installed there."""
    made = Queued(own)
    made.data()
    yield made
    made.close()


@pytest.fixture
def world(installed: Budgeted) -> Iterator[Queued]:
    """A world with Kueue, in an enforcing namespace."""
    made = Queued(installed)
    made.data()
    yield made
    made.close()
