"""Network: the namespace's default-deny floor, and exactly the allows that a job needs."""

from __future__ import annotations

from typing import Any

from mlprivacy.api import names
from mlprivacy.controls.base import Control
from mlprivacy.policy.rules.network.egress import parse_entry
from mlprivacy.workloads.context import RenderContext

FLOOR_NAME = "mlprivacy-default-deny"


def floor(namespace: str) -> dict[str, Any]:
    """Denies everything to and from governed pods. Owned by nothing, so that it outlives every job."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": FLOOR_NAME,
            "namespace": namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_FLOOR: "true"},
        },
        "spec": {
            "podSelector": {"matchExpressions": [{"key": names.LABEL_RENDERED, "operator": "Exists"}]},
            "policyTypes": ["Ingress", "Egress"],
            # Said, not left out: apply would leave the rules of a policy that somebody made under this name before.
            "ingress": [],
            "egress": [],
        },
    }


def _objects(context: RenderContext) -> tuple[dict[str, Any], ...]:
    collector = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.settings.operator_namespace}},
        "podSelector": {
            "matchLabels": {"app.kubernetes.io/name": "mlprivacy", "app.kubernetes.io/component": "collector"}
        },
    }
    ingress: list[dict[str, Any]] = [
        {
            "from": [collector],
            "ports": [
                {"protocol": "TCP", "port": names.PORT_SEAL},
                {"protocol": "TCP", "port": names.PORT_SIDECAR},
            ],
        }
    ]
    if context.kind == "InferenceJob":
        ingress.append({"ports": [{"protocol": "TCP", "port": context.inference.port}]})
    egress: list[dict[str, Any]] = []
    for entry in context.obligations.egress_allow:
        cidr, port = parse_entry(entry)
        egress.append({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": port}]})
    spec: dict[str, Any] = {
        "podSelector": context.pod_selector(),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,  # an empty list too, for the reason above
    }
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": context.metadata(context.object_name),
        "spec": spec,
    }
    return (floor(context.namespace), policy)


CONTROL = Control(id="network", order=10, objects=_objects)
