"""The keeper over the life of a cluster: first install, nothing to do, rotation in order, damage, missing objects."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from mlprivacy.kube.certificates import LeafSpec, Lifetimes, load_certificates
from mlprivacy.kube.certkeeper import CertKeeper, WebhookConfiguration, secret_data

NS = "/api/v1/namespaces/mlprivacy-system/secrets"
HOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/mlprivacy"
LEAF = "mlprivacy-admission-tls"
SPEC = LeafSpec("admission", dns_names=("mlprivacy-admission.mlprivacy-system.svc",))
LIFE = Lifetimes(ca=timedelta(days=90), leaf=timedelta(days=30), overlap=timedelta(hours=1))


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
async def installed(api):
    """What the chart leaves behind: empty Secrets and webhooks without a caBundle."""
    for name in ("mlprivacy-ca", LEAF, "mlprivacy-seal-key"):
        await api.put(f"{NS}/{name}", {"type": "Opaque"})
    hooks = [{"name": f"{n}.mlprivacy.dev", "clientConfig": {"service": {"name": "x"}}} for n in ("pods", "jobs")]
    await api.put(HOOK, {"webhooks": hooks})
    return api


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keeper(client, installed, clock):
    return CertKeeper(
        client,
        "mlprivacy-system",
        {LEAF: SPEC},
        [WebhookConfiguration.validating("mlprivacy")],
        clock=clock,
        lifetimes=LIFE,
    )


def data(api, name):
    return secret_data(api.objects[f"{NS}/{name}"])


def bundles(api):
    return [base64.b64decode(hook["clientConfig"]["caBundle"]) for hook in api.objects[HOOK]["webhooks"]]


async def test_first_pass_fills_everything_and_the_second_writes_nothing(keeper, installed):
    result = await keeper.check()
    assert result.problems == []
    assert keeper.ready.is_set()
    leaf, ca = data(installed, LEAF), data(installed, "mlprivacy-ca")
    assert leaf["ca.crt"] == ca["ca.crt"]
    assert bundles(installed) == [ca["ca.crt"]] * 2
    load_certificates(leaf["tls.crt"])[0].verify_directly_issued_by(load_certificates(ca["tls.crt"])[0])
    assert set(data(installed, "mlprivacy-seal-key")) == {"key", "key.pub"}
    before = installed.version
    assert (await keeper.check()).written == []
    assert installed.version == before


async def test_rotation_hands_out_the_bundle_first_and_signs_later(keeper, installed, clock):
    await keeper.check()
    clock.now += timedelta(days=59)
    await keeper.check()
    old_leaf, old_ca = data(installed, LEAF)["tls.crt"], data(installed, "mlprivacy-ca")["tls.crt"]
    clock.now += timedelta(days=1, hours=1)
    await keeper.check()
    new_ca = data(installed, "mlprivacy-ca")["tls.crt"]
    assert new_ca != old_ca
    assert data(installed, LEAF)["tls.crt"] == old_leaf
    assert len(load_certificates(data(installed, LEAF)["ca.crt"])) == 2
    assert bundles(installed)[0] == data(installed, LEAF)["ca.crt"]
    clock.now += timedelta(hours=2)
    await keeper.check()
    leaf = load_certificates(data(installed, LEAF)["tls.crt"])[0]
    leaf.verify_directly_issued_by(load_certificates(new_ca)[0])


async def test_helm_wiping_a_ca_bundle_is_repaired(keeper, installed):
    await keeper.check()
    hooks = installed.objects[HOOK]["webhooks"]
    del hooks[1]["clientConfig"]["caBundle"]
    result = await keeper.check()
    assert result.written == ["caBundle of mlprivacy set on 1 webhooks"]
    assert len(set(bundles(installed))) == 1


@pytest.mark.parametrize("damage", ["", "bm90IGEgY2VydA==", "%%%"])
async def test_a_damaged_leaf_is_signed_again(keeper, installed, damage):
    await keeper.check()
    installed.objects[f"{NS}/{LEAF}"]["data"]["tls.crt"] = damage
    assert "signed" in (await keeper.check()).written[0]
    load_certificates(data(installed, LEAF)["tls.crt"])


async def test_a_seal_key_that_can_not_be_read_is_never_overwritten(keeper, installed):
    await keeper.check()
    stored = installed.objects[f"{NS}/mlprivacy-seal-key"]["data"]
    stored["key"] = base64.b64encode(b"damaged").decode()
    result = await keeper.check()
    assert "seal key" in result.problems[0]
    assert data(installed, "mlprivacy-seal-key")["key"] == b"damaged"


async def test_the_public_seal_key_is_restored(keeper, installed):
    await keeper.check()
    public = data(installed, "mlprivacy-seal-key")["key.pub"]
    installed.objects[f"{NS}/mlprivacy-seal-key"]["data"]["key.pub"] = ""
    await keeper.check()
    assert data(installed, "mlprivacy-seal-key")["key.pub"] == public


async def test_a_missing_secret_is_said_and_the_rest_is_done(keeper, installed):
    await installed.remove(f"{NS}/{LEAF}")
    result = await keeper.check()
    assert result.problems == [p for p in result.problems if LEAF in p and "run helm upgrade" in p]
    assert len(result.problems) == 1
    assert bundles(installed)
    assert keeper.problems == tuple(result.problems)
    assert not keeper.ready.is_set()


async def test_losing_a_race_writes_nothing(keeper, installed):
    installed.fail(409, when="mlprivacy-ca")
    result = await keeper.check()
    assert "not brought up to date" in result.problems[0]
    assert (await keeper.check()).problems == []


async def test_two_keepers_at_once_agree(keeper, installed, client, clock):
    other = CertKeeper(client, "mlprivacy-system", {LEAF: SPEC}, clock=clock, lifetimes=LIFE)
    await asyncio.gather(keeper.check(), other.check())
    await keeper.check()
    await other.check()
    assert (await keeper.check()).written == []
    load_certificates(data(installed, LEAF)["tls.crt"])[0].verify_directly_issued_by(
        load_certificates(data(installed, "mlprivacy-ca")["tls.crt"])[0]
    )
