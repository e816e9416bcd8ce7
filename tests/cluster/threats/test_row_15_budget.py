"""Row 15: nobody resets a privacy budget: not by its objects, not by the ledger's, not by a new name for the data.

`ada` has the stock ClusterRole `admin`, bound in the whole cluster; `mallory` and `heidi` are those of the other rows.
`olga` and `oscar` are privacy officers.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from person import Object, Person

from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.entry import Head, entry_name, link
from mlprivacy.budget.ledger.transitions import Open

RBAC = "rbac.authorization.k8s.io"
PROMISED, APPROVED = "mlprivacy.dev/promised-by", "mlprivacy.dev/approved-by"


class Clinic:
    """A namespace whose dataset has a budget with a ledger, and who is after it."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.ada = self.bound("admin", "ada")
        self.olga = self.bound("mlprivacy-privacy-officer", "olga")
        self.oscar = self.bound("mlprivacy-privacy-officer", "oscar")
        self.namespace = scene.namespace()
        self.domain = self.namespace
        self.budget = f"privacybudgets/{self.namespace}"
        scene.allowed(self.make())
        self.entries = scene.eventually(self.registered, "the entry of the ledger that registers the dataset")

    def bound(self, role: str, user: str) -> Person:
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"threat-{role}-{user}"},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        }
        self.scene.put(None, binding, again=True)
        return Person(self.scene.cluster, user)

    def make(self, by: Person | None = None, **spec: Any) -> Any:
        base = {
            "subjectDomain": self.domain,
            "identities": [f"urn:{self.namespace}:visits"],
            "epsilon": 10,
            "delta": 1e-6,
            "noticeVersion": "1",
            "unit": "User",
            "blocks": {"by": "Subject", "buckets": 4},
        }
        body = self.scene.ours("PrivacyBudget", self.namespace, base | spec)
        return (by or self.olga).create(None, body)

    def ledger(self) -> list[Object]:
        found = self.scene.admin.items(None, "ledgerentries", fieldSelector=f"spec.subjectDomain={self.domain}")
        return sorted(found, key=lambda entry: int(entry["spec"]["sequence"]))

    def registered(self) -> list[Object]:
        found = self.ledger()
        steps = [step["type"] for entry in found for step in entry["spec"]["transitions"]]
        return found if "Register" in steps and "Open" in steps else []

    def forged(self) -> Object:
        """The entry that would come next, well formed."""
        last = self.ledger()[-1]["spec"]
        head = Head(self.domain, int(last["sequence"]), last["hash"])
        return link(head, (Open((Range(0, 3),)),), last["time"], "mallory").manifest()


@pytest.fixture(scope="module")
def clinic(stack: Any) -> Iterator[Clinic]:
    from theatre import Scene  # noqa: PLC0415 - found through the conftest

    scene = Scene(stack)
    yield Clinic(scene)
    scene.clean()


@pytest.mark.parametrize("who", ["mallory", "heidi", "ada"])
def test_row_15_a_stock_role_reaches_neither_ledger_nor_budget(clinic: Clinic, who: str) -> None:
    """Not the entries, of which a checkpoint is one, not the budget and no status."""
    scene, person = clinic.scene, clinic.ada if who == "ada" else getattr(clinic.scene, who)
    before, budget = clinic.ledger(), scene.admin.read(None, clinic.budget)
    entry = f"ledgerentries/{before[0]['metadata']['name']}"
    for target in (entry, clinic.budget):
        for change in ({"metadata": {"labels": {"a": "b"}}}, {"spec": {"epsilon": 1000}}):
            scene.refused(person.patch(None, target, change), "rbac")
        scene.refused(person.patch(None, target, {"status": {"usedPercent": 0}}, sub="status"), "rbac")
        scene.refused(person.delete(None, target), "rbac")
        scene.refused(person.delete(None, target.split("/")[0]), "rbac")
    scene.refused(person.create(None, clinic.forged()), "rbac")
    scene.refused(clinic.make(person), "rbac")
    assert clinic.ledger() == before
    assert scene.admin.read(None, clinic.budget)["spec"] == budget["spec"]


def test_row_15_an_administrator_and_an_officer_write_no_entry(clinic: Clinic) -> None:
    """With every right there is: the guard of the ledger, or the definition of the kind."""
    scene, before = clinic.scene, clinic.ledger()
    entry = f"ledgerentries/{before[0]['metadata']['name']}"
    collector = scene.acting_as("system:serviceaccount:kube-system:generic-garbage-collector")
    scene.refused(scene.admin.create(None, clinic.forged()), "guard ledger")
    for options in ({}, {"propagationPolicy": "Foreground"}, {"gracePeriodSeconds": 0}):
        scene.refused(scene.admin.delete(None, entry, **options), "guard ledger")
        scene.refused(collector.delete(None, entry, **options), "guard ledger")
    scene.refused(scene.admin.delete(None, "ledgerentries"), "guard ledger")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": str(uuid.uuid4())}
    for change in ({"labels": {"a": "b"}}, {"finalizers": ["a.example/b"]}, {"ownerReferences": [owner]}):
        scene.refused(scene.admin.patch(None, entry, {"metadata": change}), "guard ledger")
    scene.refused(scene.admin.patch(None, entry, {"status": {"observedGeneration": 1}}, sub="status"), "guard ledger")
    scene.refused(scene.admin.patch(None, clinic.budget, {"status": {"usedPercent": 0}}, sub="status"), "guard budgets")
    scene.refused(clinic.olga.delete(None, entry), "rbac")
    assert clinic.ledger() == before


