"""Threats 10, 32: network policies of others in a governed namespace leave governed pods out, in every dialect."""

import copy
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

EXCLUDES = {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "DoesNotExist"}]}
INCLUDES = [
    pytest.param({}, id="every pod"),
    pytest.param({"matchLabels": {"app": "x"}}, id="some label"),
    pytest.param({"matchLabels": {"mlprivacy.dev/rendered": "training"}}, id="governed pods"),
    pytest.param({"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "Exists"}]}, id="Exists"),
    pytest.param(
        {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "NotIn", "values": ["x"]}]}, id="NotIn"
    ),
    pytest.param({"matchExpressions": [{"key": "mlprivacy.dev/rendere", "operator": "DoesNotExist"}]}, id="look-alike"),
]


def policy(selector: dict[str, Any], name: str = "open") -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector, "policyTypes": ["Ingress", "Egress"], "egress": [{}], "ingress": [{}]},
    }


@pytest.mark.parametrize("selector", INCLUDES)
def test_a_policy_that_may_select_a_governed_pod_is_refused(world: Any, selector: dict[str, Any]) -> None:
    said = world.create_refused(world.common, policy(selector), "foreign-network-policy")

    assert "{key: mlprivacy.dev/rendered, operator: DoesNotExist}" in said
    world.create_refused(world.common, policy(selector), "foreign-network-policy", by=None)


def test_a_policy_that_leaves_them_out_lives(world: Any) -> None:
    ns = world.namespace()
    world.create(ns, policy({**EXCLUDES, "matchLabels": {"app": "x"}}))

    world.refused("apply", "--server-side", "--force-conflicts", "-n", ns, "-f", "-", policy="foreign-network-policy",
                  body=[policy({"matchExpressions": [{"key": "app", "operator": "Exists"}]})])  # fmt: skip
    world.allowed("label", "networkpolicy", "open", "-n", ns, "team=a")
    world.allowed("delete", "networkpolicy", "open", "-n", ns)


def test_an_older_policy_is_judged_when_its_spec_changes_only(world: Any) -> None:
    """A standing state is not judged: the controller looks for such policies before it renders a job."""
    ns = world.namespace(None)
    world.create(ns, policy({}))
    world.cluster.kubectl("label", "namespace", ns, "mlprivacy.dev/enforce=enforce")

    world.allowed("label", "networkpolicy", "open", "-n", ns, "team=a")
    world.refused(
        "patch", "networkpolicy", "open", "-n", ns, "-p", '{"spec": {"egress": []}}', policy="foreign-network-policy"
    )
    world.allowed("delete", "networkpolicy", "open", "-n", ns)


DIALECTS: dict[str, tuple[str, str, str, list[dict[str, Any]], list[dict[str, Any]]]] = {
    # group, plural, kind, specs refused, specs allowed
    "cilium": (
        "cilium.io",
        "ciliumnetworkpolicies",
        "CiliumNetworkPolicy",
        [
            {"spec": {"endpointSelector": {}, "egress": [{}]}},
            {"specs": [{"endpointSelector": EXCLUDES}, {"endpointSelector": {"matchLabels": {"app": "x"}}}]},
            {"spec": {"endpointSelector": EXCLUDES}, "specs": [{"endpointSelector": {}}]},
        ],
        [
            {"spec": {"endpointSelector": EXCLUDES}},
            {"specs": [{"endpointSelector": EXCLUDES}]},
            {
                "spec": {
                    "endpointSelector": {
                        "matchExpressions": [{"key": "k8s:mlprivacy.dev/rendered", "operator": "DoesNotExist"}]
                    }
                }
            },
        ],
    ),
    "calico": (
        "crd.projectcalico.org",
        "networkpolicies",
        "NetworkPolicy",
        [
            {"spec": {}},
            {"spec": {"selector": "all()"}},
            {"spec": {"selector": "app == 'x' && !has(mlprivacy.dev/rendered)"}},
            {"spec": {"selector": "!has(mlprivacy.dev/rendered) && app == 'x' || all()"}},
            {"spec": {"selector": "!has(mlprivacy.dev/rendered-too)"}},
        ],
        [
            {"spec": {"selector": "!has(mlprivacy.dev/rendered)"}},
            {"spec": {"selector": "!has(mlprivacy.dev/rendered) && app == 'x'"}},
        ],
    ),
    "antrea": (
        "crd.antrea.io",
        "networkpolicies",
        "NetworkPolicy",
        [
            {"spec": {}},
            {"spec": {"appliedTo": []}},
            {"spec": {"appliedTo": [{"podSelector": EXCLUDES}, {"podSelector": {}}]}},
        ],
        [{"spec": {"appliedTo": [{"podSelector": EXCLUDES}]}}],
    ),
}
CLUSTER_WIDE: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any]]] = {
    "admin": (
        "policy.networking.k8s.io",
        "adminnetworkpolicies",
        "AdminNetworkPolicy",
        {"spec": {"subject": {"namespaces": {}}}},
        {"spec": {"subject": {"pods": {"namespaceSelector": {}, "podSelector": EXCLUDES}}}},
    ),
    "cilium": (
        "cilium.io",
        "ciliumclusterwidenetworkpolicies",
        "CiliumClusterwideNetworkPolicy",
        {"spec": {"endpointSelector": {}}},
        {"spec": {"endpointSelector": EXCLUDES}},
    ),
    "calico": (
        "crd.projectcalico.org",
        "globalnetworkpolicies",
        "GlobalNetworkPolicy",
        {"spec": {"selector": "all()"}},
        {"spec": {"selector": "!has(mlprivacy.dev/rendered)"}},
    ),
}


