"""Threats 2, 34: the jobs themselves: who asked, the finalizer, orphans; and who may write which of our kinds."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

JOBS = "trainingjobs.mlprivacy.dev"
ASKED, CHANGED = "mlprivacy.dev/requested-by", "mlprivacy.dev/last-changed-by"


@pytest.fixture
def job(world: Any, manifests: Any) -> Iterator[str]:
    """The namespace of a TrainingJob `visits` of the attacker's with our finalizer."""
    ns = world.namespace()
    world.create(ns, manifests.training_job())
    held = json.dumps({"metadata": {"finalizers": ["mlprivacy.dev/teardown"]}})
    world.allowed("patch", JOBS, "visits", "-n", ns, "--type=merge", "-p", held, by=world.operator)
    yield ns
    bare = json.dumps({"metadata": {"finalizers": None}})
    world.do("patch", JOBS, "visits", "-n", ns, "--type=merge", "-p", bare, by=None)


def test_a_job_says_truly_who_asked_for_it(world: Any, manifests: Any) -> None:
    ns = world.common
    for name in ("admin", "", "mallory2", "Mallory"):
        world.try_refused(ns, manifests.training_job(by=name), "requester", by=world.attacker)
    nobody = manifests.training_job()
    del nobody["metadata"]["annotations"]
    world.try_refused(ns, nobody, "requester", by=world.attacker)
    world.try_out(ns, manifests.training_job(), by=world.attacker)


def test_who_asked_and_who_changed_it_can_not_be_rewritten(world: Any, job: str) -> None:
    for note in (f"{ASKED}=admin", f"{ASKED}-", f"{CHANGED}=admin"):
        world.refused("annotate", "--overwrite", JOBS, "visits", "-n", job, note, policy="requester")
        world.refused(
            "annotate", "--overwrite", JOBS, "visits", "-n", job, f"{ASKED}=other", policy="requester", by=None
        )
    world.allowed("annotate", JOBS, "visits", "-n", job, f"{CHANGED}=mallory", "team=a")
    world.refused(
        "annotate", "--overwrite", JOBS, "visits", "-n", job, f"{CHANGED}=mallory-", policy="requester", by=None
    )
    world.allowed("annotate", JOBS, "visits", "-n", job, "seen=yes", by=None)


def test_the_teardown_finalizer_is_taken_off_by_the_operator_alone(world: Any, job: str) -> None:
    bare = ("patch", JOBS, "visits", "-n", job, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": None}}))
    world.refused(*bare, policy="ownership")

    world.allowed("delete", JOBS, "visits", "-n", job, "--wait=false")
    world.refused(*bare, policy="ownership")
    assert world.get(JOBS, "visits", job) is not None
    world.allowed(*bare, by=world.operator)
    world.gone(JOBS, "visits", job)


def test_an_administrator_takes_it_off_when_the_operator_is_gone(world: Any, job: str) -> None:
    bare = json.dumps({"metadata": {"finalizers": None}})
    world.allowed("delete", JOBS, "visits", "-n", job, "--wait=false")

    world.allowed("patch", JOBS, "visits", "-n", job, "--type=merge", "-p", bare, by=None)

    world.gone(JOBS, "visits", job)


def test_a_job_is_not_orphaned(world: Any, job: str) -> None:
    path = f"/apis/mlprivacy.dev/v1alpha1/namespaces/{job}/trainingjobs"
    world.refused("delete", JOBS, "visits", "-n", job, "--cascade=orphan", policy="ownership")
    world.refused("delete", JOBS, "visits", "-n", job, "--cascade=orphan", policy="ownership", by=None)
    world.refused("delete", "--raw", f"{path}/visits?orphanDependents=true", policy="ownership")
    world.refused("delete", "--raw", f"{path}?propagationPolicy=Orphan", policy="ownership")
    orphan = json.dumps({"metadata": {"finalizers": ["mlprivacy.dev/teardown", "orphan"]}})
    world.refused("patch", JOBS, "visits", "-n", job, "--type=merge", "-p", orphan, policy="ownership")


def test_edit_alone_writes_none_of_our_kinds(world: Any) -> None:
    """Nothing of ours is aggregated into the stock roles, not even to read."""
    ns = world.namespace()
    rights = {"edit": "pods", "admin": "rolebindings.rbac.authorization.k8s.io", "view": "pods"}
    for role in ("edit", "admin", "view"):
        user = f"only-{role}"
        world.grant(ns, role, user)
        known = rights[role]
        world.eventually(lambda user=user, known=known: world.may(user, "get", known, ns), f"{role} in force")
        for kind in ("datasets", "datasetgrants", "consentscopes", "trainingjobs", "inferencejobs"):
            for verb in ("get", "create", "update", "delete"):
                assert not world.may(user, verb, f"{kind}.mlprivacy.dev", ns), f"{role} may {verb} {kind}"


PERSONAS = {
    "mlprivacy-privacy-officer": {"dataclasses", "policyexceptions", "privacypolicies"},
    "mlprivacy-data-owner": {"datasets", "datasetgrants", "consentscopes"},
    "mlprivacy-ml-engineer": {"trainingjobs", "inferencejobs", "policyexceptions"},
    "mlprivacy-auditor": set(),
}
KINDS = set().union(*PERSONAS.values())


@pytest.mark.parametrize("role", PERSONAS)
def test_each_persona_writes_its_own_kinds_and_reads_the_others(world: Any, role: str) -> None:
    user = f"only-{role}"
    world.cluster.kubectl("create", "clusterrolebinding", user, f"--clusterrole={role}", f"--user={user}")
    try:
        world.eventually(lambda: world.may(user, "get", "datasets.mlprivacy.dev"), f"{role} in force")
        for kind in KINDS:
            may = {verb for verb in ("get", "create", "delete") if world.may(user, verb, f"{kind}.mlprivacy.dev")}
            assert may == ({"get", "create", "delete"} if kind in PERSONAS[role] else {"get"}), kind
        weakens = world.may(user, "weaken", "governednamespaces.mlprivacy.dev", "")
        assert weakens == (role == "mlprivacy-privacy-officer")
        assert world.may(user, "approve", "policyexceptions.mlprivacy.dev", "") == weakens
    finally:
        world.cluster.kubectl("delete", "clusterrolebinding", user)
