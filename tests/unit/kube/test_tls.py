"""Hot TLS: a running server changes its certificate between two connections; a broken Secret changes nothing."""

import asyncio
import base64
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from mlprivacy.kube.certificates import LeafSpec, Lifetimes, load_certificates, maintain_authority, new_leaf
from mlprivacy.kube.tls import HotTLS, SecretTLS

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
LIFE = Lifetimes()
SERVER = LeafSpec("web", dns_names=("localhost",), client=True)
CLIENT = LeafSpec("mlprivacy-controller", server=False, client=True)
SECRET = "/api/v1/namespaces/sys/secrets/web-tls"  # noqa: S105


@pytest.fixture(scope="module")
def authority():
    return maintain_authority(b"", b"", b"", NOW, LIFE)[0]


def content(authority, spec=SERVER, now=NOW, lifetime=10 * DAY):
    leaf = new_leaf(authority.signer, spec, now, lifetime)
    return {"tls.crt": leaf.certificate, "tls.key": leaf.key, "ca.crt": authority.bundle}


def secret(fields):
    return {"type": "Opaque", "data": {key: base64.b64encode(value).decode() for key, value in fields.items()}}


@contextlib.asynccontextmanager
async def serving(context):
    async def answer(reader, writer):
        with contextlib.suppress(OSError):
            if await reader.read(1):
                writer.write(b"y")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def served_serial(port, context) -> int:
    """The serial of the certificate that a new connection meets."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        try:
            writer.write(b"x")
            if await reader.read(1) != b"y":
                raise ConnectionResetError("the server hung up")
            return x509.load_der_x509_certificate(
                writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            ).serial_number
        finally:
            writer.close()


def serial(pem):
    return load_certificates(pem)[0].serial_number


def load(tls, fields, now=NOW):
    tls.load(fields["tls.crt"], fields["tls.key"], fields["ca.crt"], now)


async def test_a_running_server_changes_its_certificate(authority):
    first, second = content(authority), content(authority)
    tls = HotTLS()
    load(tls, first)
    async with serving(tls.server_context) as port:
        assert await served_serial(port, tls.client_context) == serial(first["tls.crt"])
        load(tls, second)
        assert await served_serial(port, tls.client_context) == serial(second["tls.crt"])


async def test_clients_are_checked_when_required(authority):
    server, client, stranger = HotTLS(clients="required"), HotTLS(), HotTLS()
    load(server, content(authority))
    load(client, content(authority, CLIENT))
    other = maintain_authority(b"", b"", b"", NOW, LIFE)[0]
    fields = content(other, CLIENT)
    stranger.load(fields["tls.crt"], fields["tls.key"], authority.bundle, NOW)
    bare = ssl.create_default_context(cadata=authority.bundle.decode())
    async with serving(server.server_context) as port:
        await served_serial(port, client.client_context)
        for context in (stranger.client_context, bare):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await served_serial(port, context)


async def test_a_client_ca_from_elsewhere_is_what_counts(authority):
    other = maintain_authority(b"", b"", b"", NOW, LIFE)[0]
    server = HotTLS(clients="required", client_ca=other.bundle)
    load(server, content(authority))
    friend, own = HotTLS(), HotTLS()
    fields = content(other, CLIENT)
    friend.load(fields["tls.crt"], fields["tls.key"], authority.bundle, NOW)
    load(own, content(authority, CLIENT))
    async with serving(server.server_context) as port:
        await served_serial(port, friend.client_context)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served_serial(port, own.client_context)


async def test_old_protocol_versions_are_refused(authority):
    tls = HotTLS()
    load(tls, content(authority))
    old = ssl.create_default_context(cadata=authority.bundle.decode())
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(tls.server_context) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served_serial(port, old)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ({"tls.key": b""}, r"tls\.key is empty"),
        ({"tls.crt": b"junk"}, "PEM"),
        ({"tls.key": b"junk"}, "can not be used"),
        ({"ca.crt": b"junk"}, "can not be used"),
    ],
)
async def test_broken_content_changes_nothing(authority, damage, why):
    good = content(authority)
    tls = HotTLS()
    load(tls, good)
    with pytest.raises(ValueError, match=why):
        load(tls, {**content(authority), **damage})
    async with serving(tls.server_context) as port:
        assert await served_serial(port, tls.client_context) == serial(good["tls.crt"])


async def test_a_key_of_another_certificate_and_an_expired_one_are_refused(authority):
    good = content(authority)
    tls = HotTLS()
    load(tls, good)
    with pytest.raises(ValueError, match="can not be used"):
        load(tls, {**good, "tls.key": content(authority)["tls.key"]})
    with pytest.raises(ValueError, match=r"expired 1\.0 days ago"):
        load(tls, good, now=NOW + 11 * DAY)


async def test_a_secret_is_followed(api, client, authority, eventually):
    first, second = content(authority), content(authority)
    await api.put(SECRET, {"type": "Opaque"})
    tls = SecretTLS(client, "sys", "web-tls")
    tls.start()
    try:
        await eventually(lambda: tls.problem and "is empty" in tls.problem)
        assert "there is no certificate to use" in tls.problem
        assert not tls.ready.is_set()
        await api.put(SECRET, secret(first))
        async with asyncio.timeout(20):
            await tls.ready.wait()
        assert tls.days_left() == pytest.approx(10, abs=0.1)
        async with serving(tls.server_context) as port:
            assert await served_serial(port, tls.client_context) == serial(first["tls.crt"])
            await api.put(SECRET, secret({**second, "tls.key": b"junk"}))
            await eventually(lambda: tls.problem)
            assert "last good certificate stays in use" in tls.problem
            assert await served_serial(port, tls.client_context) == serial(first["tls.crt"])
            await api.put(SECRET, secret(second))
            await eventually(lambda: tls.loads == 2)
            assert tls.problem is None
            assert await served_serial(port, tls.client_context) == serial(second["tls.crt"])
            await api.remove(SECRET)
            await eventually(lambda: tls.problem)
            assert "deleted" in tls.problem
    finally:
        await tls.stop()
    assert all(
        query.get("fieldSelector") == "metadata.name=web-tls" for method, _, query in api.requests if method == "GET"
    )


async def test_an_expired_certificate_in_use_is_reported(api, client, authority, eventually):
    moment = [NOW]
    await api.put(SECRET, secret(content(authority)))
    tls = SecretTLS(client, "sys", "web-tls", clock=lambda: moment[0])
    tls.start()
    try:
        await eventually(tls.ready.is_set)
        assert tls.problem is None
        moment[0] += 11 * DAY
        assert "expired" in tls.problem
        assert tls.days_left() < 0
    finally:
        await tls.stop()
