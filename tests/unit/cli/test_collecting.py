"""Which pods the collector pulls from, in the statuses that a kubelet writes."""

from typing import Any

import pytest

from controlplane.processes import free_ports
from mlprivacy.audit.canary import Canary, reach
from mlprivacy.audit.puller import Pod
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.cli.collecting import as_pod, canary_addresses, governed_pods, has_ipv6

LABELS = {"mlprivacy.dev/rendered": "training", "mlprivacy.dev/job-uid": "u", "mlprivacy.dev/attempt": "2"}


def pod(labels: dict[str, str] | None = None, metadata: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    labels = LABELS if labels is None else labels
    kind = "ReplicaSet" if labels.get("mlprivacy.dev/rendered") == "inference" else "Job"
    base = {"namespace": "research", "name": "p", "uid": "pod-uid", "labels": labels, "ownerReferences": [owner(kind)]}
    return {"metadata": base | (metadata or {}), "status": status}


def owner(kind: str, name: str = "mlp-diagnosis-2", *, controller: bool = True) -> dict[str, Any]:
    return {"kind": kind, "name": name, "controller": controller}


class Copy:
    """What an informer has."""

    def __init__(self, *objects: dict[str, Any], synced: bool = True) -> None:
        self.objects, self.synced = objects, synced

    def list(self) -> Any:
        return [*self.objects]

    def keys(self, _: None) -> Any:
        return [("", o["metadata"]["name"]) for o in self.objects]


@pytest.mark.parametrize(
    ("raw", "followed"),
    [
        (pod(), False),  # accepted
        (pod(phase="Pending"), False),  # scheduled, no sandbox yet
        (pod(phase="Pending", podIP=""), False),
        (pod(phase="Pending", podIP="10.0.0.7"), True),  # its seal probe runs
        (pod(phase="Running", podIP="10.0.0.7"), True),
        (pod(phase="Running", podIP="10.0.0.7", metadata={"deletionTimestamp": "2026-06-01T12:00:00Z"}), True),
        (pod(phase="Unknown", podIP="10.0.0.7"), True),  # its node is away; it may be heard again
        (pod(phase="Succeeded", podIP="10.0.0.7"), False),
        (pod(phase="Failed", podIP="10.0.0.7"), False),
        (pod(phase="Running", podIP="10.0.0.7", metadata={"ownerReferences": []}), False),
        (pod(phase="Running", podIP="10.0.0.7", metadata={"ownerReferences": [owner("Job", "mine")]}), False),
        (pod(phase="Running", podIP="10.0.0.7", metadata={"ownerReferences": [owner("ReplicaSet")]}), False),
        (pod(phase="Running", podIP="10.0.0.7", metadata={"ownerReferences": [owner("Job", controller=False)]}), False),
        (pod({}, phase="Running", podIP="10.0.0.7"), False),
        (pod({"mlprivacy.dev/rendered": "other"}, phase="Running", podIP="10.0.0.7"), False),
    ],
)
def test_a_governed_pod_is_followed_from_its_address_to_its_end(raw: dict[str, Any], followed: bool) -> None:
    assert (as_pod(raw) is not None) is followed


def test_a_pod_is_known_by_its_uid_its_first_address_and_its_attempt() -> None:
    two = [{"ip": "fd00::7"}, {"ip": "10.0.0.7"}]
    found = as_pod(pod(phase="Pending", podIP="fd00::7", podIPs=two))
    assert found == Pod("research", "p", "pod-uid", "fd00::7", "training", "u/2")
    served = {"mlprivacy.dev/rendered": "inference", "mlprivacy.dev/job-uid": "u"}
    found = as_pod(pod(served, phase="Running", podIP="10.0.0.7"))
    assert found == Pod("research", "p", "pod-uid", "10.0.0.7", "inference", "u/1")


def test_pods_of_governed_namespaces_alone_are_followed() -> None:
    running = pod(phase="Running", podIP="10.0.0.7")
    elsewhere = pod(phase="Running", podIP="10.0.0.8", metadata={"namespace": "street"})
    namespaces = Copy({"metadata": {"name": "research"}})
    found = governed_pods(Copy(running, elsewhere), namespaces)  # type: ignore[arg-type]
    assert [one.ip for one in found or ()] == ["10.0.0.7"]


@pytest.mark.parametrize(("pods", "namespaces"), [(True, False), (False, True)])
def test_before_both_copies_are_read_nothing_is_said_of_pods(pods: bool, namespaces: bool) -> None:
    assert governed_pods(Copy(synced=pods), Copy(synced=namespaces)) is None  # type: ignore[arg-type]


def test_a_pod_in_which_something_ran_after_the_probe_has_begun() -> None:
    def status(**state: Any) -> list[dict[str, Any]]:
        return [{"name": "mlprivacy-seal", "state": {"running": {}}}, {"name": "mlprivacy-accountant", "state": state}]

    at = {"startedAt": "2026-06-01T12:00:00Z"}
    for state, begun in (({"waiting": {}}, False), ({"running": at}, True), ({"terminated": at}, True)):
        found = as_pod(pod(phase="Pending", podIP="10.0.0.7", initContainerStatuses=status(**state)))
        assert found is not None
        assert found.begun is begun


def test_the_canary_answers_in_every_address_family_of_its_pod() -> None:
    assert [one.host for one in canary_addresses("0.0.0.0", 15019, ipv6=True)] == ["0.0.0.0", "::"]
    assert [one.host for one in canary_addresses("0.0.0.0", 15019, ipv6=False)] == ["0.0.0.0"]
    assert [one.host for one in canary_addresses("127.0.0.1", 15019, ipv6=True)] == ["127.0.0.1"]


async def test_both_families_share_a_port() -> None:
    (port,) = free_ports(1)
    async with Canary(canary_addresses("0.0.0.0", port, ipv6=has_ipv6())):
        for host in ("127.0.0.1", *(["::1"] if has_ipv6() else [])):
            found = await reach(CanaryAddress(host, port, port), 2)
            assert (found.tcp, found.udp) == (True, True)
