"""Which pods the collector pulls from, in the statuses that a kubelet writes."""

from typing import Any

import pytest

from controlplane.processes import free_ports
from mlprivacy.audit.canary import Canary, alive
from mlprivacy.audit.puller import Pod
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.cli.collecting import as_pod, canary_addresses, has_ipv6

LABELS = {"mlprivacy.dev/rendered": "training", "mlprivacy.dev/job-uid": "u", "mlprivacy.dev/attempt": "2"}


def pod(labels: dict[str, str] | None = None, metadata: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    base = {"namespace": "research", "name": "p", "uid": "pod-uid", "labels": LABELS if labels is None else labels}
    return {"metadata": base | (metadata or {}), "status": status}


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


def test_the_canary_answers_in_every_address_family_of_its_pod() -> None:
    assert [one.host for one in canary_addresses("0.0.0.0", 15019, ipv6=True)] == ["0.0.0.0", "::"]
    assert [one.host for one in canary_addresses("0.0.0.0", 15019, ipv6=False)] == ["0.0.0.0"]
    assert [one.host for one in canary_addresses("127.0.0.1", 15019, ipv6=True)] == ["127.0.0.1"]


async def test_both_families_share_a_port() -> None:
    (port,) = free_ports(1)
    async with Canary(canary_addresses("0.0.0.0", port, ipv6=has_ipv6())):
        for host in ("127.0.0.1", *(["::1"] if has_ipv6() else [])):
            assert await alive(CanaryAddress(host, port, port), 2)
