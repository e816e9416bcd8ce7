"""Evidence of a pod counts only when its own sidecar signed it: whoever else holds its ports is not heard."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pulling import Pulling, state, until, watched

from mlprivacy.api import names
from mlprivacy.audit.evidence import HEADER, evidence_bytes
from mlprivacy.audit.podkeys import KEPT, PodKeys
from mlprivacy.dataplane import sidecar

Respond = Callable[[str], tuple[bytes, str]]  # what an impostor answers to a target: body and signature


@contextlib.asynccontextmanager
async def impostor(ip: str, port: int, respond: Respond) -> AsyncIterator[list[str]]:
    """A program of the user's on a port of the sidecar's; gives the targets that it was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
            asked.append(target)
            body, signature = respond(target)
            signed = f"{HEADER}: {signature}\r\n" if signature else ""
            writer.write(f"HTTP/1.1 200 OK\r\n{signed}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, ip, port)
    try:
        yield asked
    finally:
        server.close()


def beat(seq: int = 1) -> bytes:
    found = {"attempt": "6f1c-1", "role": "accountant", "uptimeSeconds": 9, "seq": seq, "hash": "0" * 64}
    return json.dumps(found).encode()


async def signed(pod: Any, path: str) -> tuple[bytes, str]:
    """What the true sidecar answers, as a program in its pod could have kept it."""
    reader, writer = await asyncio.open_connection(pod.ip, names.PORT_SIDECAR)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return body, lines.get(HEADER, "")


async def test_an_impostors_heartbeats_are_not_heard_whatever_it_plays(pod: Any, tmp_path: Path) -> None:
    process = await pod.start_sidecar("accountant")
    kept = await signed(pod, "/heartbeat?nonce=" + "5" * 32)
    assert kept[1]
    assert (await signed(pod, "/heartbeat"))[1] == (await signed(pod, "/heartbeat?nonce=mine"))[1] == ""
    process.kill()
    await process.wait()
    stranger = Ed25519PrivateKey.generate()

    def foreign(target: str) -> tuple[bytes, str]:
        return beat(), stranger.sign(evidence_bytes("6f1c-1", target, beat())).hex()

    plays: dict[str, Respond] = {
        "unsigned": lambda _: (kept[0], ""),
        "replayed": lambda _: kept,
        "foreign": foreign,
        "garbage": lambda _: (beat(), "zz"),
    }
    pulling = Pulling(tmp_path / "audit", [watched(pod)])
    pulling.knows(pod)
    for play, respond in plays.items():
        reason = "unsigned" if play == "unsigned" else "signature"
        async with pulling.run() as puller:
            async with impostor(pod.ip, names.PORT_SIDECAR, respond) as asked:
                await until(lambda: pulling.unbelieved(reason) >= 3)  # noqa: B023
            assert state(puller)["heardSecondsAgo"] is None, play
            assert len(set(asked)) == len(asked)  # no nonce twice
    assert pulling.records("heartbeat") == []


async def test_a_program_that_plays_the_seal_probe_later_changes_no_key(
    pod: Any, tmp_path: Path, seal_environment: dict[str, str]
) -> None:
    pulling = Pulling(tmp_path / "audit", [watched(pod)])

    def offering(_: str) -> tuple[bytes, str]:
        offer = {"attempt": "6f1c-1", "nonce": "00" * 16, "key": "ab" * 32, "observation": {"reached": False}}
        return json.dumps(offer).encode(), ""

    async with pulling.run() as puller:
        assert await (await pod.start("seal", **seal_environment)).wait() == 0
        async with impostor(pod.ip, names.PORT_SEAL, offering):
            await until(lambda: pulling.unbelieved("other-key") >= 2)
        await pod.start_sidecar("accountant")
        await until(lambda: state(puller)["stage"] == "running")


async def test_a_pod_whose_program_began_before_its_key_was_learned_is_never_believed(
    pod: Any, tmp_path: Path, seal_environment: dict[str, str]
) -> None:
    pulling = Pulling(tmp_path / "audit", [replace(watched(pod), begun=True)])
    async with pulling.run() as puller:
        probe = await pod.start("seal", **seal_environment)
        await until(lambda: pulling.unbelieved("too-late") >= 2)
        probe.terminate()
        await pod.start_sidecar("accountant")
        await until(lambda: pulling.unbelieved("no-key") >= 2)
        assert state(puller)["heardSecondsAgo"] is None
    assert pulling.records("seal") == []


async def test_a_pod_that_floods_is_recorded_once_and_heard_no_more(pod: Any, connect: Any, tmp_path: Path) -> None:
    await pod.start_sidecar("accountant")
    pulling = Pulling(tmp_path / "audit", [watched(pod)])
    pulling.knows(pod)
    pulling.log_bytes = 100_000
    async with connect(pod) as trainer:
        for _ in range(40):
            await trainer.say({"type": "note", "text": "x" * 20_000})
    for _ in range(3):  # a collector that starts again knows it still
        async with pulling.run() as puller:
            await until(lambda: "flooding" in str(state(puller).get("problem")))
            await asyncio.sleep(0.2)
            heard = state(puller)["heardSecondsAgo"]
            assert heard is None or heard >= 0.2
    assert [r["problem"] for r in pulling.records("sidecar") if "problem" in r] == [
        "flooding: more than 100000 bytes of its log were pulled; it is heard no more"
    ]
    assert 100_000 <= sum(map(len, pulling.pulled_lines())) < 100_000 + sidecar.PAGE_BYTES


def test_a_key_is_kept_while_its_pod_is_there_and_a_while_longer(tmp_path: Path) -> None:
    now = [0.0]
    keys = PodKeys(tmp_path / "keys", lambda: now[0])
    assert keys.learn("uid-1", "6f1c-1", "ab" * 32) is None
    for _ in range(3):
        keys.prune(["uid-1"])
        now[0] += KEPT
    keys.prune([])
    now[0] += KEPT - 1
    keys.prune([])
    assert PodKeys(tmp_path / "keys").get("uid-1") is not None
    now[0] += 1
    keys.prune([])
    assert keys.get("uid-1") is None
    assert PodKeys(tmp_path / "keys").get("uid-1") is None


@pytest.mark.parametrize("key", [None, 7, "", "ab", "AB" * 32, "ab" * 33])
def test_a_first_offer_without_a_key_of_its_form_is_none(tmp_path: Path, key: object) -> None:
    keys = PodKeys(tmp_path / "keys")
    assert keys.learn("uid-1", "6f1c-1", key) == "no-key"
    assert keys.learn("../uid-1", "6f1c-1", "ab" * 32) == "no-key"
    assert [*(tmp_path / "keys").iterdir()] == []


def test_a_file_that_is_no_key_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "uid-1.json").write_text("{}")
    (tmp_path / "uid-2.json").write_text('{"attempt": "a", "key": "zz"}')
    keys = PodKeys(tmp_path)
    assert keys.get("uid-1") is keys.get("uid-2") is None
