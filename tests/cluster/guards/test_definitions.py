"""Threat 39: the definitions of our kinds. Deleting one deletes its objects past every policy."""

from collections.abc import Iterator
from typing import Any

import pytest

HOLDER = "erin"
OURS = "trainingjobs.mlprivacy.dev"


@pytest.fixture
def holder(world: Any) -> Iterator[Any]:
    """HOLDER may write and delete every definition, and has not the verb weaken."""
    verbs = "--verb=get,list,create,update,patch,delete,deletecollection"
    world.cluster.kubectl(
        "create", "clusterrole", "definer", verbs, "--resource=customresourcedefinitions.apiextensions.k8s.io"
    )
    world.cluster.kubectl("create", "clusterrolebinding", "definer", "--clusterrole=definer", f"--user={HOLDER}")
    yield world
    world.cluster.kubectl("delete", "clusterrolebinding", "definer")
    world.cluster.kubectl("delete", "clusterrole", "definer")


@pytest.mark.xdist_group("definitions")
def test_a_definition_of_ours_is_neither_deleted_nor_changed_without_weaken(holder: Any) -> None:
    holder.refused("delete", "crd", OURS, policy="definitions", by=HOLDER)
    holder.refused("label", "crd", OURS, "x=y", policy="definitions", by=HOLDER)
    holder.refused(
        "delete", "--raw", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", policy="definitions", by=HOLDER
    )

    assert "deletionTimestamp" not in holder.get("crd", OURS)["metadata"]


@pytest.mark.xdist_group("definitions")
def test_an_administrator_upgrades_them(holder: Any) -> None:
    holder.allowed("annotate", "--overwrite", "crd", OURS, "seen=yes", by=None)


@pytest.mark.xdist_group("definitions")
def test_definitions_of_other_groups_are_free(holder: Any) -> None:
    group = "guards.example.com"
    names = {"plural": "things", "singular": "thing", "kind": "Thing"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    thing = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    holder.allowed("create", "-f", "-", body=thing, by=HOLDER)
    holder.allowed("delete", "crd", f"things.{group}", by=HOLDER)
