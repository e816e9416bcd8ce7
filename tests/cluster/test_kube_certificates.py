"""Certificates end to end: the keeper under its narrow rights, a real API server that trusts the webhook it calls."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from mlprivacy.kube.certificates import LeafSpec
from mlprivacy.kube.certkeeper import CertKeeper, WebhookConfiguration
from mlprivacy.kube.client import ApiError, Forbidden, KubeClient
from mlprivacy.kube.resources import CONFIGMAPS, SECRETS, VALIDATING_WEBHOOKS, Resource
from mlprivacy.kube.tls import SecretTLS

LEAF = "mlprivacy-admission-tls"
SPEC = LeafSpec("admission", dns_names=("localhost",), ip_addresses=("127.0.0.1",))
NAMED = ["mlprivacy-ca", LEAF, "mlprivacy-seal-key"]
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
async def client(cluster) -> AsyncIterator[KubeClient]:
    async with await KubeClient.connect(str(cluster.kubeconfig)) as found:
        yield found


@contextlib.asynccontextmanager
async def role(client, user, name, rules, namespace=None):
    """Exactly these rights for one user, in one namespace or everywhere."""
    prefix = "" if namespace else "Cluster"
    kinds = [
        Resource(RBAC, "v1", f"{prefix.lower()}{plural}s", namespace is not None, f"{prefix}{kind}")
        for plural, kind in (("role", "Role"), ("rolebinding", "RoleBinding"))
    ]
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    await client.create(kinds[0], {"metadata": metadata, "rules": rules})
    await client.create(
        kinds[1],
        {
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": kinds[0].kind, "name": name},
            "subjects": [subject],
        },
    )
    try:
        yield
    finally:
        for kind in kinds:
            await client.delete(kind, name, namespace, missing_ok=True)


@contextlib.asynccontextmanager
async def webhook(client, name, ns, port):
    """A failing-closed webhook on the ConfigMaps of one namespace, at an address of this machine."""
    entry = {
        "name": "configmaps.mlprivacy.dev",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/validate"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]},
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    }
    await client.create(VALIDATING_WEBHOOKS, {"metadata": {"name": name}, "webhooks": [entry]})
    try:
        yield
    finally:
        await client.delete(VALIDATING_WEBHOOKS, name, missing_ok=True)


@contextlib.asynccontextmanager
async def admission(context: ssl.SSLContext):
    """A server that allows everything, behind the given TLS context; yields its port."""

    async def allow(request: web.Request) -> web.Response:
        review = await request.json()
        response = {"uid": review["request"]["uid"], "allowed": True}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    app = web.Application()
    app.router.add_post("/validate", allow)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_the_api_server_trusts_the_webhook_before_and_after_a_new_certificate(client, cluster, namespace):
    ns = namespace()
    name = f"mlprivacy-{ns}"
    for secret in NAMED:
        await client.create(SECRETS, {"metadata": {"name": secret, "namespace": ns}, "type": "Opaque"})
    verbs = ["get", "list", "watch", "update", "patch"]
    secrets = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": NAMED, "verbs": verbs}]
    hooks = [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingwebhookconfigurations"],
            "resourceNames": [name],
            "verbs": ["get", "update", "patch"],
        }
    ]
    async with (
        role(client, "trent", name, secrets, ns),
        role(client, "trent", name, hooks),
        await KubeClient.connect(str(cluster.kubeconfig_for_user("trent"))) as trent,
    ):
        tls = SecretTLS(trent, ns, LEAF)
        tls.start()
        try:
            async with admission(tls.server_context) as port, webhook(client, name, ns, port):
                with pytest.raises(ApiError, match="failed calling webhook"):
                    await client.create(CONFIGMAPS, {"metadata": {"name": "early", "namespace": ns}})
                keeper = CertKeeper(trent, ns, {LEAF: SPEC}, [WebhookConfiguration.validating(name)])
                result = await keeper.check()
                assert result.problems == []
                async with asyncio.timeout(60):
                    await tls.ready.wait()
                await created(client, ns, "first")
                await client.merge_patch(SECRETS, LEAF, {"data": {"tls.crt": ""}}, ns)
                assert any(LEAF in line for line in (await keeper.check()).written)
                async with asyncio.timeout(60):
                    while tls.loads < 2:  # noqa: ASYNC110 - counts loads, which have no event
                        await asyncio.sleep(0.02)
                await created(client, ns, "second")
                assert (await keeper.check()).written == []
        finally:
            await tls.stop()
        with pytest.raises(Forbidden):
            await trent.create(SECRETS, {"metadata": {"name": "other", "namespace": ns}})


async def created(client: KubeClient, ns: str, name: str) -> None:
    """Create a ConfigMap through the webhook; the API server takes a moment to learn a changed configuration."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": ns}})
            except ApiError as error:
                if "failed calling webhook" not in error.message:
                    raise
                await asyncio.sleep(0.2)
            else:
                return
