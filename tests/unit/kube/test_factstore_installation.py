"""The fact store: what the installation promises, and the register of people's training in the operator's namespace."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import ATTESTATIONS, FactStore
from mlprivacy.policy.model import Dependency

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = "/api/v1/namespaces/mlprivacy-system/configmaps"
LABELS = {"metadata": {"labels": {"mlprivacy.dev/training-attestations": "true"}}}
JOB = {"kind": "InferenceJob", "metadata": {"name": "job", "namespace": "team"}, "spec": {}}


def register(**data: str) -> dict:
    return {**LABELS, "data": data}


@pytest.fixture
async def store(api, client: KubeClient) -> AsyncIterator[FactStore]:
    found = FactStore(client, operator_namespace="mlprivacy-system", audit_retention_days=2192, backoff=(0.01, 0.05))
    found.start()
    assert await found.wait_synced(20)
    yield found
    await found.stop()


async def eventually(check) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 - what a watch brings has no event here
            await asyncio.sleep(0.01)


async def test_registers_are_watched_by_their_label_in_the_operator_s_namespace(store: FactStore, api) -> None:
    asked = [q.get("labelSelector") for _, path, q in api.requests if path == HOME]
    assert "mlprivacy.dev/training-attestations=true" in asked


async def test_without_a_register_nothing_is_known_and_the_promise_is(store: FactStore) -> None:
    facts = await store.gather(JOB, NOW)

    assert facts.attestations is None
    assert facts.audit_retention_days == 2192


async def test_a_change_of_a_register_is_seen_and_told(store: FactStore, api) -> None:
    told: list[Dependency] = []
    store.on_change(lambda changed, old, new: told.append(changed))
    before = store.version

    await api.put(f"{HOME}/one", register(alice="2027-01-01"))
    await eventually(lambda: store.attestations() == {"alice": "2027-01-01"})
    await api.put(f"{HOME}/two", register(alice="2026-06-01", bob="2027-01-01"))
    await eventually(lambda: store.attestations() == {"alice": "2027-01-01", "bob": "2027-01-01"})
    await api.put(f"{HOME}/one", register(alice="2028-01-01"))
    await eventually(lambda: (store.attestations() or {}).get("alice") == "2028-01-01")
    await api.remove(f"{HOME}/one")
    await eventually(lambda: (store.attestations() or {}).get("alice") == "2026-06-01")

    assert Dependency(ATTESTATIONS, "", "one") in told
    assert store.version >= before + 4
    assert (await store.gather(JOB, NOW)).attestations == store.attestations()


async def test_without_the_operator_s_namespace_no_config_map_is_read(client: KubeClient, api) -> None:
    store = FactStore(client, backoff=(0.01, 0.05))
    store.start()
    assert await store.wait_synced(20)

    facts = await store.gather(JOB, NOW)
    await store.stop()

    assert (facts.attestations, facts.audit_retention_days) == (None, None)
    assert not any(path.startswith(HOME) for _, path, _ in api.requests)
