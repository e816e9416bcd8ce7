"""The certificate authority, judged by the real ssl module with strict flags, and its life with a moved clock."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from mlprivacy.kube.certificates import (
    Authority,
    KeyPair,
    LeafSpec,
    Lifetimes,
    days_left,
    leaf_problem,
    load_certificates,
    load_seal_key,
    maintain_authority,
    new_ca,
    new_leaf,
    new_seal_key,
    seal_public_key,
)

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
LIFE = Lifetimes(ca=90 * DAY, leaf=9 * DAY, overlap=timedelta(hours=1))
SERVER = LeafSpec("web", dns_names=("localhost", "web.ns.svc"), ip_addresses=("127.0.0.1", "::1"))
CLIENT = LeafSpec("mlprivacy-controller", server=False, client=True)


def fresh(now=NOW):
    return maintain_authority(b"", b"", b"", now, LIFE)[0]


async def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host="localhost") -> dict | None:
    """What the server knows of the client's certificate; raises what either side objects to."""
    seen: asyncio.Future = asyncio.get_running_loop().create_future()

    async def answer(reader, writer):
        with contextlib.suppress(OSError):
            if await reader.read(1):
                seen.set_result(writer.get_extra_info("peercert"))
                writer.write(b"y")
                await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    async with listener, asyncio.timeout(20):
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=host)
        try:
            writer.write(b"x")
            await writer.drain()
            if await reader.read(1) != b"y":
                raise ConnectionResetError("the server hung up")
            return await seen
        finally:
            writer.close()


def contexts(tmp_path, server: KeyPair, ca: bytes, client: KeyPair | None = None):
    def load(context, pair, name):
        path = tmp_path / name
        path.write_bytes(pair.certificate + pair.key)
        context.load_cert_chain(path)

    for_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(for_server, server, "server.pem")
    for_client = ssl.create_default_context(cadata=ca.decode())
    for context in (for_server, for_client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if client is not None:
        for_server.verify_mode = ssl.CERT_REQUIRED
        for_server.load_verify_locations(cadata=ca.decode())
        load(for_client, client, "client.pem")
    return for_server, for_client


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_strict_verifier_accepts_the_server_by_name_and_by_address(tmp_path, host):
    authority = fresh()
    leaf = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    await handshake(*contexts(tmp_path, leaf, authority.bundle), host=host)


async def test_another_name_is_refused(tmp_path):
    authority = fresh()
    leaf = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(*contexts(tmp_path, leaf, authority.bundle), host="other.example")


async def test_mutual_tls_tells_the_clients_common_name(tmp_path):
    authority = fresh()
    server = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    client = new_leaf(authority.signer, CLIENT, NOW, LIFE.leaf)
    peer = await handshake(*contexts(tmp_path, server, authority.bundle, client))
    assert peer["subject"] == ((("commonName", "mlprivacy-controller"),),)


async def test_a_server_certificate_is_no_client_certificate(tmp_path):
    authority = fresh()
    server = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    with pytest.raises((ssl.SSLError, OSError)):
        await handshake(*contexts(tmp_path, server, authority.bundle, server))


async def test_a_leaf_can_not_sign(tmp_path):
    authority = fresh()
    middle = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    forged = new_leaf(middle, SERVER, NOW, LIFE.leaf)
    chain = KeyPair(forged.certificate + middle.certificate, forged.key)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(*contexts(tmp_path, chain, authority.bundle))


async def test_across_a_rotation_old_and_new_leaves_verify_under_the_new_bundle(tmp_path):
    old = fresh(NOW - 61 * DAY)
    before = new_leaf(old.signer, SERVER, NOW - DAY, LIFE.leaf)
    new, reason = maintain_authority(old.signer.certificate, old.signer.key, old.bundle, NOW, LIFE)
    assert reason == "two thirds of its life are over"
    after = new_leaf(new.signer, SERVER, NOW, LIFE.leaf)
    for leaf in (before, after):
        await handshake(*contexts(tmp_path, leaf, new.bundle))
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(*contexts(tmp_path, after, old.bundle))


def stored(authority: Authority, now, bundle=None):
    return maintain_authority(
        authority.signer.certificate, authority.signer.key, authority.bundle if bundle is None else bundle, now, LIFE
    )


def test_a_healthy_ca_is_left_alone_until_two_thirds_of_its_life():
    authority = fresh()
    assert stored(authority, NOW + 59 * DAY) == (authority, None)
    assert stored(authority, NOW + 61 * DAY)[1] == "two thirds of its life are over"


def test_the_bundle_loses_cas_that_have_expired():
    old = fresh()
    new, _ = stored(old, NOW + 61 * DAY)
    assert len(load_certificates(new.bundle)) == 2
    later, reason = stored(new, NOW + 91 * DAY)
    assert load_certificates(later.bundle) == load_certificates(new.signer.certificate)
    assert "bundle" in reason


def test_the_bundle_is_repaired_when_somebody_empties_it():
    authority = fresh()
    repaired, reason = stored(authority, NOW, bundle=b"")
    assert repaired == authority
    assert "bundle" in reason


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (b"junk", b"junk", "can not be read"),
        (new_ca(NOW, DAY).certificate, new_ca(NOW, DAY).key, "its key does not belong to it"),
        (new_ca(NOW + 2 * DAY, DAY).certificate, b"", "there is none yet"),
    ],
)
def test_a_broken_ca_is_replaced(certificate, key, why):
    authority, reason = maintain_authority(certificate, key, b"", NOW, LIFE)
    assert why in reason
    assert leaf_problem(new_leaf(authority.signer, SERVER, NOW, DAY), SERVER, authority, NOW, LIFE) is None


