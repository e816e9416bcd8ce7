"""What changes queues the jobs that rest on it and no others; a new decision says what changed; no other is written.

The table is every kind of fact by every way it can change. The controller is the real one (``stage``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from builders import (
    NOW,
    Raw,
    asked,
    change,
    consent_scope,
    data_class,
    dataset,
    exception,
    grant,
    grant_to,
    health_class,
    inference_job,
    policy,
    selecting,
    training_job,
    triage_grant,
    triage_scope,
    use,
)
from fabric_objects import ISOLATED, RESOURCE, network, node, node_state, pool, rdma_job, sriov_network
from stage import OPERATOR, Stage, stage

from mlprivacy.controller.causes import KEPT, Causes, sentence
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.resources import NODES
from mlprivacy.policy.custom import NoAnswer
from mlprivacy.policy.model import Dependency

PACK = """
name: acme
version: "1"
title: Ours
notice: Not legal advice.
rules:
  - {id: retention, citations: [ours]}
"""
DECLARED = {"special-category.minimumAssurance": "Declared"}
DEVICES = {"pod-hardening.extendedResources": f"nvidia.com/gpu,{RESOURCE}", "pod-hardening.secondaryNetworks": "true"}


def namespace(name: str, mode: str | None = "enforce", **labels: str) -> Raw:
    governed = {"mlprivacy.dev/enforce": mode} if mode else {}
    labels = {"kubernetes.io/metadata.name": name} | governed | labels
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def configmap(name: str, label: str, data: Raw) -> Raw:
    metadata = {"name": name, "namespace": OPERATOR, "labels": {f"mlprivacy.dev/{label}": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def register(name: str = "staff", **days: str) -> Raw:
    return configmap(name, "training-attestations", days)


def own(name: str, place: str, data: str, requester: str | None = None) -> Raw:
    """A job on a plain dataset of its own namespace."""
    item = {"name": data, "columns": ["age"], "mountPath": "/data/own"}
    job = training_job(name, place, datasets=[item], suspend=True)
    if requester:
        job["metadata"]["annotations"] = {"mlprivacy.dev/requested-by": requester}
    return job


def plain(name: str, place: str) -> Raw:
    columns = [{"name": "patient_id", "dataClass": "direct-identifier"}, {"name": "age", "dataClass": "demographic"}]
    return dataset(name, place, uses=[use()], columns=columns)


SCANS = dataset(
    "scans",
    uses=[use()],
    columns=[{"name": "patient_id", "dataClass": "direct-identifier"}, {"name": "pixels", "dataClass": "image"}],
)
DIAGNOSIS = training_job(suspend=True)
SCANNING = training_job("scanning", datasets=[asked(name="scans", columns=["pixels"])], suspend=True)
CURIOUS = training_job("curious", "labs", suspend=True)  # its namespace has no grant
ARCHIVED = own("archived", "archive", "documents")
ALICE, BOB = own("of-alice", "shop", "orders", "alice"), own("of-bob", "shop", "orders", "bob")
WILD = own("wild", "outside", "anything")  # its namespace is not governed
TRIAGE = inference_job(dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"}, suspend=True)
FAST = change(change(rdma_job(), "metadata.name", "fast"), "spec.suspend", True)

CLINIC_POLICY = policy("clinic", namespaceSelector=selecting("clinic"), parameters=DECLARED | DEVICES)
ARCHIVE_POLICY = policy("archive", namespaceSelector=selecting("archive"), packs=[{"name": "acme"}])
SHOP_POLICY = policy(
    "shop",
    namespaceSelector=selecting("shop"),
    rules=[{"id": "trained-personnel", "action": "Deny"}],
    custom=[{"id": "ours", "expression": "true", "message": "It is not so."}],
)
RESEARCH_POLICY = policy("research", namespaceSelector=selecting("research"), parameters=DECLARED | DEVICES)
SCANS_GRANT = grant("scans-to-research", to=[grant_to(name="scans", columns=["pixels"])])
WORLD = (
    *(namespace(n) for n in ("clinic", "research", "labs", "archive", "shop", "empty", OPERATOR)),
    namespace("outside", None),
    data_class(),
    data_class("image"),
    data_class("direct-identifier", categories=["user.unique_id"], identifiers="Drop"),
    data_class("nobodys"),
    health_class(network={"egress": "Sealed", "rdma": "ExclusiveOnly"}),
    dataset(),
    SCANS,
    plain("documents", "archive"),
    plain("orders", "shop"),
    plain("anything", "outside"),
    plain("unused", "archive"),
    consent_scope(),
    triage_scope(),
    consent_scope("unused"),
    grant(),
    SCANS_GRANT,
    triage_grant(),
    *(CLINIC_POLICY, ARCHIVE_POLICY, SHOP_POLICY, RESEARCH_POLICY),
    configmap("acme", "pack", {"pack.yaml": PACK}),
    register(alice="2030-01-01", bob="2030-01-01"),
    *ISOLATED,
    DIAGNOSIS,
    SCANNING,
    CURIOUS,
    ARCHIVED,
    ALICE,
    BOB,
    WILD,
    TRIAGE,
    FAST,
)
NAMES = {
    "diagnosis": "TrainingJob/research/diagnosis",
    "scanning": "TrainingJob/research/scanning",
    "curious": "TrainingJob/labs/curious",
    "archived": "TrainingJob/archive/archived",
    "alice": "TrainingJob/shop/of-alice",
    "bob": "TrainingJob/shop/of-bob",
    "wild": "TrainingJob/outside/wild",
    "triage": "InferenceJob/research/diagnosis-api",
    "fast": "TrainingJob/research/fast",
}
OF_CLINIC = ("diagnosis", "scanning", "curious", "triage", "fast")  # its data is the clinic's, granted or not
OF_RESEARCH = ("diagnosis", "scanning", "triage", "fast")
GOVERNED = tuple(name for name in NAMES if name != "wild")


class Answers:
    """An evaluator of custom rules for which everything is fine."""

    def evaluate(self, rules, document):
        return {rule.key: self.answer for rule in rules}

    def errors(self, texts):
        return {}

    answer: bool | NoAnswer = True


@pytest.fixture
async def world() -> AsyncIterator[Stage]:
    async with stage(WORLD, NOW, custom=Answers()) as found:
        found.jobs_looked_at()
        yield found


def put(raw: Raw) -> Callable[[Stage], object]:
    return lambda world: world.put(raw)


def gone(raw: Raw) -> Callable[[Stage], object]:
    return lambda world: world.remove(raw)


def with_status(raw: Raw, **status: object) -> Raw:
    return {**raw, "status": status}


CASES: dict[str, tuple[Callable[[Stage], object], tuple[str, ...]]] = {
    "a job": (put(change(DIAGNOSIS, "spec.privacy.epsilon", 2)), ("diagnosis",)),
    "a job that is deleted": (gone(ALICE), ("alice",)),
    "a dataset": (put(dataset(subjects={"column": "patient_id", "kind": "p", "atLeast": 9})), ("diagnosis", "fast")),
    "a dataset that goes": (gone(SCANS), ("scanning",)),
    "a dataset that nobody asks for": (put(change(plain("unused", "archive"), "spec.region", "eu")), ()),
    "a dataset that is made": (put(plain("fresh", "archive")), ()),
    "the status of a dataset": (put(with_status(dataset(), observedGeneration=1)), ()),
    "labels of a dataset": (put(change(dataset(), "metadata.labels", {"a": "b"})), ()),
    "a class": (put(health_class(minimumAssurance={"training": "Declared"})), ("diagnosis", "triage", "fast")),
    "a class of another's": (put(data_class("image", regions=["eu"])), ("scanning",)),
    "a class of nobody": (put(data_class("nobodys", regions=["eu"])), ()),
    "a class that goes": (gone(data_class("image")), ("scanning",)),
    "a scope": (put(consent_scope(purposes=["other"])), ("diagnosis", "fast")),
    "a scope that is withdrawn": (put(triage_scope(state="Withdrawn")), ("triage",)),
    "a scope that goes": (gone(consent_scope()), ("diagnosis", "fast")),
    "a snapshot of consent": (put(with_status(consent_scope(), snapshot={"takenAt": "x"})), ("diagnosis", "fast")),
    "conditions of a scope": (put(with_status(consent_scope(), conditions=[])), ()),
    "a scope of nobody": (put(consent_scope("unused", purposes=["x"])), ()),
    "a grant": (put(grant(expiresAt="2027-01-01T00:00:00Z")), ("diagnosis", "fast")),
    "a grant that goes": (gone(SCANS_GRANT), ("scanning",)),
    "a grant of a scope": (gone(triage_grant()), ("triage",)),
    "a grant to a namespace that waits for it": (
        put(grant("to-labs", **{"from": [{"namespace": "labs", "kind": "TrainingJob"}]})),
        ("curious",),
    ),
    "a grant to another kind": (
        put(grant("to-api", **{"from": [{"namespace": "research", "kind": "InferenceJob"}]})),
        (),
    ),
    "a grant of what nobody asks for": (put(grant("more", to=[grant_to(name="unasked")])), ()),
    "a grant of another namespace": (put(grant("ours", "archive")), ()),
    "a grant that turns to another dataset": (
        put(grant("scans-to-research", to=[grant_to()])),
        ("diagnosis", "scanning", "fast"),
    ),
    "a policy": (put(change(CLINIC_POLICY, "spec.mode", "Warn")), OF_CLINIC),
    "a policy of one namespace": (put(change(ARCHIVE_POLICY, "spec.mode", "Warn")), ("archived",)),
    "a policy that goes": (gone(ARCHIVE_POLICY), ("archived",)),
    "a policy that moves": (
        put(change(ARCHIVE_POLICY, "spec.namespaceSelector", selecting("shop"))),
        ("archived", "alice", "bob"),
    ),
    "a policy for nobody": (put(policy("nobody", namespaceSelector=selecting("empty"))), ()),
    "a policy for a namespace that is not governed": (put(policy("wild", namespaceSelector=selecting("outside"))), ()),
    "a policy for all": (put(policy("all")), GOVERNED),
    "a policy by label": (
        put(policy("by-label", namespaceSelector={"matchLabels": {"mlprivacy.dev/region": "moon"}})),
        (),
    ),
    "a policy by a level, for that and each stricter one": (
        put(policy("by-level", namespaceSelector={"matchLabels": {"mlprivacy.dev/enforce": "warn"}})),
        GOVERNED,
    ),
    "a policy that can not be read": (put(policy("bad", mode="Sometimes")), GOVERNED),
    "a custom rule": (put(change(SHOP_POLICY, "spec.custom[0].expression", "1 == 1")), ("alice", "bob")),
    "the status of a policy": (put(with_status(CLINIC_POLICY, observedGeneration=1)), ()),
    "an exception": (put(exception()), ("diagnosis",)),
    "an exception of a job that is not there": (
        put(exception(workload={"kind": "TrainingJob", "namespace": "research", "name": "nosuch"})),
        (),
    ),
    "a pack": (put(configmap("acme", "pack", {"pack.yaml": PACK + "  - {id: egress}\n"})), ("archived",)),
    "a pack that can not be read": (put(configmap("acme", "pack", {"pack.yaml": "x: ["})), ("archived",)),
    "a pack that goes": (gone(configmap("acme", "pack", {})), ("archived",)),
    "a pack that nobody names": (put(configmap("other", "pack", {"pack.yaml": PACK.replace("acme", "other")})), ()),
    "the label of a namespace": (put(namespace("archive", "warn")), ("archived",)),
    "another label": (put(namespace("shop", region="eu")), ("alice", "bob")),
    "the label of the data's namespace": (put(namespace("clinic", "warn")), OF_CLINIC),
    "the label of the job's namespace": (put(namespace("research", "warn")), OF_RESEARCH),
    "a namespace that becomes governed": (put(namespace("outside")), ("wild",)),
    "a namespace of nobody": (put(namespace("empty", "audit")), ()),
    "a namespace that is made": (put(namespace("new")), ()),
    "an attestation": (put(register(alice="2026-01-01", bob="2030-01-01")), ("alice",)),
    "an attestation that goes": (put(register(alice="2030-01-01")), ("bob",)),
    "an attestation of somebody else": (put(register(alice="2030-01-01", bob="2030-01-01", eve="2030-01-01")), ()),
    "a second register": (put(register("more", bob="2031-01-01")), ("bob",)),
    "the last register that goes": (gone(register()), ("alice", "bob")),
    "a network": (put(network({"type": "macvlan"})), ("fast",)),
    "a network that goes": (gone(network()), ("fast",)),
    "a network of nobody": (put(network(name="other")), ()),
    "a network of another namespace": (put(network(namespace="labs")), ()),
    "a node": (put(node(pool="other")), ("fast",)),
    "a heartbeat of a node": (put(change(node(), "status.conditions", [{"type": "Ready"}])), ()),
    "the mode of RDMA on a node": (put(node_state("shared")), ("fast",)),
    "a pool": (put(pool("shared")), ("fast",)),
    "a network's description": (put(sriov_network(trust="on")), ("fast",)),
}


@pytest.mark.parametrize("what", CASES)
async def test_a_change_queues_the_jobs_that_rest_on_it_and_no_others(world: Stage, what: str) -> None:
    act, expected = CASES[what]
    act(world)
    await world.settled()
    assert world.jobs_looked_at() == {NAMES[name] for name in expected}


def test_every_kind_of_fact_is_in_the_table() -> None:
    """A kind that the facts get later fails here until somebody says whom it concerns."""
    facts = {"Namespace", "DataClass", "Dataset", "DatasetGrant", "ConsentScope", "PrivacyPolicy", "PolicyException"}
    facts |= {"PrivacyBudget", "LedgerEntry"}  # see test_affected_by_budgets.py
    from mlprivacy.kube.fabric import KINDS  # noqa: PLC0415
    from mlprivacy.kube.facts import PACKS, SOURCES  # noqa: PLC0415

    assert {source.kind for source in SOURCES} == facts
    assert PACKS == "Pack"
    assert NODES.kind in KINDS
    assert len(KINDS) == 10


async def test_the_one_register_that_is_made_concerns_everybody_who_needs_one() -> None:
    lacking = [raw for raw in WORLD if raw != register(alice="2030-01-01", bob="2030-01-01")]
    async with stage(lacking, NOW, custom=Answers()) as world:
        world.jobs_looked_at()
        world.put(register(alice="2030-01-01"))
        await world.settled()
        assert world.jobs_looked_at() == {NAMES["alice"], NAMES["bob"]}


async def test_only_what_differs_is_written(world: Stage) -> None:
    """Changes that concern jobs and leave their decisions as they are: looked at, and nothing written on any job."""
    before = world.api.writes.copy()
    world.put(policy("all-the-same", packs=[]))
    world.put(change(dataset(), "spec.retention", {"until": "2039-01-01"}))
    world.put(change(namespace("shop"), "metadata.labels.team", "a"))
    world.put(register(alice="2031-01-01", bob="2031-01-01"))
    await world.settled()
    assert len(world.jobs_looked_at()) == len(GOVERNED)
    written = world.api.writes - before
    assert {kind for _, kind in written} <= {"PrivacyPolicy", "Dataset"}  # their own conditions


async def test_a_change_before_the_first_look_is_no_cause(world: Stage) -> None:
    for name in ("diagnosis", "scanning", "fast"):
        assert "changedBy" not in status(world, name)["decision"] or not status(world, name)["decision"]["changedBy"]


def status(world: Stage, name: str) -> Raw:
    kind, place, plain_name = NAMES[name].split("/")
    return world.api.objects[kind][place, plain_name]["status"]


def decided(world: Stage, name: str, verdict: str) -> bool:
    kind, place, plain_name = NAMES[name].split("/")
    found = world.api.objects[kind][place, plain_name].get("status", {})
    return found.get("decision", {}).get("verdict") == verdict


def accepted(world: Stage, name: str) -> Raw:
    return next(c for c in status(world, name)["conditions"] if c["type"] == "Accepted")


async def test_a_new_decision_says_what_changed(world: Stage) -> None:
    assert accepted(world, "diagnosis")["status"] == "True"
    world.remove(consent_scope())
    await world.settled()
    cause = [{"kind": "ConsentScope", "namespace": "clinic", "name": "research-consent"}]
    said = "ecided anew after a change of ConsentScope clinic/research-consent"
    found = status(world, "diagnosis")
    assert (found["decision"]["verdict"], found["decision"]["changedBy"]) == ("Hold", cause)
    assert accepted(world, "diagnosis")["message"].endswith(f"D{said}.")
    assert [e["note"] for e in world.api.events if said in e["note"] and e["regarding"]["name"] == "diagnosis"]
    records = [r for r in world.collector.records if r.subject.name == "diagnosis" and r.kind == "decision"]
    assert records[-1].data["changedBy"] == cause
    assert status(world, "scanning")["decision"].get("changedBy", []) == []

    # Another look, for something else that changes nothing: the cause stays, and nothing is written.
    before = world.api.writes["patch", "TrainingJob"]
    world.put(
        health_class(network={"egress": "Sealed", "rdma": "ExclusiveOnly"}, minimumAssurance={"inference": "Declared"})
    )
    await world.settled()
    assert NAMES["diagnosis"] in world.jobs_looked_at()
    assert world.api.writes["patch", "TrainingJob"] == before
    assert status(world, "diagnosis")["decision"]["changedBy"] == cause

    # The job itself is changed: whoever did that knows it.
    world.put(change(DIAGNOSIS, "spec.datasets[0].columns", ["no_such"]))
    await world.settled()
    assert status(world, "diagnosis")["decision"]["changedBy"] == []
    assert "ecided anew" not in accepted(world, "diagnosis")["message"]


async def test_what_is_not_granted_is_never_named_as_a_cause(world: Stage) -> None:
    before = status(world, "curious")
    world.remove(dataset())
    world.put(dataset())
    await world.settled()
    assert status(world, "curious") == before


async def test_several_changes_are_all_named(world: Stage) -> None:
    world.remove(consent_scope())
    world.put(health_class(differentialPrivacy={"required": True, "maxEpsilonPerJob": 1, "unit": "User"}))
    await world.settled()
    kinds = {c["kind"] for c in status(world, "diagnosis")["decision"]["changedBy"]}
    assert kinds <= {"ConsentScope", "DataClass"}
    assert kinds


async def test_a_date_that_comes_is_named() -> None:
    ends = grant(expiresAt=(NOW + timedelta(seconds=0.5)).isoformat().replace("+00:00", "Z"))
    async with stage([*(raw for raw in WORLD if raw != grant()), ends], NOW, custom=Answers()) as world:
        assert status(world, "diagnosis")["decision"]["verdict"] == "Allow"
        world.jobs_looked_at()
        world.clock.now = NOW + timedelta(seconds=2)
        await asyncio.sleep(1.1)
        await world.settled()
        assert world.jobs_looked_at() == {NAMES["diagnosis"], NAMES["fast"]}
        found = status(world, "diagnosis")["decision"]
        assert found["verdict"] == "Hold"
        assert [c["kind"] for c in found["changedBy"]] == ["Time"]
        assert "when something that it rests on ended or began" in accepted(world, "diagnosis")["message"]


async def test_inputs_and_exceptions_are_found_by_their_index_too(world: Stage) -> None:
    world.put(exception())
    world.put(exception("elsewhere", workload={"kind": "TrainingJob", "namespace": "archive", "name": "archived"}))
    await world.settled()
    world.looked.clear()
    world.put(change(ARCHIVE_POLICY, "spec.mode", "Warn"))
    world.put(data_class("image", regions=["eu"]))
    world.put(configmap("acme", "pack", {"pack.yaml": PACK + "  - {id: egress}\n"}))
    await world.settled()
    looked = {key for key in world.looked if key.kind in ("PolicyException", "Dataset", "PrivacyPolicy")}
    assert looked == {
        JobKey("PolicyException", "", "elsewhere"),
        JobKey("Dataset", "clinic", "scans"),
        JobKey("PrivacyPolicy", "", "archive"),
    }


async def test_a_change_while_custom_rules_are_asked_is_not_missed() -> None:
    """The job is in no index yet while its first custom rules are evaluated; what changes then is looked at again."""
    found: list[Stage] = []

    class Slow(Answers):
        def evaluate(self, rules, document):
            if found and not getattr(self, "done", False):
                self.done = True
                asyncio.run_coroutine_threadsafe(self._change(), self.loop).result()
            return super().evaluate(rules, document)

        async def _change(self):
            found[0].put(change(plain("orders", "shop"), "spec.uses", []))
            await asyncio.sleep(0.05)

    slow = Slow()
    slow.loop = asyncio.get_running_loop()
    async with stage([raw for raw in WORLD if raw is not ALICE], NOW, custom=slow) as world:
        found.append(world)
        world.put(ALICE)
        for _ in range(6000):
            if decided(world, "alice", "Deny"):
                break
            await asyncio.sleep(0.01)
        assert decided(world, "alice", "Deny")


class TestCauses:
    JOB, OTHER = JobKey("TrainingJob", "a", "x"), JobKey("TrainingJob", "a", "y")

    def changes(self, count: int) -> list[Dependency]:
        return [Dependency("Dataset", "a", f"d{n}") for n in range(count)]

    def test_what_comes_while_a_job_is_decided_on_stays(self) -> None:
        causes, (one, two) = Causes(), self.changes(2)
        causes.note([self.JOB, self.OTHER], one)
        seen = causes.of(self.JOB)
        causes.note([self.JOB], two)
        causes.settle(self.JOB, seen)
        assert (causes.of(self.JOB), causes.of(self.OTHER)) == ((two,), (one,))
        causes.settle(self.JOB, (two,))
        causes.settle(self.OTHER, (one,))
        assert len(causes) == 0

    def test_of_one_job_no_more_than_a_few_are_kept_and_none_twice(self) -> None:
        causes = Causes()
        for one in [*self.changes(50), *self.changes(50)]:
            causes.note([self.JOB], one)
        assert causes.of(self.JOB) == tuple(self.changes(KEPT))

    def test_the_words(self) -> None:
        assert sentence([]) == ""
        changed = [{"kind": "PrivacyPolicy", "name": "eu"}, {"kind": "Dataset", "namespace": "a", "name": "b"}]
        assert sentence(changed) == "decided anew after a change of PrivacyPolicy eu, Dataset a/b"