def definition(group: str, plural: str, kind: str, scope: str) -> dict[str, Any]:
    """A definition that keeps whatever it is given, in place of a network vendor's."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": approved},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }


@pytest.fixture
def dialects(world: Any) -> Iterator[None]:
    """Definitions of network vendors' kinds; the guards were installed before them."""
    made = [definition(*form[:3], "Namespaced") for form in DIALECTS.values()]
    made += [definition(*form[:3], "Cluster") for form in CLUSTER_WIDE.values()]
    names = [one["metadata"]["name"] for one in made]
    world.cluster.apply(*made)
    world.cluster.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in names), "--timeout=60s")
    yield
    world.cluster.kubectl("delete", "crd", *names)


def served(world: Any, namespace: str, body: dict[str, Any]) -> None:
    """Wait until the API server serves a fresh definition: this object is accepted or refused, but known."""

    def known() -> bool:
        said = world.do("create", "--dry-run=server", "-n", namespace, "-f", "-", body=body, by=None).stderr
        return "the server could not find" not in said and "no matches for kind" not in said

    world.eventually(known, f"{body['kind']} served")


@pytest.mark.xdist_group("dialects")
@pytest.mark.usefixtures("dialects")
def test_policies_in_vendors_dialects_leave_governed_pods_out_too(world: Any) -> None:
    for group, _, kind, refused, allowed in DIALECTS.values():
        form = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": f"p-{uuid.uuid4().hex[:8]}"}}
        served(world, world.common, {**form, **allowed[0]})
        for body in refused:
            world.try_refused(world.common, {**copy.deepcopy(form), **body}, "foreign-network-policy", by=None)
        for body in allowed:
            world.try_out(world.common, {**copy.deepcopy(form), **body}, by=None)


@pytest.mark.xdist_group("dialects")
@pytest.mark.usefixtures("dialects")
def test_policies_for_the_whole_cluster_need_the_verb_weaken_or_leave_them_out(world: Any) -> None:
    names = ",".join(f"{plural}.{group}" for group, plural, *_ in CLUSTER_WIDE.values())
    world.cluster.kubectl("create", "clusterrole", "networker", "--verb=create", f"--resource={names}")
    world.cluster.kubectl("create", "clusterrolebinding", "networker", "--clusterrole=networker", "--user=frank")
    try:
        for group, _, kind, opens, excludes in CLUSTER_WIDE.values():
            form = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "wide"}}
            served(world, world.common, {**form, **excludes})
            world.try_refused(world.common, {**form, **opens}, "cluster-network-policy", by="frank")
            world.try_out(world.common, {**form, **excludes}, by="frank")
            world.try_out(world.common, {**form, **opens}, by=None)
    finally:
        world.cluster.kubectl("delete", "clusterrolebinding", "networker")
        world.cluster.kubectl("delete", "clusterrole", "networker")
