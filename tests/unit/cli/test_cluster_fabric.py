"""What explain reads of networks, devices and nodes: only for jobs that ask, and no more than it may."""

from typing import Any

from fabric_objects import ISOLATED, network, rdma_job

from mlprivacy.cli.cluster import gather
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.policy.fabric.asks import asks_of


class Reader:
    """A client that may list some kinds, lacks the definitions of others, and remembers what it was asked."""

    def __init__(self, forbidden: str = "", missing: str = "") -> None:
        self.forbidden, self.missing = forbidden, missing
        self.asked: dict[str, str | None] = {}

    async def list(self, resource: Any, namespace: str | None = None, **selectors: str | None) -> list[dict[str, Any]]:
        if namespace is not None:
            return []  # of the operator's own
        self.asked[resource.kind] = selectors.get("field_selector")
        if resource.kind == self.forbidden:
            raise Forbidden(403, "Forbidden", "no")
        if resource.kind == self.missing:
            raise NotFound(404, "NotFound", "no")
        return [o for o in ISOLATED if o["kind"] == resource.kind]

    async def get(self, resource: Any, name: str, namespace: str | None = None) -> dict[str, Any]:
        raise NotFound(404, "NotFound", "no")


def fabric(known: Any, job: dict[str, Any]) -> Any:
    return known.lookup.fabric(asks_of(job["spec"]["template"], "research"), "research")


async def test_a_job_without_a_device_needs_none_of_it():
    reader = Reader()
    await gather(reader, rdma_job(None, None))
    assert "Node" not in reader.asked


async def test_a_job_with_one_gets_it_and_of_config_maps_only_one():
    reader = Reader()
    found = fabric(await gather(reader, rdma_job()), rdma_job())
    assert found.networks == {("research", "rdma-net"): network()}
    assert len(found.nodes) == len(found.pools) == len(found.node_states) == 1
    assert reader.asked["ConfigMap"] == "metadata.name=rdma-devices"


async def test_a_definition_that_is_missing_is_none_and_what_is_forbidden_is_not_known():
    known = await gather(Reader(forbidden="Node", missing="SriovNetwork"), rdma_job())
    found = fabric(known, rdma_job())
    assert (found.nodes, found.sriov_networks) == (None, ())
    assert "you may not list nodes" in known.unread
