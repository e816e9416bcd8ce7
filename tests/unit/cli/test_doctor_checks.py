"""Checks of the doctor on installations that a test can not easily make: old servers, odd flags, ended certificates.

tests/cluster/cli/test_installation.py looks at a real one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from mlprivacy.cli.checks import all_checks, components
from mlprivacy.cli.checks.base import Result, Site, look
from mlprivacy.cli.doctor import examine
from mlprivacy.kube.certificates import LeafSpec, Lifetimes, maintain_authority, new_leaf, utcnow
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden, NotFound, Unreachable
from mlprivacy.kube.resources import Resource

Object = dict[str, Any]


class FakeClient:
    """Answers from objects by resource; ``refuses`` lists resources that may not be read."""

    def __init__(
        self, objects: Mapping[str, list[Object]] | None = None, version: str = "v1.36.3", refuses: tuple[str, ...] = ()
    ) -> None:
        self.objects = dict(objects or {})
        self.version = version
        self.refuses = refuses

    async def list(self, resource: Resource, namespace: str | None = None, *, label_selector: str = "") -> list[Object]:
        if str(resource) in self.refuses:
            raise Forbidden(403, "Forbidden", f"{resource} is forbidden")
        return self.objects.get(str(resource), [])

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        for obj in await self.list(resource, namespace):
            if obj["metadata"]["name"] == name:
                return obj
        raise NotFound(404, "NotFound", f"{name} not found")

    async def request(self, method: str, path: str) -> bytes:
        return b'{"gitVersion": "%s"}' % self.version.encode()


def site(client: FakeClient) -> Site:
    return Site(cast(KubeClient, client), "mlprivacy-system")


async def found(name: str, client: FakeClient) -> list[Result]:
    (check,) = (c for c in all_checks() if c.name == name)
    return await look(check, site(client))


def named(name: str, **more: Any) -> Object:
    return {"metadata": {"name": name, **more}}


@pytest.mark.parametrize(
    ("version", "level"), [("v1.33.9", "bad"), ("v1.34.0", "ok"), ("v2.0.0", "ok"), ("v1.36.3-eks", "ok"), ("", "warn")]
)
async def test_an_api_server_that_is_too_old_is_said(version: str, level: str) -> None:
    (result,) = await found("api-server", FakeClient(version=version))
    assert result.level == level


POLICY = named("mlprivacy-label-chain") | {
    "spec": {"x": "'system:serviceaccount:kube-system:job-controller' 'system:serviceaccount:kube-system:gc'"}
}
SHARED = named("mlprivacy-label-chain") | {"spec": {"x": "'system:kube-controller-manager'"}}


def manager(*command: str) -> Object:
    return named("kube-controller-manager-1") | {"spec": {"containers": [{"command": list(command)}]}}


@pytest.mark.parametrize(
    ("policy", "accounts", "command", "level"),
    [
        (POLICY, ["job-controller", "gc"], ["kcm", "--use-service-account-credentials=true"], "ok"),
        (POLICY, ["job-controller", "gc"], ["kcm", "--use-service-account-credentials"], "ok"),
        (POLICY, ["job-controller", "gc"], ["kcm", "--leader-elect"], "bad"),  # once it was set: the accounts stayed
        (POLICY, ["job-controller", "gc"], None, "ok"),
        (POLICY, ["job-controller"], None, "warn"),
        (POLICY, [], None, "bad"),
        (SHARED, [], ["kcm"], "warn"),
    ],
)
async def test_the_guards_trust_the_controllers_that_there_are(
    policy: Object, accounts: list[str], command: list[str] | None, level: str
) -> None:
    client = FakeClient(
        {
            "validatingadmissionpolicies.admissionregistration.k8s.io": [policy],
            "serviceaccounts": [named(name) for name in accounts],
            "pods": [] if command is None else [manager(*command)],
        }
    )
    (result,) = await found("identities", client)
    assert result.level == level


async def test_a_label_that_is_no_mode_is_bad_and_no_governed_namespace_is_worth_a_word() -> None:
    client = FakeClient({"namespaces": [named("typo", labels={"mlprivacy.dev/enforce": "enforced"})]})
    (result,) = await found("namespaces", client)
    assert (result.level, "typo is labelled 'enforced'" in result.message) == ("bad", True)
    (result,) = await found("namespaces", FakeClient())
    assert result.level == "warn"


def secrets(days: float) -> list[Object]:
    """Secrets with leaves that end in so many days."""
    now = utcnow()
    lifetimes = Lifetimes()
    authority, _ = maintain_authority(b"", b"", b"", now - timedelta(days=60), lifetimes)
    made = now - lifetimes.leaf + timedelta(days=days)
    leaf = new_leaf(authority.signer, LeafSpec("x", server=False, client=True), made, lifetimes.leaf)

    def secret(name: str, **data: bytes) -> Object:
        return named(name) | {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}

    return [
        secret("mlprivacy-ca", **{"tls.crt": authority.signer.certificate}),
        *(
            secret(f"mlprivacy-{c}-tls", **{"tls.crt": leaf.certificate})
            for c in ("admission", "collector", "controller")
        ),
        secret("mlprivacy-seal-key", key=b"k"),
    ]


@pytest.mark.parametrize(("days", "levels"), [(20, {"ok"}), (3, {"warn", "ok"}), (-2, {"bad", "ok"})])
async def test_certificates_that_end_are_said_in_time(days: float, levels: set[str]) -> None:
    results = await found("certificates", FakeClient({"secrets": secrets(days)}))
    assert {result.level for result in results} == levels


async def test_a_ca_bundle_that_does_not_know_our_ca_is_bad() -> None:
    webhook = {"name": "kinds", "clientConfig": {"caBundle": base64.b64encode(b"another").decode()}}
    client = FakeClient(
        {
            "secrets": secrets(20),
            "validatingwebhookconfigurations.admissionregistration.k8s.io": [
                named("mlprivacy-decide") | {"webhooks": [webhook]}
            ],
        }
    )
    assert any("lacks the CA" in result.message for result in await found("certificates", client))


async def test_missing_and_empty_secrets_are_bad() -> None:
    empty = named("mlprivacy-ca") | {"data": {}}
    results = await found("certificates", FakeClient({"secrets": [empty]}))
    assert [r.message for r in results][:2] == [
        "the Secret mlprivacy-ca is empty",
        "the Secret mlprivacy-admission-tls is missing",
    ]
    assert {r.level for r in results} == {"bad"}


async def test_what_may_not_be_read_is_skipped_and_not_called_bad() -> None:
    results = await found("certificates", FakeClient(refuses=("secrets",)))
    assert [result.level for result in results] == ["skip"]


def job(name: str, reason: str, status: str = "True") -> Object:
    stalled = {"type": "Stalled", "status": status, "reason": reason, "message": "words"}
    return named(name, namespace="research") | {"status": {"conditions": [stalled]}}


def sealed_pod(name: str, node: str, code: int | None = 0) -> Object:
    state: Object = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
    statuses = [{"name": "mlprivacy-seal", "state": state}]
    return named(name) | {"spec": {"nodeName": node}, "status": {"initContainerStatuses": statuses}}


NODES = [named("real"), named("played", labels={"type": "kwok"})]
STUDY, API = job("study", "SealNotEnforced"), job("api", "SealNotConfirmed")


@pytest.mark.parametrize(
    ("jobs", "pods", "expected"),
    [
        ([], [], [("skip", "no governed pod has run")]),
        ([job("old", "Failed")], [], [("skip", "no governed pod has run")]),
        ([], [sealed_pod("p", "real", None), sealed_pod("q", "real", 3)], [("skip", "no governed pod has run")]),
        ([], [sealed_pod("p", "played")], [("skip", "1 governed pod on simulated nodes alone")]),
        ([], [sealed_pod("p", "real"), sealed_pod("q", "played")], [("ok", "1 governed pod on 1 node got past")]),
        ([job("study", "SealNotEnforced", "False")], [sealed_pod("p", "real")], [("ok", "is enforced")]),
        ([STUDY], [], [("bad", "not enforced for the pods of research/study")]),
        ([STUDY], [sealed_pod("p", "real")], [("bad", "1 other governed pod got past the seal")]),
        (
            [STUDY, API],
            [],
            [("bad", "research/study"), ("bad", "did not confirm the seal of the pods of research/api")],
        ),
        ([job("x", "SealFailed")], [], [("bad", "can not do its work in the pods of research/x")]),
    ],
)
async def test_whether_network_policy_is_enforced(jobs: list[Object], pods: list[Object], expected: Any) -> None:
    client = FakeClient({"trainingjobs.mlprivacy.dev": jobs, "pods": pods, "nodes": NODES})
    results = await found("sealing", client)
    assert [result.level for result in results] == [level for level, _ in expected]
    for result, (_, words) in zip(results, expected, strict=True):
        assert words in result.message


async def test_of_many_jobs_that_are_not_sealed_a_few_are_named() -> None:
    jobs = [job(f"j{n}", "SealNotEnforced") for n in range(9)]
    (result,) = await found("sealing", FakeClient({"inferencejobs.mlprivacy.dev": jobs}))
    assert "research/j4 and 4 more jobs" in result.message


LEASE = "leases.coordination.k8s.io"


def pulling() -> Object:
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "registry.example/x"'}
    return named("mlprivacy-admission-1") | {
        "status": {"containerStatuses": [{"name": "admission", "state": {"waiting": waiting}}]}
    }


async def test_a_namespace_without_an_installation_is_said_and_where_there_is_one() -> None:
    lease = named("mlprivacy-controller", namespace="privacy")
    client = FakeClient({LEASE: [lease]})
    client.get = absent  # type: ignore[method-assign]
    (result,) = await found("components", client)
    assert result.level == "bad"
    assert result.message == "there is no installation in the namespace mlprivacy-system; there is one in privacy"


async def absent(*_: object) -> Object:
    raise NotFound(404, "NotFound", "nothing there")


async def test_pods_that_can_not_pull_their_image_are_said_in_the_kubelets_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(components, "_TICK", 0)
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "admission"}}}
    client = FakeClient(
        {"deployments.apps": [named("mlprivacy-admission") | {"spec": spec}], "pods": [pulling(), pulling()]}
    )
    first, *_ = await found("components", client)
    assert first.message == (
        "mlprivacy-admission has no ready replica of 2; "
        'ImagePullBackOff: container admission: Back-off pulling image "registry.example/x"'
    )


async def test_without_our_definitions_nothing_is_said_of_sealing() -> None:
    client = FakeClient()
    client.list = absent  # type: ignore[method-assign, assignment]
    (result,) = await found("sealing", client)
    assert (result.level, "not installed" in result.message) == ("skip", True)


async def test_one_node_is_one_node() -> None:
    (result,) = await found("nodes", FakeClient({"nodes": [named("n")]}))
    assert result.message == "1 node, none of them simulated"


async def test_waiting_ends_with_the_first_look_without_anything_bad() -> None:
    client = FakeClient(version="v1.20.0")
    (check,) = (c for c in all_checks() if c.name == "api-server")
    looks = 0

    async def request(method: str, path: str) -> bytes:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise Unreachable("connection refused")
        return b'{"gitVersion": "v1.36.3"}'

    client.request = request  # type: ignore[method-assign]
    results = await examine(cast(KubeClient, client), "x", [check], 60)
    assert ([result.level for result in results], looks) == (["ok"], 2)
    looks = 0
    with pytest.raises(Unreachable):
        await examine(cast(KubeClient, client), "x", [check], 0)
