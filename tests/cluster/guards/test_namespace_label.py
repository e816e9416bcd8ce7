"""Threats 1, 37: lowering a namespace's ceiling or moving it under other policies; the verb weaken allows it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

HOLDER, OFFICER = "heidi", "grace"


@pytest.fixture
def people(world: Any) -> Iterator[Any]:
    """HOLDER may write every namespace, OFFICER is bound to mlprivacy-privacy-officer."""
    kubectl = world.cluster.kubectl
    resources = "--resource=namespaces,namespaces/status,namespaces/finalize"
    kubectl("create", "clusterrole", "holder", "--verb=get,create,update,patch", resources)
    kubectl("create", "clusterrolebinding", "holder", "--clusterrole=holder", f"--user={HOLDER}")
    kubectl("create", "clusterrolebinding", "officer", "--clusterrole=mlprivacy-privacy-officer", f"--user={OFFICER}")
    yield world
    kubectl("delete", "clusterrolebinding", "holder", "officer")
    kubectl("delete", "clusterrole", "holder")


WEAKER = [
    pytest.param("mlprivacy.dev/enforce-", id="removed"),
    pytest.param("mlprivacy.dev/enforce=warn", id="lowered to warn"),
    pytest.param("mlprivacy.dev/enforce=audit", id="lowered to audit"),
]


@pytest.mark.parametrize("change", WEAKER)
@pytest.mark.xdist_group("namespace-label")
def test_lowering_the_ceiling_needs_the_verb_weaken(people: Any, change: str) -> None:
    ns = people.namespace("enforce")
    command = ("label", "--overwrite", "namespace", ns, change)

    said = people.refused(*command, policy="namespace-label", by=HOLDER)

    assert "mlprivacy-privacy-officer" in said
    people.allowed(*command, by=OFFICER)


@pytest.mark.parametrize("subresource", ["status", "finalize"])
@pytest.mark.xdist_group("namespace-label")
def test_subresources_of_a_namespace_are_no_way_around(people: Any, subresource: str) -> None:
    ns = people.namespace("enforce")
    body = people.get("namespaces", ns)
    del body["metadata"]["labels"]["mlprivacy.dev/enforce"]
    command = ("replace", "--raw", f"/api/v1/namespaces/{ns}/{subresource}", "-f", "-")

    people.refused(*command, policy="namespace-label", by=HOLDER, body=json.dumps(body))

    assert people.get("namespaces", ns)["metadata"]["labels"]["mlprivacy.dev/enforce"] == "enforce"


@pytest.mark.xdist_group("namespace-label")
def test_raising_the_ceiling_and_other_labels_are_free(people: Any) -> None:
    ns = people.namespace("audit")

    people.allowed("label", "--overwrite", "namespace", ns, "mlprivacy.dev/enforce=warn", by=HOLDER)
    people.allowed("label", "--overwrite", "namespace", ns, "mlprivacy.dev/enforce=enforce", "team=a", by=HOLDER)
    people.allowed(
        "label", "--overwrite", "namespace", people.namespace(None), "mlprivacy.dev/enforce=enforce", by=HOLDER
    )


@pytest.mark.xdist_group("namespace-label")
def test_a_value_that_governs_nothing_is_refused(people: Any) -> None:
    for change in ("mlprivacy.dev/enforce=Enforce", "mlprivacy.dev/enforce=", "mlprivacy.dev/enforce=off"):
        command = ("label", "--overwrite", "namespace", people.namespace(None), change)
        assert "enforce, warn or audit" in people.refused(*command, policy="namespace-label", by=OFFICER)


@pytest.mark.parametrize("change", ["region=us", "region-", "tenant=other", "role=controller", "role-"])
@pytest.mark.xdist_group("namespace-label")
def test_a_governed_namespace_does_not_move_to_other_policies(people: Any, change: str) -> None:
    ns = people.namespace("enforce", region="eu", role="processor")
    command = ("label", "--overwrite", "namespace", ns, f"mlprivacy.dev/{change}")

    people.refused(*command, policy="namespace-label", by=HOLDER)
    people.allowed(*command, by=OFFICER)


@pytest.mark.xdist_group("namespace-label")
def test_a_role_is_controller_or_processor_and_nothing_else(people: Any) -> None:
    ns = people.namespace("enforce")
    for value in ("procesor", "Processor", ""):
        command = ("label", "--overwrite", "namespace", ns, f"mlprivacy.dev/role={value}")
        assert "controller or processor" in people.refused(*command, policy="namespace-label", by=OFFICER)
    people.allowed("label", "namespace", ns, "mlprivacy.dev/role=processor", by=OFFICER)


@pytest.mark.xdist_group("namespace-label")
def test_the_verb_may_be_granted_for_one_namespace(people: Any) -> None:
    ours, theirs = people.namespace("enforce"), people.namespace("enforce")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "one"},
        "rules": [
            {
                "apiGroups": ["mlprivacy.dev"],
                "resources": ["governednamespaces"],
                "resourceNames": [ours],
                "verbs": ["weaken"],
            }
        ],
    }
    people.cluster.apply(role)
    people.cluster.kubectl("create", "clusterrolebinding", "one", "--clusterrole=one", f"--user={HOLDER}")
    try:
        people.allowed("label", "namespace", ours, "mlprivacy.dev/enforce-", by=HOLDER)
        people.refused("label", "namespace", theirs, "mlprivacy.dev/enforce-", policy="namespace-label", by=HOLDER)
    finally:
        people.cluster.kubectl("delete", "clusterrolebinding", "one")
        people.cluster.kubectl("delete", "clusterrole", "one")
