"""What the doctor says of what others made: Services on our addresses, planted templates, node-level pods."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from mlprivacy.cli.checks import all_checks
from mlprivacy.cli.checks.base import Result, Site, look
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound
from mlprivacy.kube.resources import Resource

Object = dict[str, Any]
DENIED = Forbidden(403, "Forbidden", "services is forbidden: Use of external IPs is denied by admission control.")
NO_RIGHT = Forbidden(403, "Forbidden", 'User "dave" cannot create resource "services"')


class FakeClient:
    """Answers from objects by resource; ``answer`` is raised where a Service is created as a dry run."""

    def __init__(self, objects: Mapping[str, list[Object]], answer: ApiError | None = DENIED) -> None:
        self.objects = objects
        self.answer = answer

    async def list(self, resource: Resource, namespace: str | None = None, *, label_selector: str = "") -> list[Object]:
        found = self.objects.get(resource.plural, [])
        if label_selector:
            found = [o for o in found if label_selector in (o["metadata"].get("labels") or {})]
        return [o for o in found if namespace in (None, o["metadata"].get("namespace"))]

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        for obj in await self.list(resource, namespace):
            if obj["metadata"]["name"] == name:
                return obj
        raise NotFound(404, "NotFound", f"{name} not found")

    async def create(self, resource: Resource, obj: Object, *, dry_run: bool) -> Object:
        assert dry_run
        assert obj["spec"]["externalIPs"]
        if self.answer is not None:
            raise self.answer
        return obj


async def found(name: str, answer: ApiError | None = DENIED, **objects: list[Object]) -> list[Result]:
    (check,) = (c for c in all_checks() if c.name == name)
    return await look(check, Site(cast(KubeClient, FakeClient(objects, answer)), "mlprivacy-system"))


def levels(results: list[Result]) -> list[str]:
    return [result.level.value for result in results]


def named(name: str, namespace: str | None = None, **more: Any) -> Object:
    home = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}", **home, **more}}


# --- addresses --------------------------------------------------------------------------------------------------------

WRITTEN = [named("mlprivacy-addresses", "mlprivacy-system") | {"data": {"addresses": "10.96.0.1,10.96.7.7"}}]
GOVERNED_POD = named("mlp-a-1-x", "research", labels={"mlprivacy.dev/rendered": "training"}) | {
    "status": {"podIPs": [{"ip": "10.1.0.5"}]}
}


def service(*addresses: str, balanced: str = "") -> Object:
    status = {"loadBalancer": {"ingress": [{"ip": balanced}]}} if balanced else {}
    return named("thief", "street") | {"spec": {"externalIPs": list(addresses)}, "status": status}


@pytest.mark.parametrize(
    ("thief", "words"),
    [
        (service("192.0.2.1"), None),
        (service("192.0.2.1", "10.96.7.7"), "street/thief takes over 10.96.7.7, an address of mlprivacy"),
        (service("::ffff:10.96.7.7"), "takes over 10.96.7.7"),
        (service(balanced="10.96.0.1"), "takes over 10.96.0.1"),
        (service("10.1.0.5"), "takes over 10.1.0.5, an address of a governed pod"),
    ],
)
async def test_a_service_on_an_address_of_ours_is_bad(thief: Object, words: str | None) -> None:
    results = await found("addresses", configmaps=WRITTEN, services=[thief], pods=[GOVERNED_POD])
    assert levels(results) == [("bad" if words else "ok"), "ok"]
    assert (words or "no Service takes over one of our 2 addresses") in results[0].message


@pytest.mark.parametrize("written", [[], [named("mlprivacy-addresses", "mlprivacy-system")]])
async def test_a_list_of_our_addresses_that_is_empty_is_bad(written: list[Object]) -> None:
    results = await found("addresses", configmaps=written)
    assert levels(results) == ["bad", "ok"]
    assert "refuses nothing" in results[0].message


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (DENIED, "ok", "DenyServiceExternalIPs"),
        (None, "warn", "kube-apiserver with the admission plugin DenyServiceExternalIPs"),
        (NO_RIGHT, "skip", "may not create a Service"),
        (ApiError(500, "InternalError", "boom"), "skip", "boom"),
    ],
)
async def test_whether_external_addresses_are_taken_at_all(answer: ApiError | None, level: str, words: str) -> None:
    result = (await found("addresses", answer, configmaps=WRITTEN))[-1]
    assert result.level == level
    assert words in result.message + result.remedy


# --- strangers --------------------------------------------------------------------------------------------------------


def rendered(kind: str, name: str, owner: str, **more: Any) -> Object:
    """An object with our labels, owned by this uid."""
    labels = {"mlprivacy.dev/rendered": "training", "mlprivacy.dev/training-job": "a", "mlprivacy.dev/job-uid": "uid-a"}
    version = "mlprivacy.dev/v1alpha1" if owner == "uid-a" else "apps/v1"
    owners = [{"apiVersion": version, "kind": kind, "name": "a", "uid": owner, "controller": True}]
    return (
        named(name, "research", labels=labels, ownerReferences=owners)
        | {"spec": {"template": {"metadata": {"labels": labels}}}}
        | more
    )


OWN = {
    "trainingjobs": [named("a", "research")],
    "jobs": [rendered("TrainingJob", "mlp-a-1", "uid-a")],
    "deployments": [rendered("InferenceJob", "mlp-a", "uid-a")],
    "replicasets": [rendered("Deployment", "mlp-a-6c9f", "uid-mlp-a")],
    "pods": [rendered("Job", "mlp-a-1-x", "uid-mlp-a-1"), rendered("ReplicaSet", "mlp-a-6c9f-y", "uid-mlp-a-6c9f")],
}


async def test_what_the_operator_made_is_no_stranger() -> None:
    assert levels(await found("strangers", **OWN)) == ["ok"]


PLANTED = {"metadata": {"labels": {"mlprivacy.dev/rendered": "training"}}}


@pytest.mark.parametrize(
    ("plural", "planted"),
    [
        ("replicasets", named("plant", "research") | {"spec": {"template": PLANTED}}),
        ("replicasets", rendered("TrainingJob", "plant", "uid-a")),
        ("jobs", rendered("TrainingJob", "plant", "uid-a")),
        ("jobs", rendered("TrainingJob", "mlp-a-2", "uid-of-nobody")),
        ("cronjobs", named("plant", "research") | {"spec": {"jobTemplate": {"spec": {"template": PLANTED}}}}),
        ("podtemplates", named("plant", "research") | {"template": PLANTED}),
        ("pods", named("plant", "research", labels={"mlprivacy.dev/rendered": "training"})),
    ],
)
async def test_a_planted_template_is_named(plural: str, planted: Object) -> None:
    results = await found("strangers", **{**OWN, plural: [*OWN.get(plural, []), planted]})
    assert levels(results) == ["bad"]
    assert f"research/{planted['metadata']['name']} carries labels of mlprivacy.dev" in results[0].message


async def test_a_service_of_somebodys_that_selects_governed_pods_is_named() -> None:
    home = [named("research", labels={"mlprivacy.dev/enforce": "enforce"}), named("street")]
    leaks = [
        named("leak", ns) | {"spec": {"selector": {"mlprivacy.dev/rendered": "training"}}}
        for ns in ("research", "street")
    ]
    results = await found("strangers", namespaces=home, services=leaks)
    assert levels(results) == ["bad"]
    assert "research/leak selects governed pods" in results[0].message


# --- hosts ------------------------------------------------------------------------------------------------------------

LEVEL = "pod-security.kubernetes.io/enforce"
WARD = named("ward", labels={"mlprivacy.dev/enforce": "enforce"})


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"containers": [{"name": "a"}]}, None),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"initContainers": [{"securityContext": {"privileged": True}}]}, "privileged"),
    ],
)
async def test_a_pod_that_reaches_its_node_is_named(spec: Object, field: str | None) -> None:
    results = await found("hosts", namespaces=[WARD], pods=[named("agent", "ward") | {"spec": spec}])
    assert levels(results) == (["bad", "ok"] if field else ["ok", "ok"])
    assert (f"ward/agent reaches its node ({field})" if field else "no pod of a governed") in results[0].message


async def test_namespaces_whose_pods_may_reach_a_node_are_warned_of() -> None:
    open_ones = [named(f"n{number}") for number in range(7)]
    safe = [named("safe", labels={LEVEL: "restricted"}), named("kube-system"), named("mlprivacy-system")]
    results = await found("hosts", namespaces=[WARD, *open_ones, *safe])
    assert levels(results) == ["ok", "warn"]
    assert "in n0, n1, n2, n3, n4 and 2 more can reach a node" in results[1].message
    assert "safe" not in results[1].message


async def test_where_nothing_is_governed_nothing_is_said_of_nodes() -> None:
    assert await found("hosts", namespaces=[named("street")]) == []