def other_names(namespace: str) -> list[str]:
    """Further addresses of the same data."""
    return [
        f"s3://{namespace}/visits/2026.parquet",
        f"s3://{namespace.upper()}//visits/./*.parquet",
        f"s3://{namespace}/%76isits/x.parquet",
        f"s3://{namespace}/**",
        f"s3://{namespace}",
    ]


def test_row_15_the_same_data_under_another_identity_is_refused(clinic: Clinic) -> None:
    """By whoever may do everything in a namespace of their own; they are told the domain, not the dataset."""
    scene = clinic.scene
    home = scene.namespace(data=False)
    (visits,) = scene.admin.items(clinic.namespace, "datasets")
    for number, uri in enumerate(other_names(clinic.namespace)):
        copied = scene.changed(visits, metadata=None, spec__identity=f"urn:{home}:mine", spec__source__uri=uri)
        copied["metadata"] = {"name": f"copy-{number}"}
        said = scene.refused(scene.heidi.create(home, copied), "webhook kinds")
        assert f"in the subject domain {clinic.domain}" in said.message
        assert f"urn:{clinic.namespace}" not in said.message
    twice = scene.ours("PrivacyBudget", f"{clinic.namespace}-2", {
        "subjectDomain": f"{clinic.domain}-2", "identities": [f"urn:{clinic.namespace}:visits"], "epsilon": 10,
        "delta": 1e-6, "unit": "User", "blocks": {"by": "Subject", "buckets": 4}})  # fmt: skip
    scene.refused(clinic.olga.create(None, twice), "webhook kinds")
    same = scene.changed(twice, spec__subjectDomain=clinic.domain, spec__identities=[f"urn:{home}:other"])
    scene.refused(clinic.olga.create(None, same), "webhook kinds")


def test_row_15_a_larger_promise_takes_two_people(clinic: Clinic) -> None:
    """Whatever stamps somebody sends along: who they are is what the API server says."""
    scene = clinic.scene
    forged = {"annotations": {PROMISED: "oscar", APPROVED: "oscar"}}
    more = {"metadata": forged, "spec": {"epsilon": 12, "noticeVersion": "2"}}
    scene.allowed(clinic.olga.patch(None, clinic.budget, more))
    approval = {"epsilon": 12, "delta": 1e-6, "noticeVersion": "2"}
    noted = lambda: scene.admin.read(None, clinic.budget)["metadata"]["annotations"]  # noqa: E731
    assert (noted()[PROMISED], noted().get(APPROVED)) == ("olga", None)
    scene.refused(clinic.olga.patch(None, clinic.budget, {"spec": {"approval": approval}}), "guard budgets")
    scene.refused(
        clinic.olga.patch(None, clinic.budget, {"metadata": forged, "spec": {"approval": approval}}), "guard budgets"
    )
    scene.allowed(clinic.oscar.patch(None, clinic.budget, {"metadata": forged, "spec": {"approval": approval}}))
    assert (noted()[PROMISED], noted()[APPROVED]) == ("olga", "oscar")
    scene.allowed(clinic.olga.patch(None, clinic.budget, {"metadata": {"annotations": {APPROVED: "olga"}}}))
    assert noted()[APPROVED] == "oscar", "the webhook puts back what is true"


def test_row_15_deleting_and_making_it_anew_resets_nothing(clinic: Clinic) -> None:
    """Budget and dataset go; the ledger stays, the approval does not, and the data belongs where it did."""
    scene, before = clinic.scene, clinic.ledger()
    (visits,) = scene.admin.items(clinic.namespace, "datasets")
    scene.allowed(clinic.olga.delete(None, clinic.budget))
    scene.allowed(scene.admin.delete(clinic.namespace, "datasets/visits"))
    home = scene.namespace(data=False)

    copied = scene.changed(visits, metadata=None, spec__identity=f"urn:{home}:mine")
    copied["spec"]["source"]["uri"] = other_names(clinic.namespace)[0]
    copied["metadata"] = {"name": "copy"}
    for _ in range(3):  # also once admission has seen both go: then the ledger alone knows
        said = scene.refused(scene.heidi.create(home, copied), "webhook kinds")
        assert f"in the subject domain {clinic.domain}" in said.message
        time.sleep(0.5)
    entries = clinic.ledger()
    assert [entry["spec"] for entry in entries[: len(before)]] == [entry["spec"] for entry in before]
    scene.refused(clinic.make(unit="Event"), "webhook kinds")
    approved = {"epsilon": 10, "delta": 1e-6, "noticeVersion": "1"}
    scene.refused(clinic.make(approval=approved), "webhook kinds|guard budgets")
    scene.allowed(clinic.make())
    found = scene.admin.read(None, clinic.budget)
    assert APPROVED not in found["metadata"]["annotations"]
    assert "approval" not in found["spec"]


def test_row_39_the_ledgers_definition_stays(clinic: Clinic) -> None:
    """Deleting it would delete every entry past every policy."""
    scene, before = clinic.scene, clinic.ledger()
    everything = [{"apiGroups": ["apiextensions.k8s.io"], "resources": ["*"], "verbs": ["*"]}]
    keeper = scene.officer_of("threat-definitions", everything, "frank")
    for crd in ("ledgerentries.mlprivacy.dev", "privacybudgets.mlprivacy.dev"):
        target = f"customresourcedefinitions/{crd}"
        scene.eventually(lambda target=target: keeper.get(None, target).ok, "the rights of frank")
        scene.refused(keeper.delete(None, target), "guard definitions")
        scene.refused(keeper.patch(None, target, {"metadata": {"labels": {"a": "b"}}}), "guard definitions")
        scene.refused(clinic.ada.delete(None, target), "rbac")
    assert clinic.ledger() == before
    assert entry_name(clinic.domain, 1) == before[0]["metadata"]["name"]
