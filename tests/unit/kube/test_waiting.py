"""Why a pod does not run, from the statuses that kubelet and scheduler write."""

from typing import Any

import pytest

from mlprivacy.kube.waiting import waiting_of


def waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "trainer", "state": {"waiting": {"reason": reason, "message": message}}, **more}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({"containerStatuses": [waits("ContainerCreating")]}, None),
        ({"initContainerStatuses": [waits("PodInitializing")]}, None),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, None),
        ({}, None),
        (
            {"containerStatuses": [waits("ErrImagePull", "no such host.\n")]},
            "ErrImagePull: container trainer: no such host",
        ),
        ({"initContainerStatuses": [waits("ImagePullBackOff")]}, "ImagePullBackOff: container trainer"),
        (
            {"conditions": [UNSCHEDULABLE]},
            "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
        ),
        ({"phase": "Failed", "containerStatuses": [waits("ErrImagePull")]}, None),
    ],
)
def test_only_what_lasts_is_told_and_in_their_words(status: dict[str, Any], sentence: str | None) -> None:
    found = waiting_of(status)
    assert (found and found.sentence()) == sentence


def test_a_long_message_is_cut() -> None:
    found = waiting_of({"containerStatuses": [waits("ErrImagePull", "x" * 4000)]})
    assert found is not None
    assert len(found.message) < 400