def test_a_leaf_never_outlives_its_ca():
    ca = new_ca(NOW, 2 * DAY)
    assert days_left(new_leaf(ca, SERVER, NOW, 30 * DAY).certificate, NOW) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dns_names": ("localhost",)}, "names wanted"),
        ({"ip_addresses": ()}, "names wanted"),
        ({"common_name": "other"}, "common name"),
        ({"client": True}, "use has changed"),
    ],
)
def test_a_leaf_is_signed_again_when_what_it_should_say_changes(change, why):
    authority = fresh()
    leaf = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    fields = {name: getattr(SERVER, name) for name in SERVER.__dataclass_fields__}
    assert leaf_problem(leaf, SERVER, authority, NOW, LIFE) is None
    assert why in leaf_problem(leaf, LeafSpec(**{**fields, **change}), authority, NOW, LIFE)


@pytest.mark.parametrize(
    ("after", "why"),
    [(5 * DAY, None), (7 * DAY, "two thirds"), (10 * DAY, "expired"), (-DAY, "not valid yet")],
)
def test_a_leaf_is_signed_again_as_it_ages(after, why):
    authority = fresh()
    leaf = new_leaf(authority.signer, SERVER, NOW, LIFE.leaf)
    problem = leaf_problem(leaf, SERVER, authority, NOW + after, LIFE)
    assert problem is None if why is None else why in problem


def test_after_a_rotation_leaves_wait_until_every_verifier_has_the_new_bundle():
    old = fresh(NOW - 61 * DAY)
    leaf = new_leaf(old.signer, SERVER, NOW, LIFE.leaf)
    new, _ = stored(old, NOW)
    assert leaf_problem(leaf, SERVER, new, NOW + timedelta(minutes=59), LIFE) is None
    assert "rotated" in leaf_problem(leaf, SERVER, new, NOW + timedelta(minutes=61), LIFE)


def test_a_leaf_of_a_ca_that_is_lost_is_signed_again_at_once():
    leaf = new_leaf(fresh().signer, SERVER, NOW, LIFE.leaf)
    assert "no certificate authority" in leaf_problem(leaf, SERVER, fresh(), NOW, LIFE)


@pytest.mark.parametrize("pair", [KeyPair(b"", b""), KeyPair(b"junk", b"junk")])
def test_an_absent_or_unreadable_leaf_has_a_reason(pair):
    assert leaf_problem(pair, SERVER, fresh(), NOW, LIFE)


def test_specs_that_no_verifier_would_accept_are_refused():
    with pytest.raises(ValueError, match="needs a DNS name"):
        new_leaf(new_ca(NOW, DAY), LeafSpec("web"), NOW, DAY)
    with pytest.raises(ValueError, match="neither server nor client"):
        new_leaf(new_ca(NOW, DAY), LeafSpec("web", server=False), NOW, DAY)


def test_the_seal_key_signs_and_its_public_half_is_derived():
    private, public = new_seal_key()
    assert seal_public_key(private + b"\n") == public
    signature = load_seal_key(private).sign(b"m")
    load_seal_key(private).public_key().verify(signature, b"m")
    with pytest.raises(ValueError, match="32 bytes"):
        seal_public_key(b"c2hvcnQ=")
