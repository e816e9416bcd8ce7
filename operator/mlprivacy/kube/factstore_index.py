"""By what objects are found in the copies of the facts, besides their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlprivacy.kube.client import Object
from mlprivacy.kube.informer import Indexer
from mlprivacy.kube.resources import DATASETGRANTS, DATASETS, POLICYEXCEPTIONS, PRIVACYPOLICIES


def granted_to(grant: Object) -> list[str]:
    """The namespaces that a raw grant is to."""
    return [str(item["namespace"]) for item in grant["spec"]["from"]]


def _workload(exception: Object) -> list[str]:
    workload = exception["spec"]["workload"]
    return [place_of(workload["kind"], workload["namespace"], workload["name"])]


def place_of(kind: str, namespace: str, name: str) -> str:
    """Under what the exceptions of one job are filed."""
    return f"{kind}/{namespace}/{name}"


def _workload_namespace(exception: Object) -> list[str]:
    return [exception["spec"]["workload"]["namespace"]]


def _packs_named(policy: Object) -> list[str]:
    return [str(pack["name"]) for pack in policy["spec"].get("packs") or ()]


def _classes_named(dataset: Object) -> list[str]:
    return [str(column["dataClass"]) for column in dataset["spec"]["columns"]]


def _scopes_named(dataset: Object) -> list[str]:
    own = dataset["metadata"]["namespace"]
    return [f"{own}/{use['consentScope']}" for use in dataset["spec"]["uses"] if use.get("consentScope")]


INDEXERS: Final[Mapping[str, Mapping[str, Indexer]]] = {
    DATASETGRANTS.kind: {"from": granted_to},
    POLICYEXCEPTIONS.kind: {"workload": _workload, "namespace": _workload_namespace},
    PRIVACYPOLICIES.kind: {"pack": _packs_named},
    DATASETS.kind: {"class": _classes_named, "scope": _scopes_named},
}
