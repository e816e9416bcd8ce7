"""Copies of networks, devices and nodes: begun by the first job that asks, honest about what is absent or not known."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from fabric_objects import (
    RESOURCE,
    claim_template,
    network,
    network_policy,
    node,
    node_state,
    pool,
    rdma_job,
    shared_config,
    sriov_network,
)

from mlprivacy.kube import fabric
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.fabric import decisive
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.factstore_changes import matters
from mlprivacy.policy.model import Dependency

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CNI = "/apis/k8s.cni.cncf.io"
SRIOV = "/apis/sriovnetwork.openshift.io/v1"
NETWORK = f"{CNI}/v1/namespaces/research/network-attachment-definitions/rdma-net"
OPERATOR = f"{SRIOV}/namespaces/sriov-network-operator"


def served(*plurals: str) -> dict:
    return {"kind": "APIResourceList", "resources": [{"name": plural} for plural in plurals]}


async def definitions(api) -> None:
    await api.put(f"{CNI}/v1", served("network-attachment-definitions"))
    await api.put(f"{CNI}/v1beta1", served("multi-networkpolicies"))
    await api.put(SRIOV, served("sriovnetworks", "sriovnetworkpoolconfigs", "sriovnetworknodestates"))
    await api.put("/apis/resource.k8s.io/v1", served("resourceclaims", "resourceclaimtemplates", "deviceclasses"))


async def objects(api) -> None:
    await api.put(NETWORK, network())
    await api.put(f"{CNI}/v1beta1/namespaces/research/multi-networkpolicies/closed", network_policy())
    await api.put(f"{OPERATOR}/sriovnetworks/rdma-net", sriov_network())
    await api.put(f"{OPERATOR}/sriovnetworkpoolconfigs/worker", pool())
    await api.put(f"{OPERATOR}/sriovnetworknodestates/gpu-1", node_state())
    await api.put("/api/v1/nodes/gpu-1", node())
    await api.put("/api/v1/namespaces/kube-system/configmaps/rdma-devices", shared_config())


@pytest.fixture
async def store(api, client: KubeClient, monkeypatch) -> AsyncIterator[FactStore]:
    monkeypatch.setattr(fabric, "AGAIN_SECONDS", 0.1)
    found = FactStore(client, backoff=(0.01, 0.05))
    found.start()
    yield found
    await found.stop()


async def test_nothing_is_read_until_a_job_asks(store: FactStore, api) -> None:
    await definitions(api)
    await objects(api)
    await store.gather(rdma_job(None, None), NOW)
    await store.gather(rdma_job("nvidia.com/gpu", None), NOW)
    assert not any("nodes" in path or "cni.cncf.io" in path for _, path, _ in api.requests)


async def test_the_first_job_that_asks_gets_everything(store: FactStore, api) -> None:
    await definitions(api)
    await objects(api)
    facts = await store.gather(rdma_job(), NOW)
    assert set(facts.fabric.networks) == {("research", "rdma-net")}
    for known in ("network_policies", "sriov_networks", "pools", "node_states", "nodes", "shared_configs"):
        assert len(getattr(facts.fabric, known)) == 1, known
    config = next(q for _, path, q in api.requests if path == "/api/v1/configmaps")
    assert config["fieldSelector"] == "metadata.name=rdma-devices", "no other ConfigMap is read"


async def test_a_definition_that_is_absent_means_no_such_object(store: FactStore, api) -> None:
    facts = await store.gather(rdma_job(), NOW)
    assert (facts.fabric.networks, facts.fabric.node_states, facts.fabric.network_policies) == ({}, (), ())


async def test_what_may_not_be_read_is_not_known(store: FactStore, api) -> None:
    await definitions(api)
    await objects(api)
    api.fail(403, 1000, when="sriovnetworknodestates")
    store._read_seconds = 0.5
    facts = await store.gather(rdma_job(), NOW)
    assert facts.fabric.node_states is None
    assert facts.fabric.nodes is not None
    assert store.synced or store.problems(), "readiness is a matter of our own kinds"


async def test_only_the_first_waits_for_what_never_comes(store: FactStore, api) -> None:
    await definitions(api)
    api.fail(403, 1000, when="/api/v1/nodes")
    store._read_seconds = 0.3
    await store.gather(rdma_job(), NOW)
    begun = asyncio.get_running_loop().time()
    assert (await store.gather(rdma_job(), NOW)).fabric.nodes is None
    assert asyncio.get_running_loop().time() - begun < 0.2


async def test_a_reader_without_a_deadline_begins_too_waits_and_is_told(store: FactStore, api, eventually) -> None:
    await definitions(api)
    await objects(api)
    told: list[Dependency] = []
    store.on_change(lambda what, old, new: told.append(what))
    waiting = [store.gather(rdma_job(), NOW, read_misses=False) for _ in range(3)]
    assert all(facts.fabric.nodes for facts in await asyncio.gather(*waiting)), "not even the second is answered early"
    await eventually(lambda: Dependency("Node", "", "*") in told)
    assert (await store.gather(rdma_job(), NOW, read_misses=False)).fabric.nodes


async def test_where_the_cluster_does_not_say_nothing_is_known(store: FactStore, api) -> None:
    api.fail(500, 1000, when=SRIOV)
    store._read_seconds = 0.3
    assert (await store.gather(rdma_job(), NOW)).fabric.node_states is None


async def test_a_change_is_told_to_the_jobs_that_rest_on_it(store: FactStore, api, eventually) -> None:
    await definitions(api)
    await objects(api)
    await store.gather(rdma_job(), NOW)
    told: list[Dependency] = []
    store.on_change(lambda what, old, new: told.append(what))
    version = store.version
    await api.put(f"{OPERATOR}/sriovnetworknodestates/gpu-1", node_state("shared"))
    await api.put(NETWORK, network({"type": "macvlan"}))
    await eventually(lambda: len(told) >= 2)
    assert set(told) == {
        Dependency("SriovNetworkNodeState", "", "gpu-1"),
        Dependency("NetworkAttachmentDefinition", "research", "rdma-net"),
    }
    assert store.version > version
    facts = await store.gather(rdma_job(), NOW)
    assert facts.fabric.node_states[0]["status"]["system"]["rdmaMode"] == "shared"


async def test_a_node_s_heartbeat_is_not_told(store: FactStore, api, eventually) -> None:
    await definitions(api)
    await objects(api)
    await store.gather(rdma_job(), NOW)
    told: list[Dependency] = []
    store.on_change(lambda what, old, new: told.append(what))
    beating = node()
    beating["status"]["conditions"] = [{"type": "Ready", "lastHeartbeatTime": "2026-06-01T12:00:00Z"}]
    await api.put("/api/v1/nodes/gpu-1", beating)
    await api.put("/api/v1/nodes/gpu-2", node("gpu-2"))
    await eventually(lambda: told)
    assert told == [Dependency("Node", "", "gpu-2")]


async def test_a_definition_that_comes_later_and_goes_again(store: FactStore, api, eventually) -> None:
    await store.gather(rdma_job(), NOW)
    told: list[Dependency] = []
    store.on_change(lambda what, old, new: told.append(what))
    await objects(api)
    await definitions(api)
    await eventually(lambda: store.fabric("SriovNetworkPoolConfig"))
    await eventually(lambda: Dependency("SriovNetworkPoolConfig", "", "*") in told)
    told.clear()
    await api.remove(SRIOV)
    await eventually(lambda: store.fabric("SriovNetworkPoolConfig") == [])
    assert Dependency("SriovNetworkPoolConfig", "", "worker") in told


def test_a_copy_holds_what_decides_and_no_more() -> None:
    small = decisive(node() | {"kind": "Node"})
    assert small["status"]["allocatable"] == {RESOURCE: "8"}
    noisy = network()
    noisy["metadata"] |= {"resourceVersion": "7", "annotations": noisy["metadata"]["annotations"] | {"x": "y"}}
    assert decisive(noisy) == decisive(network())
    assert decisive(claim_template())["spec"] == claim_template()["spec"]


@pytest.mark.parametrize(("old", "new"), [(node(), node(pool="x")), (node_state(), node_state("shared"))])
def test_what_is_no_spec_matters_here_too(old, new) -> None:
    assert matters(old, new)
    assert not matters(old, dict(old))


async def test_a_reader_without_a_deadline_does_not_wait_for_ever(store: FactStore, api, monkeypatch) -> None:
    monkeypatch.setattr("mlprivacy.kube.fabric.FIRST_SECONDS", 0.3)
    await definitions(api)
    api.fail(403, 1000, when="/api/v1/nodes")
    async with asyncio.timeout(5):
        for _ in range(2):
            assert (await store.gather(rdma_job(), NOW, read_misses=False)).fabric.nodes is None
