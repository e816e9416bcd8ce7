"""Which pods the collector pulls from, in the statuses that a kubelet writes."""

from typing import Any

import pytest

from mlprivacy.audit.puller import Pod
from mlprivacy.cli.collecting import as_pod

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
