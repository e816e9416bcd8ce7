"""The people of the examples: really authenticated users, bound to the chart's persona roles and nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.client import Cluster


@dataclass(frozen=True)
class Persona:
    """A user, what they do, and the chart's role they are bound to."""

    user: str
    role: str
    title: str


OFFICER = Persona("dave", "mlprivacy-privacy-officer", "privacy officer")
OWNER = Persona("carol", "mlprivacy-data-owner", "data owner")
ENGINEER = Persona("alice", "mlprivacy-ml-engineer", "ML engineer")

_BY_KIND: Mapping[str, Persona] = {
    "DataClass": OFFICER,
    "PrivacyPolicy": OFFICER,
    "PrivacyBudget": OFFICER,
    "Dataset": OWNER,
    "DatasetGrant": OWNER,
    "ConsentScope": OWNER,
    "TrainingJob": ENGINEER,
    "InferenceJob": ENGINEER,
    "PolicyException": ENGINEER,
}


def persona_for(obj: Mapping[str, Any]) -> Persona | None:
    """Who applies an object; None for what a cluster administrator does."""
    return _BY_KIND.get(str(obj.get("kind")))


def bind(cluster: Cluster, namespaces: Iterable[str]) -> None:
    """Bind each persona: the officer for the cluster, owner and engineer in these namespaces."""
    objects = [_binding("ClusterRoleBinding", OFFICER, None)]
    for namespace in namespaces:
        objects += [_binding("RoleBinding", persona, namespace) for persona in (OWNER, ENGINEER)]
    for persona in (OWNER, ENGINEER):
        # Classes and policies are cluster scoped; reading them is what the auditor's role allows.
        binding = _binding("ClusterRoleBinding", Persona(persona.user, "mlprivacy-auditor", ""), None)
        binding["metadata"]["name"] = f"example-reader-{persona.user}"
        objects.append(binding)
    asks = _binding("ClusterRoleBinding", Persona(ENGINEER.user, "mlprivacy-exception-requester", ""), None)
    asks["metadata"]["name"] = f"example-requester-{ENGINEER.user}"
    objects.append(asks)
    cluster.apply(*objects)


def _binding(kind: str, persona: Persona, namespace: str | None) -> dict[str, Any]:
    metadata = {"name": f"example-{persona.user}"}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": persona.role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": persona.user}],
    }
