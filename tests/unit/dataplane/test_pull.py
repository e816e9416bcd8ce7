"""The collector's puller against real probes and sidecars: seal confirmed, log pulled, bad pods in nobody's way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pulling import Pulling, state, until, watched

from mlprivacy.api import names
from mlprivacy.audit import reader
from mlprivacy.audit.seal import EXIT_NOT_CONFIRMED


async def test_a_pod_is_sealed_then_heard_and_its_log_is_pulled(
    pod: Any, connect: Any, tmp_path: Path, seal_environment: dict[str, str]
) -> None:
    pulling = Pulling(tmp_path / "audit", [watched(pod)])
    async with pulling.run() as puller:
        probe = await pod.start("seal", **seal_environment)
        assert await probe.wait() == 0
        await pod.start_sidecar("accountant")
        async with connect(pod) as trainer:
            for number in range(600):
                trainer.writer.write(b'{"type":"step","step":%d}\n' % number)
            for _ in range(600):
                await trainer.hear()
        head = (await pod.heartbeat())["seq"]
        await until(lambda: state(puller)["pulled"] >= head)
        assert state(puller)["stage"] == "running"
    (seal,) = pulling.records("seal")
    assert (seal["attempt"], seal["acknowledged"], seal["key"]) == ("6f1c-1", True, pod.make_key())
    own = [line.decode() for line in reader.chain_lines(pod.log / "accountant", 1, head)]
    assert pulling.pulled_lines() == own
    assert pulling.records("heartbeat")[0]["attempt"] == "6f1c-1"


async def test_a_sidecar_of_another_attempt_at_that_address_is_not_this_pods(pod: Any, tmp_path: Path) -> None:
    pulling = Pulling(tmp_path / "audit", [watched(pod, attempt="another-9")])
    async with pulling.run() as puller:
        await pod.start_sidecar("accountant")
        await asyncio.sleep(0.5)
        assert (state(puller)["stage"], state(puller)["heardSecondsAgo"]) == ("waiting", None)
    assert pulling.records("heartbeat") == []


@pytest.mark.parametrize(("alive", "attempt"), [(False, "6f1c-1"), (True, "another-9")])
async def test_nothing_is_confirmed_while_the_canary_is_dead_or_the_attempt_another(
    pod: Any, tmp_path: Path, seal_environment: dict[str, str], alive: bool, attempt: str
) -> None:
    pulling = Pulling(tmp_path / "audit", [watched(pod, attempt=attempt)])
    pulling.canary = alive
    async with pulling.run() as puller:
        probe = await pod.start("seal", **seal_environment, MLPRIVACY_SEAL_DEADLINE="2")
        assert await probe.wait() == EXIT_NOT_CONFIRMED
        assert "did not confirm" in pod.termination
        assert state(puller)["stage"] == "waiting"
    assert pulling.records("seal") == []


async def test_a_restarted_collector_goes_on_where_the_pulling_ended(pod: Any, connect: Any, tmp_path: Path) -> None:
    await pod.start_sidecar("accountant")
    pulling = Pulling(tmp_path / "audit", [watched(pod)])
    pulling.knows(pod)
    head = 0
    for _ in range(3):
        async with connect(pod) as trainer:
            for number in range(10):
                await trainer.say({"type": "step", "step": number})
        head = (await pod.heartbeat())["seq"]
        async with pulling.run() as puller:
            await until(lambda: state(puller)["pulled"] == head)  # noqa: B023
    assert len(pulling.pulled_lines()) == head
    assert pulling.records("sidecar")[-1]["size"] == sum(len(line) + 1 for line in pulling.pulled_lines())
    (seal,) = pulling.records("seal")  # the sidecar runs, so its probe had ended well
    assert seal["acknowledged"] is False


async def test_a_log_that_does_not_continue_what_was_pulled_is_recorded_and_not_believed(
    pods: Any, connect: Any, tmp_path: Path
) -> None:
    first, forged = pods(), pods()
    forged.ip = first.ip
    pulling = Pulling(tmp_path / "audit", [watched(first)])
    pulling.knows(first)
    forged.key.write_bytes(first.key.read_bytes())  # the same pod, whose log was made anew
    async with pulling.run() as puller:
        process = await first.start_sidecar("accountant")
        async with connect(first) as trainer:
            await trainer.say({"type": "step", "step": 1})
        await until(lambda: state(puller)["pulled"] == 3)
        process.kill()
        await process.wait()
        await forged.start_sidecar("accountant")
        async with connect(forged) as trainer:
            for number in range(5):
                await trainer.say({"type": "step", "step": number})
        await until(lambda: bool(state(puller).get("problem")))
        assert state(puller)["pulled"] == 3
    assert "problem" in pulling.records("sidecar")[-1]


@contextlib.asynccontextmanager
async def bad_pod(ip: str, answer: bytes | None) -> AsyncIterator[None]:
    """Answers everything on both ports with ``answer``; None: never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await asyncio.sleep(3600)
            writer.write(answer or b"")
            await writer.drain()
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        for port in (names.PORT_SEAL, names.PORT_SIDECAR):
            server = await asyncio.start_server(serve, ip, port)
            stack.callback(server.close)
        yield


def http(body: bytes, head: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (head, len(body)) + body


async def test_bad_pods_do_not_keep_a_good_one_waiting(
    pods: Any, tmp_path: Path, seal_environment: dict[str, str]
) -> None:
    answers = [
        None,
        b"",
        b"\x00garbage",
        http(b"[" * 100_000),
        http(b"[]"),
        http(b"x" * 3_000_000),
        http(b'{"attempt":1,"nonce":"","observation":{}}'),
        http(b'{"attempt":"a","role":"r","uptimeSeconds":-1,"seq":1,"hash":"x"}'),
        http(b'{"attempt":"a","role":"r","uptimeSeconds":1,"seq":5,"hash":"' + b"0" * 64 + b'"}'),
        http(b"", b"302 Found\r\nLocation: http://127.0.0.1:1/"),
    ]
    good = pods()
    bad = [(pods(), answer) for answer in answers]
    listed = [watched(item, f"bad-{number}") for number, (item, _) in enumerate(bad)]
    pulling = Pulling(tmp_path / "audit", [*listed, watched(good)])
    async with contextlib.AsyncExitStack() as stack:
        for item, answer in bad:
            await stack.enter_async_context(bad_pod(item.ip, answer))
        puller = await stack.enter_async_context(pulling.run())
        probe = await good.start("seal", **seal_environment)
        assert await probe.wait() == 0
        await good.start_sidecar("accountant")
        await until(lambda: state(puller)["pulled"] >= 2)
        pulling.pods = listed[:1]  # the others are gone
        await until(lambda: len(puller.report()) == 1)
    assert pulling.pulled_lines()
    assert all(pulling.pulled_lines(pod.uid) == [] for pod in listed)
