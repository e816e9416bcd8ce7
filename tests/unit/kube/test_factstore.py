"""The fact store: a job gets the facts it refers to and no others; changes, deletions and lagging copies are seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.factstore_changes import touched_by
from mlprivacy.kube.factstore_reads import FOUND_SECONDS, REMEMBERED, ReadBudget, Reader
from mlprivacy.kube.factstore_view import Absent
from mlprivacy.kube.settling import SETTLE_SECONDS, Recent, exception_of
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Dependency, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GROUP = "/apis/mlprivacy.dev/v1alpha1"


def dataset(identity: str = "urn:x:y", scope: str | None = None) -> dict:
    use = {"purpose": "train", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-e"}
    return {
        "spec": {
            "identity": identity,
            "source": {"uri": "s3://x/y.parquet", "format": "Parquet", "secretRef": {"name": "mlp-sealed-x"}},
            "subjects": {"column": "id", "kind": "patient", "atLeast": 1000},
            "columns": [{"name": "id", "dataClass": "plain"}, {"name": "other", "dataClass": "unasked"}],
            "uses": [use | ({"consentScope": scope} if scope else {})],
        }
    }


def data_class() -> dict:
    return {"spec": {"categories": ["user.demographic"], "sensitivity": "Internal"}}


def grant(to: str, name: str) -> dict:
    return {
        "spec": {
            "from": [{"namespace": to, "kind": "TrainingJob"}],
            "to": [
                {
                    "kind": "Dataset",
                    "name": name,
                    "columns": ["id"],
                    "purposes": ["train"],
                    "processing": ["Training"],
                }
            ],
        }
    }


def job(*names: str, claims: tuple[str, ...] = ()) -> dict:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c, "readOnly": True}} for c in claims]
    container = {"name": "main", "image": "r.example/i@sha256:" + "0" * 64}
    datasets = []
    for name in names:
        namespace, _, plain = name.rpartition("/")
        use = {"name": plain, "columns": ["id"], "mountPath": f"/data/{plain}"}
        datasets.append(use | ({"namespace": namespace} if namespace else {}))
    return {
        "kind": "TrainingJob",
        "metadata": {"name": "job", "namespace": "team", "uid": "u"},
        "spec": {
            "purpose": "train",
            "datasets": datasets,
            "template": {"spec": {"containers": [container], "volumes": volumes}},
        },
    }


def exception(kind: str = "TrainingJob", namespace: str = "team", name: str = "job") -> dict:
    workload = {"kind": kind, "namespace": namespace, "name": name}
    spec = {"rule": "dp-required", "workload": workload, "reason": "r", "ticket": "t"}
    return {"spec": spec | {"expiresAt": "2026-02-01T00:00:00Z"}}


async def world(api) -> None:
    for name in ("team", "clinic", "other"):
        await api.put(f"/api/v1/namespaces/{name}", {"metadata": {"labels": {"mlprivacy.dev/enforce": "enforce"}}})
    await api.put(f"{GROUP}/dataclasses/plain", data_class())
    await api.put(f"{GROUP}/dataclasses/unasked", data_class())
    await api.put(f"{GROUP}/namespaces/team/datasets/own", dataset())
    await api.put(f"{GROUP}/namespaces/clinic/datasets/visits", dataset("urn:c:v", scope="study"))
    await api.put(f"{GROUP}/namespaces/clinic/datasets/secret", dataset("urn:c:s"))
    await api.put(f"{GROUP}/namespaces/clinic/datasetgrants/give", grant("team", "visits"))
    await api.put(f"{GROUP}/namespaces/other/datasets/unrelated", dataset("urn:o:u"))


@pytest.fixture
async def store(api, client: KubeClient) -> AsyncIterator[FactStore]:
    await world(api)
    found = FactStore(client, backoff=(0.01, 0.05))
    found.start()
    assert await found.wait_synced(20)
    yield found
    await found.stop()


async def test_a_job_gets_what_it_refers_to_and_nothing_else(store: FactStore) -> None:
    facts = await store.gather(job("own", "clinic/visits"), NOW)

    assert set(facts.datasets) == {("team", "own"), ("clinic", "visits")}
    assert set(facts.data_classes) == {"plain"}, "the class of a column that is not asked for is not needed"
    assert set(facts.namespaces) == {"team", "clinic"}
    assert set(facts.grants) == {"clinic"}
    assert facts.visible_datasets == (), "nothing is suggested where everything resolves"


async def test_what_is_not_granted_is_neither_read_nor_suggested(store: FactStore, api) -> None:
    before = api.count("GET")

    facts = await store.gather(job("clinic/secret"), NOW)
    nothing = await store.gather(job("clinic/nosuch"), NOW)

    assert facts.datasets == {}
    assert api.count("GET") == before, "a read would tell by its time whether the dataset exists"
    assert facts.visible_datasets == nothing.visible_datasets == ("clinic/visits", "team/own")


async def test_an_object_that_has_not_arrived_yet_is_read_once(store: FactStore, api) -> None:
    await api.put(f"{GROUP}/namespaces/team/datasets/fresh", dataset("urn:t:f"), lost=True)

    facts = await store.gather(job("fresh"), NOW)
    again = await store.gather(job("fresh"), NOW)

    assert ("team", "fresh") in facts.datasets
    assert set(facts.data_classes) == {"plain"}
    assert sum(path.endswith("/datasets/fresh") for _, path, _ in api.requests) == 1
    assert again.datasets == facts.datasets, "what was found is known to the next job of the same apply"


async def test_a_grant_that_has_not_arrived_yet_is_read(store: FactStore, api) -> None:
    await api.put(f"{GROUP}/namespaces/other/datasetgrants/late", grant("team", "unrelated"), lost=True)
    grants_read = f"{GROUP}/namespaces/other/datasetgrants"

    facts = await store.gather(job("other/unrelated"), NOW)
    again = await store.gather(job("other/unrelated"), NOW)

    assert set(facts.datasets) == set(again.datasets) == {("other", "unrelated")}
    assert sum(path.split("?")[0] == grants_read for _, path, _ in api.requests) == 1


async def test_a_whole_folder_that_has_not_arrived_yet_is_read(store: FactStore, api) -> None:
    late = dataset("urn:o:l", scope="late")
    late["spec"]["columns"] = [{"name": "id", "dataClass": "late"}]
    await api.put(f"{GROUP}/dataclasses/late", data_class(), lost=True)
    await api.put(f"{GROUP}/namespaces/other/datasets/late", late, lost=True)
    await api.put(f"{GROUP}/namespaces/other/datasetgrants/late", grant("team", "late"), lost=True)

    facts = await store.gather(job("other/late"), NOW)

    assert (set(facts.datasets), set(facts.data_classes)) == ({("other", "late")}, {"late"})


async def test_a_grant_that_was_read_is_known_to_whom_it_names_until_it_changes(client: KubeClient, api) -> None:
    path, deadline = f"{GROUP}/namespaces/clinic/datasetgrants/late", asyncio.get_running_loop().time() + 20
    await api.put(path, grant("team", "visits"))
    reader = Reader(client, ReadBudget(1e-9, per_namespace=1e-9, clock=lambda: 0.0))
    to_team = ("DatasetGrant", "clinic", "team")

    assert [found.name for found in await reader.read(to_team, deadline, "team")] == ["late"]
    assert await reader.read(("DatasetGrant", "clinic", "other"), deadline, "other") is Absent
    assert [found.name for found in await reader.read(to_team, deadline, "team")] == ["late"]
    reader.changed("DatasetGrant", "clinic", "late")
    assert await reader.read(to_team, deadline, "team") is Absent


async def test_what_is_deleted_is_not_remembered_from_a_read(store: FactStore, api, eventually) -> None:
    await api.put(f"{GROUP}/namespaces/team/datasets/fresh", dataset("urn:t:f"), lost=True)
    assert (await store.gather(job("fresh"), NOW)).datasets
    await api.put(f"{GROUP}/namespaces/team/datasets/fresh", dataset("urn:t:g"))
    await eventually(lambda: store.parsed("Dataset", "team", "fresh"))

    await api.remove(f"{GROUP}/namespaces/team/datasets/fresh")
    await eventually(lambda: store.parsed("Dataset", "team", "fresh") is None)

    assert (await store.gather(job("fresh"), NOW)).datasets == {}


async def test_what_was_read_stands_in_for_the_copy_for_a_moment_only(client: KubeClient, api) -> None:
    now = [0.0]
    await api.put(f"{GROUP}/namespaces/team/datasets/fresh", dataset("urn:t:f"))
    reader = Reader(client, ReadBudget(1e-9, per_namespace=1e-9, clock=lambda: now[0]), clock=lambda: now[0])
    key, deadline = ("Dataset", "team", "fresh"), asyncio.get_running_loop().time() + 20

    first = await reader.read(key, deadline, "team")
    again = await reader.read(key, deadline, "team")
    now[0] += FOUND_SECONDS + 0.1
    later = await reader.read(key, deadline, "team")

    assert first.spec.identity == "urn:t:f"
    assert again is first
    assert later is Absent, "no read is left, and what was found is old"


GRANTS = Dependency("DatasetGrant", "clinic", "Dataset/secret")


async def test_while_facts_arrive_it_waits_for_the_rest_and_else_not_at_all(store: FactStore, api, eventually) -> None:
    store._recent = Recent()  # what was there at the start came a moment ago
    assert not await store.settle({GRANTS, Dependency("PrivacyPolicy", "", "*")})

    await api.put(f"{GROUP}/namespaces/clinic/datasetgrants/late", grant("team", "secret"))
    await eventually(lambda: len(store.grants("clinic")) == 2)
    settling = asyncio.create_task(store.settle({GRANTS}))
    await asyncio.sleep(0.1)
    await api.put(f"{GROUP}/namespaces/clinic/datasetgrants/later", grant("team", "secret"))

    assert await settling
    assert len(store.grants("clinic")) == 3


async def test_what_others_change_holds_nobody_up(store: FactStore, api, eventually) -> None:
    store._recent = Recent()
    await api.put(f"{GROUP}/namespaces/other/datasets/mine", dataset("urn:o:m"))
    await api.put(f"{GROUP}/policyexceptions/mine", exception("TrainingJob", "other", "job"))
    await eventually(lambda: store.exceptions("TrainingJob", "other", "job"))

    mine = {GRANTS, Dependency("Dataset", "clinic", "visits"), exception_of("TrainingJob", "team", "job")}
    assert not await store.settle(mine)
    assert await store.settle({exception_of("TrainingJob", "other", "job")})


async def test_facts_that_never_settle_hold_no_answer_up(store: FactStore, api, eventually) -> None:
    async def restless() -> None:
        for number in range(10_000):
            await api.put(f"{GROUP}/namespaces/clinic/datasetgrants/one-{number % 2}", grant("team", f"t-{number}"))
            await asyncio.sleep(0.05)

    changing = asyncio.create_task(restless())
    await eventually(lambda: len(store.grants("clinic")) > 1)
    try:
        assert await asyncio.wait_for(store.settle({GRANTS}), SETTLE_SECONDS * 10)
    finally:
        changing.cancel()


async def test_reads_are_bounded(client: KubeClient, api) -> None:
    await world(api)
    store = FactStore(client, reads_per_second=1.0)

    for index in range(50):
        await store.gather(job(f"guess-{index}"), NOW)

    assert sum("guess-" in path for _, path, _ in api.requests) <= 3


async def test_a_change_is_told_and_changes_the_facts(store: FactStore, api, eventually) -> None:
    told: list[tuple[Dependency, bool, bool]] = []
    store.on_change(lambda what, old, new: told.append((what, old is not None, new is not None)))
    assert (await store.gather(job("own"), NOW)).datasets[("team", "own")].spec.subjects.at_least == 1000
    version = store.version

    changed = dataset()
    changed["spec"]["subjects"]["atLeast"] = 7
    await api.put(f"{GROUP}/namespaces/team/datasets/own", changed)
    await eventually(lambda: told)

    assert told == [(Dependency("Dataset", "team", "own"), True, True)]
    assert store.version > version
    assert (await store.gather(job("own"), NOW)).datasets[("team", "own")].spec.subjects.at_least == 7


async def test_a_status_write_tells_but_does_not_age_decisions(store: FactStore, api, eventually) -> None:
    told: list[Dependency] = []
    store.on_change(lambda what, _old, _new: told.append(what))
    version = store.version

    await api.put(f"{GROUP}/namespaces/team/datasets/own", dataset() | {"status": {"observedGeneration": 1}})
    await eventually(lambda: told)

    assert store.version == version


async def test_a_deletion_missed_by_the_watch_is_found_on_the_next_list(store: FactStore, api, eventually) -> None:
    assert evaluate(job("clinic/visits"), await store.gather(job("clinic/visits"), NOW)).verdict is not Verdict.DENY
    await api.remove(f"{GROUP}/namespaces/clinic/datasetgrants/give", lost=True)
    await api.compact()
    await api.break_watches()

    await eventually(lambda: not store.grants("clinic"))

    facts = await store.gather(job("clinic/visits"), NOW)
    assert facts.datasets == {}
    assert evaluate(job("clinic/visits"), facts).verdict is Verdict.HOLD


async def test_a_claim_is_read_for_each_decision(store: FactStore, api) -> None:
    path = "/api/v1/namespaces/team/persistentvolumeclaims/models"
    await api.put(path, {"spec": {"storageClassName": "encrypted", "accessModes": ["ReadOnlyMany"]}})

    facts = await store.gather(job("own", claims=("models", "missing")), NOW)
    await api.remove(path)
    later = await store.gather(job("own", claims=("models",)), NOW)

    assert facts.claims[("team", "models")].storage_class == "encrypted"
    assert facts.claims[("team", "models")].read_only
    assert ("team", "missing") not in facts.claims
    assert later.claims == {}


async def test_who_waits_for_copies_reads_claims_all_the_same_and_no_failure_makes_one_unknown(
    store: FactStore, api
) -> None:
    path = "/api/v1/namespaces/team/persistentvolumeclaims/models"
    await api.put(path, {"spec": {"storageClassName": "encrypted", "accessModes": ["ReadOnlyMany"]}})

    facts = await store.gather(job("own", "elsewhere", claims=("models", "missing")), NOW, read_misses=False)
    assert list(facts.claims) == [("team", "models")]

    api.fail(403, times=9, when="persistentvolumeclaims")
    with pytest.raises(ApiError):
        await store.gather(job("own", claims=("models",)), NOW, read_misses=False)


async def test_the_store_is_not_synced_while_a_definition_is_missing(client: KubeClient, api) -> None:
    await world(api)
    api.missing.add(f"{GROUP}/datasets")
    store = FactStore(client, backoff=(0.01, 0.05))
    store.start()

    assert not await store.wait_synced(0.5)
    assert any("datasets.mlprivacy.dev" in text for text in store.problems())
    await store.stop()


async def test_a_malformed_job_has_no_facts_and_raises_nothing(store: FactStore) -> None:
    for raw in (
        {},
        {"kind": "TrainingJob", "metadata": None, "spec": []},
        {"kind": "TrainingJob", "metadata": {"namespace": 7}, "spec": {"datasets": [{"name": {}}, 3, None]}},
        {"kind": "InferenceJob", "metadata": {"namespace": ".."}, "spec": {"consentScope": {"name": "../.."}}},
        {"kind": "TrainingJob", "metadata": {"namespace": "team"}, "spec": {"datasets": [{"name": "a/b\u0000"}]}},
    ):
        facts = await store.gather(raw, NOW)
        assert json.dumps(sorted(map(str, facts.datasets))) == "[]"


def test_the_budget_of_reads_refills_and_remembers_names() -> None:
    now = [0.0]
    budget = ReadBudget(1.0, per_namespace=1.0, clock=lambda: now[0])
    names = [("Dataset", "team", f"d{i}") for i in range(4)]

    assert [budget.take(name, "team") for name in names] == [True, True, False, False]
    now[0] = 5.0
    assert budget.take(names[2], "team")
    assert not budget.take(names[2], "team")
    assert budget.take(names[3], "team")


def test_the_reads_of_one_namespace_do_not_use_up_those_of_another() -> None:
    budget = ReadBudget(20.0, clock=lambda: 0.0)
    names = [("Dataset", "clinic", f"d{i}") for i in range(100)]

    assert sum(budget.take(name, "attacker") for name in names) == 20
    assert budget.take(names[0], "team")  # the very name that was asked for elsewhere a moment ago
    assert sum(budget.take(name, f"n{i}") for i, name in enumerate(names)) == 19  # 40 for all together


def test_the_reads_of_very_many_namespaces_are_remembered_within_bounds() -> None:
    budget = ReadBudget(1e6, clock=lambda: 0.0)
    assert all(budget.take(("Dataset", "n", "d"), f"n{i}") for i in range(10_000))
    assert len(budget._of) <= REMEMBERED >= len(budget._asked)


def test_a_change_concerns_the_object_and_all_of_its_kind() -> None:
    assert touched_by(Dependency("DatasetGrant", "clinic", "give")) == (
        Dependency("DatasetGrant", "clinic", "give"),
        Dependency("DatasetGrant", "clinic", "*"),
    )


async def test_a_job_gets_the_exceptions_that_name_it_and_no_others(store: FactStore, api, eventually) -> None:
    path = f"{GROUP}/policyexceptions"
    await api.put(f"{path}/mine", exception())
    for name, other in {"a": {"kind": "InferenceJob"}, "b": {"namespace": "clinic"}, "c": {"name": "job2"}}.items():
        await api.put(f"{path}/{name}", exception(**other))
    version = store.version
    await eventually(lambda: len(list(store.informers["PolicyException"].keys(None))) == 4)
    assert store.version > version

    facts = await store.gather(job("own"), NOW)

    assert [e.name for e in facts.exceptions] == ["mine"]


async def test_packs_of_users_are_followed(api, client: KubeClient) -> None:
    place = "/api/v1/namespaces/mlprivacy-system/configmaps/acme"
    pack = "name: acme\nversion: '1'\ntitle: Acme\nnotice: House rules.\nrules:\n  - {id: high-risk-ai}\n"

    def configmap(text: str) -> dict:
        return {"metadata": {"labels": {"mlprivacy.dev/pack": "true"}}, "data": {"pack.yaml": text}}

    await world(api)
    await api.put(place, configmap(pack))
    store = FactStore(client, operator_namespace="mlprivacy-system", backoff=(0.01, 0.05))
    seen: list[Dependency] = []
    store.on_change(lambda changed, _old, _new: seen.append(changed))
    store.start()
    try:
        assert await store.wait_synced(20)
        first = await store.gather(job("own"), NOW)
        assert first.packs["acme"].line("high-risk-ai")
        again = await store.gather(job("own"), NOW)
        assert again.packs is first.packs, "the same object until something changes"

        version = store.version
        await api.put(place, configmap(pack + "rules: []\n"))
        await _until(lambda: "acme" in store.packs().bad)
        assert "acme" not in store.packs().packs
        assert "the key 'rules' is given twice" in store.packs().bad["acme"]
        assert Dependency("Pack", "", "acme") in seen
        assert store.version > version

        await api.remove(place)
        await _until(lambda: not store.packs().bad)
        assert store.packs().packs.keys() == FactStore(client).packs().packs.keys()
    finally:
        await store.stop()


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("never seen")
