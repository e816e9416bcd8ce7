"""The seal probe: sealed only by its own eyes and the collector's signed word, both of the same second.

A canary "behind a policy" is a loopback port where nobody listens, while the collector checks another that lives.
"""

import asyncio
import base64
import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.api import names
from mlprivacy.audit.canary import Canary, alive, reach
from mlprivacy.audit.seal import (
    EXIT_NOT_CONFIRMED,
    EXIT_NOT_ENFORCED,
    PONG,
    CanaryAddress,
    answer,
    confirmation_bytes,
    ping,
)
from mlprivacy.dataplane.seal import Observation, SealProbe

KEY = Ed25519PrivateKey.generate()
ATTEMPT = "6f1c-1"
SECRET = b"s" * 32


def free_address() -> CanaryAddress:
    with (
        contextlib.closing(socket.socket()) as tcp,
        contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        return CanaryAddress("127.0.0.1", tcp.getsockname()[1], udp.getsockname()[1])


@pytest.fixture
def closed() -> CanaryAddress:
    """A canary that does not answer."""
    return free_address()


@pytest.fixture
async def canary() -> AsyncIterator[CanaryAddress]:
    """A canary that answers."""
    address = free_address()
    async with Canary((address,), SECRET):
        yield address


def seal_environment(*addresses: CanaryAddress, deadline: float = 30, key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    return {
        "MLPRIVACY_CANARY": ",".join(map(str, addresses)),
        "MLPRIVACY_SEAL_KEY": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "MLPRIVACY_SEAL_DEADLINE": str(deadline),
    }


async def offer(pod: Any) -> dict[str, Any]:
    """GET /seal, once the probe listens."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                return json.loads((await pod.get("/seal", names.PORT_SEAL))[1])  # type: ignore[no-any-return]
            await asyncio.sleep(0.02)


def confirmation(nonce: str, *, attempt: str = ATTEMPT, key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    at = "2026-03-01T12:00:00Z"
    signature = key.sign(confirmation_bytes(attempt, nonce, at)).hex()
    return {"attempt": attempt, "nonce": nonce, "time": at, "signature": signature}


async def post(pod: Any, value: object) -> int:
    return (await pod.post("/seal", value, names.PORT_SEAL))[0]  # type: ignore[no-any-return]


async def confirm(pod: Any) -> None:
    """What the collector does: asks and answers until one confirmation is within its second."""
    async with asyncio.timeout(30):
        while await post(pod, confirmation((await offer(pod))["nonce"])) != 200:
            pass


async def test_a_confirmed_pod_that_does_not_reach_the_canary_is_sealed(pod: Any, closed: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(closed))
    found = await offer(pod)
    assert (found["attempt"], found["observation"]["reached"]) == (ATTEMPT, False)
    await confirm(pod)
    assert await probe.wait() == 0
    assert pod.termination == ""


async def test_the_offer_names_the_pods_own_key_and_a_second_probe_keeps_it(pod: Any, closed: CanaryAddress) -> None:
    for _ in range(2):  # the kubelet runs a pod's first steps again when its sandbox was lost
        probe = await pod.start("seal", **seal_environment(closed))
        assert (await offer(pod))["key"] == pod.make_key()
        await confirm(pod)
        assert await probe.wait() == 0
    assert pod.key.stat().st_mode & 0o777 == 0o400


async def test_an_open_way_out_is_named_in_the_termination_message(pod: Any, canary: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(canary, deadline=3))
    found = await offer(pod)
    assert found["observation"]["reached"] is True
    assert await post(pod, confirmation(found["nonce"])) == 409
    assert await probe.wait() == EXIT_NOT_ENFORCED
    assert "NetworkPolicy is not enforced" in pod.termination
    assert "TCP and UDP" in pod.termination


@pytest.mark.parametrize("way", ["tcp", "udp"])
async def test_one_open_protocol_is_a_way_out(pod: Any, canary: CanaryAddress, closed: CanaryAddress, way: str) -> None:
    ports = {"tcp": (canary.tcp, closed.udp), "udp": (closed.tcp, canary.udp)}[way]
    probe = await pod.start("seal", **seal_environment(CanaryAddress("127.0.0.1", *ports), deadline=3))
    found = await offer(pod)
    assert found["observation"][way] is True
    assert await post(pod, confirmation(found["nonce"])) == 409
    assert await probe.wait() == EXIT_NOT_ENFORCED
    assert f"over {way.upper()}." in pod.termination


async def test_each_of_several_canaries_must_be_out_of_reach(
    pod: Any, canary: CanaryAddress, closed: CanaryAddress
) -> None:
    probe = await pod.start("seal", **seal_environment(closed, canary, deadline=3))
    assert await post(pod, confirmation((await offer(pod))["nonce"])) == 409
    assert await probe.wait() == EXIT_NOT_ENFORCED


async def test_the_pod_is_sealed_once_its_rules_arrive(pod: Any, closed: CanaryAddress) -> None:
    async with Canary((closed,)):
        probe = await pod.start("seal", **seal_environment(closed))
        assert await post(pod, confirmation((await offer(pod))["nonce"])) == 409
    await confirm(pod)
    assert await probe.wait() == 0


async def test_without_a_confirmation_the_probe_gives_up_at_its_deadline(pod: Any, closed: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(closed, deadline=0.5))
    assert await probe.wait() == EXIT_NOT_CONFIRMED
    assert "did not confirm" in pod.termination
    assert "Nobody asked" in pod.termination


async def test_a_collector_that_asks_and_can_not_confirm_is_told_from_one_that_never_asks(
    pod: Any, closed: CanaryAddress
) -> None:
    probe = await pod.start("seal", **seal_environment(closed, deadline=3))
    await offer(pod)
    assert await probe.wait() == EXIT_NOT_CONFIRMED
    assert "mlprivacy_canary_alive" in pod.termination


async def test_one_lost_answer_at_the_end_does_not_send_people_to_the_collector(canary: CanaryAddress) -> None:
    probe = SealProbe((canary,), ATTEMPT, KEY.public_key(), Ed25519PrivateKey.generate())
    assert (await probe.observe()).reached
    probe.last = Observation(time.monotonic(), "2026-03-01T12:00:00Z", tcp=False, udp=False)
    assert probe.why_not().code == EXIT_NOT_ENFORCED


async def test_spoofed_replayed_and_foreign_confirmations_are_refused(pod: Any, closed: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(closed))
    nonce = (await offer(pod))["nonce"]
    good = confirmation(nonce)
    spoofs: list[object] = [
        confirmation(nonce, key=Ed25519PrivateKey.generate()),
        confirmation("00" * 16),
        confirmation(nonce, attempt="another-1"),
        {**good, "attempt": "another-1"},
        {**good, "time": "2030-01-01T00:00:00Z"},
        {**good, "signature": good["signature"][:-2] + "ff"},  # no signature ends so: its last number is small
        {**good, "signature": "zz"},
        {**good, "nonce": 7},
        {**good, "time": "\ud800"},
        {},
        [],
        None,
    ]
    for spoof in spoofs:
        assert await post(pod, spoof) == 403, spoof
    assert probe.returncode is None
    await confirm(pod)
    assert await probe.wait() == 0


async def test_a_confirmation_later_than_a_second_after_its_nonce_is_refused_and_used_up(
    pod: Any, closed: CanaryAddress
) -> None:
    probe = await pod.start("seal", **seal_environment(closed))
    nonce = (await offer(pod))["nonce"]
    await asyncio.sleep(1.1)
    assert await post(pod, confirmation(nonce)) == 409
    assert await post(pod, confirmation(nonce)) == 403
    assert probe.returncode is None


async def test_garbage_on_the_port_does_not_end_the_probe(pod: Any, closed: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(closed))
    await offer(pod)
    for garbage in (
        b"\r\n\r\n",
        b"\x00" * 100,
        b"GET /seal\r\n\r\n",
        b"A" * 100_000,
        b"POST /seal HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST /seal HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /seal HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /seal HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET //[ HTTP/1.1\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(pod.ip, names.PORT_SEAL)
        with contextlib.suppress(OSError):
            writer.write(garbage)
            writer.write_eof()
            reply = await reader.read()
            assert not reply.startswith(b"HTTP/1.1 2")
        writer.close()
    await confirm(pod)
    assert await probe.wait() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MLPRIVACY_CANARY": "canary.example:1:2"}, "IP:TCPPORT:UDPPORT"),
        ({"MLPRIVACY_CANARY": ""}, "MLPRIVACY_CANARY is not set"),
        ({"MLPRIVACY_SEAL_KEY": "AAAA"}, "Ed25519"),
        ({"MLPRIVACY_SEAL_DEADLINE": "soon"}, "MLPRIVACY_SEAL_DEADLINE"),
        ({"MLPRIVACY_ATTEMPT_ID": ""}, "MLPRIVACY_ATTEMPT_ID is not set"),
    ],
)
async def test_bad_settings_end_with_code_2_and_a_sentence(
    pod: Any, closed: CanaryAddress, change: dict[str, str], words: str
) -> None:
    probe = await pod.start("seal", **(seal_environment(closed) | change))
    assert await probe.wait() == 2
    assert words in pod.termination


async def test_sigterm_ends_the_probe_unsealed(pod: Any, closed: CanaryAddress) -> None:
    probe = await pod.start("seal", **seal_environment(closed))
    await offer(pod)
    probe.send_signal(signal.SIGTERM)
    assert await probe.wait() == 143


@pytest.fixture
def half_open() -> Iterator[CanaryAddress]:
    """A port that takes connections and answers nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield CanaryAddress("127.0.0.1", server.getsockname()[1], free_address().udp)


async def test_a_bare_connection_is_a_way_out_but_no_sign_of_life(half_open: CanaryAddress) -> None:
    assert (await reach(half_open, 0.3)).tcp
    assert not await alive(half_open, SECRET, 0.3)


async def test_a_canary_is_alive_only_if_it_answers_both_ways(canary: CanaryAddress, closed: CanaryAddress) -> None:
    assert await alive(canary, SECRET, 1)
    assert not await alive(CanaryAddress("127.0.0.1", canary.tcp, closed.udp), SECRET, 0.3)
    assert not await alive(CanaryAddress("127.0.0.1", closed.tcp, canary.udp), SECRET, 0.3)


async def test_what_answers_in_the_canarys_stead_is_a_way_out_and_no_sign_of_its_life(canary: CanaryAddress) -> None:
    found = await reach(canary, 1)
    assert (found.tcp, found.udp) == (True, True)
    assert not await alive(canary, b"of another canary".ljust(32), 0.3)


def test_the_canary_answers_pings_and_nothing_else() -> None:
    assert (answer(ping(b"n" * 16), SECRET) or b"").startswith(PONG + b"n" * 16)
    for other in (b"", b"hello", ping(b"n" * 15), ping(b"n" * 17), PONG + b"n" * 16):
        assert answer(other, SECRET) is None


def test_addresses_are_ip_literals_with_two_ports() -> None:
    assert CanaryAddress.parse_all("10.0.0.1:1:2,[fd00::1]:3:4") == (
        CanaryAddress("10.0.0.1", 1, 2),
        CanaryAddress("fd00::1", 3, 4),
    )
    assert str(CanaryAddress("fd00::1", 3, 4)) == "[fd00::1]:3:4"
    for bad in ("", "10.0.0.1", "10.0.0.1:1", "host:1:2", "10.0.0.1:0:2", "10.0.0.1:1:65536", "10.0.0.1:1:2,"):
        with pytest.raises(ValueError, match="canary address"):
            CanaryAddress.parse_all(bad)
