"""The collector process with canary and pods: readiness follows the canary, /v1/pods tells what the puller knows."""

import asyncio
import contextlib
import socket
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlprivacy.audit.canary import Canary, reach
from mlprivacy.audit.collector import load_seal_key
from mlprivacy.audit.puller import Pod
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.audit.tls import client_context, common_name


def free_address() -> CanaryAddress:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return CanaryAddress("127.0.0.1", server.getsockname()[1], server.getsockname()[1])


async def ask(collector: Any, path: str) -> tuple[int, Any]:
    files = collector.pki.issue("controller")
    context = client_context(files.cert, files.key, files.ca)
    async with aiohttp.ClientSession() as session, session.get(collector.url + path, ssl=context) as response:
        return response.status, await response.json()


async def test_the_collector_runs_the_canary_and_is_ready_only_with_it(start_collector: Any) -> None:
    address = free_address()
    async with start_collector(canary=(address,)) as collector:
        assert (await reach(address, 1)).any
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while True:
                async with session.get(f"{collector.health}/readyz") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.02)
            async with session.get(f"{collector.health}/metrics") as response:
                assert "mlprivacy_canary_alive 1.0" in await response.text()
    assert not (await reach(address, 0.3)).any


@pytest.mark.parametrize("service", ["not known", "of another"])
async def test_no_seal_is_confirmed_while_the_service_does_not_lead_to_this_canary(
    start_collector: Any, service: str
) -> None:
    own, other = free_address(), free_address()
    async with Canary((other,)):  # it answers pings, and can not prove that it is ours
        found = None if service == "not known" else (other,)
        async with (
            start_collector(canary=(own,), canary_service=lambda: found) as collector,
            aiohttp.ClientSession() as session,
            asyncio.timeout(30),
        ):
            while True:
                async with session.get(f"{collector.health}/readyz") as response:
                    if response.status == 200:  # its Service leads to a process that is ready, so this comes first
                        break
                await asyncio.sleep(0.02)
            async with session.get(f"{collector.health}/metrics") as response:
                assert "mlprivacy_canary_alive 0.0" in await response.text()


async def test_the_pods_are_reported_to_clients_with_a_certificate(start_collector: Any) -> None:
    pod = Pod("research", "diagnosis-x", "uid-1", "127.0.0.1", "training")
    key = Ed25519PrivateKey.generate()
    async with start_collector(canary=(free_address(),), pods=lambda: [pod], seal_key=key) as collector:
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while not found:
                _, answer = await ask(collector, "/v1/pods")
                found = answer["pods"]
        async with collector.client("mlprivacy-controller") as client:
            (silent,) = await client.silent_pods(0)
            assert await client.silent_pods(3600) == []
        assert (await ask(collector, "/v1/pods?silent=long"))[0] == 400
    assert (found[0]["uid"], found[0]["stage"], found[0]["heardSecondsAgo"]) == ("uid-1", "waiting", None)
    assert (silent.namespace, silent.name, silent.uid) == ("research", "diagnosis-x", "uid-1")
    assert 0 <= silent.silent_seconds < 60


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pods": list, "canary": (CanaryAddress("127.0.0.1", 1, 1),)}, "no seal key"),
        ({"pods": list, "seal_key": Ed25519PrivateKey.generate()}, "no canary"),
    ],
)
async def test_pods_without_key_or_canary_are_refused(
    start_collector: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        async with start_collector(**options):
            pass


def test_a_seal_key_must_be_ed25519() -> None:
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = Ed25519PrivateKey.generate()
    assert load_seal_key(key.private_bytes(*form)).public_key() == key.public_key()
    with pytest.raises(ValueError, match="Ed25519"):
        load_seal_key(generate_private_key(65537, 2048).private_bytes(*form))


def test_a_certificate_has_one_common_name_or_none() -> None:
    def subject(*names: str) -> dict[str, object]:
        return {"subject": tuple((("commonName", name),) for name in names)}

    assert common_name(subject("controller")) == "controller"
    assert common_name(subject("controller", "admission")) is None
    assert common_name(subject()) is None
    assert common_name(None) is None
