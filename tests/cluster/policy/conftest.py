"""An operator with the definitions of the RDMA world, on a control plane of its own: a test begins processes anew."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from controlplane.cluster import ControlPlane
from devstack import DevStack
from mlprivacy.kube.resources import (
    MULTINETWORKPOLICIES,
    NETWORKATTACHMENTS,
    SRIOVNETWORKNODESTATES,
    SRIOVNETWORKPOOLCONFIGS,
    SRIOVNETWORKS,
)

_HERE: Final = Path(__file__).parent
_FOREIGN: Final = (
    NETWORKATTACHMENTS,
    MULTINETWORKPOLICIES,
    SRIOVNETWORKS,
    SRIOVNETWORKPOOLCONFIGS,
    SRIOVNETWORKNODESTATES,
)


def module(name: str, path: Path) -> ModuleType:
    """A module of the tests by its file, made once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


TABLE: Final[Any] = module("every_rule_table", _HERE / "table.py")
PERSON: Final[Any] = module("person", _HERE.parent / "threats" / "person.py")


def definition(resource: Any) -> dict[str, Any]:
    """A definition of another project's kind, without its schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


class Office:
    """The running operator, and the hands of everybody whom a remedy asks for something."""

    def __init__(self, stack: DevStack, extra: dict[str, list[str]]) -> None:
        self.stack = stack
        self.cluster = stack.cluster
        self.admin = PERSON.Person(self.cluster, None)
        self._extra = extra

    eventually = staticmethod(PERSON.eventually)

    def prepare(self, entries: list[Any]) -> dict[str, dict[str, Any]]:
        """Everything but the jobs, of all entries at once; returns the job of each."""
        jobs, objects = {}, []
        for entry in entries:
            others, jobs[entry.slug] = entry.objects()
            objects += others
        spaces = {o["metadata"]["namespace"] for o in objects if o["metadata"].get("namespace")}
        made = {o["metadata"]["name"] for o in objects if o["kind"] == "Namespace"}
        known = {"kube-system", "mlprivacy-system"}
        missing = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in sorted(spaces - made - known)
        ]
        order = ("Namespace", "Node", "DataClass", "PrivacyPolicy")
        objects.sort(key=lambda o: order.index(o["kind"]) if o["kind"] in order else len(order))
        once = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]): o for o in objects}
        self.cluster.apply(*missing, *once.values())
        for obj in once.values():
            if obj["kind"] == "ConsentScope" and "status" in obj:
                self.change({**obj, "of": ""}, [], sub="status", status=obj["status"])
        return jobs

    def follow(self, job: dict[str, Any], changes: list[dict[str, Any]]) -> dict[str, Any]:
        """Do what a remedy asks for; returns the job as it is to be sent then."""
        mended = json_copy(job)
        for change in changes:
            if "create" in change:
                self.cluster.apply(change["create"])
            elif "restart" in change:
                for component, arguments in change["restart"].items():
                    self._extra[component][:] = [str(a) for a in arguments]  # the list that the stack has
                    self.stack.end(component)
                    self.stack.run(component)
                    self.stack.wait_ready(component)
            elif "of" in change:
                self.change(self.find(change["of"], job), [change], sub=change.get("sub"))
            else:
                TABLE.patched(mended, change)
        return mended

    def find(self, which: str, job: dict[str, Any]) -> dict[str, Any]:
        """Kind and name of an object, and the job's namespace or that of the operators of other projects."""
        kind, name = which.split("/", 1)
        place = job["metadata"]["namespace"]
        namespaces = {"ConfigMap": "mlprivacy-system", "SriovNetworkNodeState": "sriov-network-operator"}
        return {"kind": kind, "metadata": {"name": name, "namespace": namespaces.get(kind, place)}}

    def change(
        self, obj: dict[str, Any], changes: list[dict[str, Any]], sub: str | None = None, status: Any = None
    ) -> None:
        """Read, change and write one object, or its status."""
        metadata = obj["metadata"]
        live = self.cluster.get(RESOURCES[obj["kind"]], metadata["name"], metadata.get("namespace"))
        assert live is not None, metadata
        if status is not None:
            live["status"] = {**live.get("status", {}), **status}
        for one in changes:
            TABLE.patched(live, one)
        self.cluster.kubectl("replace", *([f"--subresource={sub}"] if sub else []), "-f", "-", input=live)


RESOURCES: Final = {
    "Node": "nodes",
    "ConfigMap": "configmaps",
    "Dataset": "datasets.mlprivacy.dev",
    "DataClass": "dataclasses.mlprivacy.dev",
    "ConsentScope": "consentscopes.mlprivacy.dev",
    "PrivacyPolicy": "privacypolicies.mlprivacy.dev",
    **{r.kind: f"{r.plural}.{r.group}" for r in _FOREIGN},
}


def json_copy(value: dict[str, Any]) -> dict[str, Any]:
    """A deep copy."""
    import copy  # noqa: PLC0415

    return copy.deepcopy(value)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The operator on a control plane of its own. The definitions are there first, since it looks for them rarely."""
    folder = tmp_path_factory.mktemp("office")
    extra: dict[str, list[str]] = {"collector": ["--simulated-nodes"], "admission": [], "controller": []}
    with ControlPlane(folder / "cluster", run_seconds=3600) as control_plane:
        definitions = [definition(resource) for resource in _FOREIGN]
        control_plane.apply(*definitions)
        for one in definitions:
            control_plane.kubectl(
                "wait", "--for=condition=Established", "crd", one["metadata"]["name"], "--timeout=60s"
            )
        with DevStack(control_plane, folder / "operator", extra=extra) as stack:
            yield Office(stack, extra)


@pytest.fixture(scope="module")
def jobs(office: Office) -> dict[str, dict[str, Any]]:
    """The job of each entry of the table; everything it refers to is there."""
    return office.prepare(TABLE.entries())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", TABLE.entries(), ids=lambda entry: entry.slug)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "office" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
