"""Threats 6, 30, 35: the names mlp-sealed-* and mlp-*, by every road a pod could take; clones of claims."""

from typing import Any

import pytest

SEALED = "mlp-sealed-visits"
ENV = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": SEALED, "key": "k"}}}
CONTAINER = {"name": "more", "image": "registry.example/app:1"}
ROADS = {
    "claim": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": SEALED, "readOnly": True}}]},
    "secret volume": {"volumes": [{"name": "v", "secret": {"secretName": SEALED}}]},
    "projected secret": {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": SEALED}}]}}]},
    "pull secret": {"imagePullSecrets": [{"name": SEALED}]},
    "environment": {"containers": [{**CONTAINER, "env": [ENV]}]},
    "environment of an init container": {"initContainers": [{**CONTAINER, "env": [ENV]}]},
    "whole environment": {"containers": [{**CONTAINER, "envFrom": [{"secretRef": {"name": SEALED}}]}]},
    "csi publish secret": {
        "volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": SEALED}}}]
    },
    "rbd secret": {"volumes": [{"name": "v", "rbd": {"monitors": ["m"], "image": "i", "secretRef": {"name": SEALED}}}]},
    "azure file secret": {"volumes": [{"name": "v", "azureFile": {"secretName": SEALED, "shareName": "s"}}]},
    "ephemeral clone": {
        "volumes": [
            {
                "name": "v",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                            "dataSource": {"kind": "PersistentVolumeClaim", "name": SEALED},
                        }
                    }
                },
            }
        ]
    },
    "account of a job": {"serviceAccountName": "mlp-visits"},
}


@pytest.mark.parametrize("road", ROADS)
def test_a_plain_pod_reaches_no_sealed_name(world: Any, manifests: Any, road: str) -> None:
    world.create_refused(world.common, manifests.plain_pod(**ROADS[road]), "sealed-names")
    world.create_refused(world.common, manifests.plain_pod(**ROADS[road]), "sealed-names", by=None)


@pytest.mark.parametrize(
    "kind", ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "ReplicationController"]
)
def test_a_workload_that_names_a_sealed_claim_is_refused_itself(world: Any, manifests: Any, kind: str) -> None:
    world.create_refused(world.common, manifests.workload(kind, **ROADS["claim"]), "sealed-names")


def test_a_workload_does_not_name_it_later(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.workload("Deployment"))
    later = manifests.workload("Deployment", **ROADS["claim"])

    world.refused("apply", "--server-side", "--force-conflicts", "-n", ns, "-f", "-", policy="sealed-names", body=later)


def test_claims_and_secrets_of_other_names_are_free(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "mine"}},
        {"name": "b", "secret": {"secretName": "not-mlp-sealed-visits", "optional": True}},
    ]

    world.create(ns, manifests.plain_pod(volumes=volumes))


def test_a_sealed_claim_is_mounted_by_one_pod_at_a_time(world: Any, manifests: Any) -> None:
    ns = world.namespace()

    for modes in (["ReadWriteOnce"], ["ReadOnlyMany"], ["ReadWriteMany"], ["ReadWriteOnce", "ReadOnlyMany"]):
        world.create_refused(ns, manifests.claim(SEALED, accessModes=modes), "sealed-claims")
    world.create(ns, manifests.claim(SEALED))
    world.create(ns, manifests.claim("mine", accessModes=["ReadWriteMany"]))


SOURCES = {
    "claim as dataSource": {"dataSource": {"kind": "PersistentVolumeClaim", "name": SEALED}},
    "claim as dataSourceRef": {"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": SEALED}},
    "snapshot": {"dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": SEALED}},
    "populator": {"dataSourceRef": {"apiGroup": "example.com", "kind": "Copy", "name": SEALED}},
}


@pytest.mark.parametrize("ceiling", ["enforce", None])
@pytest.mark.parametrize("source", SOURCES)
def test_a_sealed_claim_is_not_cloned_even_from_an_ungoverned_namespace(
    world: Any, manifests: Any, source: str, ceiling: str | None
) -> None:
    ns = world.common if ceiling else world.namespace(None)

    world.create_refused(ns, manifests.claim("copy", **SOURCES[source]), "sealed-clones")
    world.create_refused(ns, manifests.claim("mlp-sealed-copy", **SOURCES[source]), "sealed-clones", by=None)


def test_other_claims_are_cloned(world: Any, manifests: Any) -> None:
    source = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "mine"}}

    world.try_out(world.common, manifests.claim("copy", **source), by=world.attacker)


def definition(group: str, plural: str, kind: str) -> dict[str, Any]:
    """A definition that keeps whatever it is given, in place of a storage vendor's."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }


@pytest.mark.xdist_group("snapshots")
def test_a_sealed_claim_is_not_put_into_a_snapshot(world: Any, manifests: Any) -> None:
    single = ("snapshot.storage.k8s.io", "volumesnapshots", "VolumeSnapshot")
    many = ("groupsnapshot.storage.k8s.io", "volumegroupsnapshots", "VolumeGroupSnapshot")
    ns = world.namespace()

    def snapshot(of: tuple[str, str, str], source: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": f"{of[0]}/v1", "kind": of[2], "metadata": {"name": "copy"}, "spec": {"source": source}}
        return body

    world.cluster.apply(definition(*single), definition(*many))
    try:
        for group, plural, _ in (single, many):
            world.cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}", "--timeout=60s")
        free = snapshot(single, {"persistentVolumeClaimName": "mine"})
        world.eventually(
            lambda: world.do("create", "-n", ns, "-f", "-", body=free, by=None).returncode == 0, "snapshots served"
        )
        sealed = snapshot(single, {"persistentVolumeClaimName": SEALED})
        sealed["metadata"]["name"] = "another"
        world.create_refused(ns, sealed, "sealed-clones", by=None)
        group = snapshot(many, {"selector": {"matchLabels": {"app": "x"}}})
        world.create_refused(ns, group, "sealed-claims", by=None)
    finally:
        world.cluster.kubectl("delete", "crd", *(f"{plural}.{group}" for group, plural, _ in (single, many)))
