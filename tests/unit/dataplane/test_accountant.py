"""The accountant as a process: what it acknowledged is in its log, whatever the trainer sends and however it ends."""

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Any

from mlprivacy.audit import reader
from mlprivacy.audit.record import Record
from mlprivacy.audit.verify import verify


def records(log: Path) -> list[Record]:
    return [Record.parse(line) for line in reader.chain_lines(log / "accountant", 1, 10**9)]


async def test_messages_are_durable_when_they_are_answered(pod: Any, connect: Any) -> None:
    await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        answers = [
            await trainer.say({"type": "hello", "trainer": "opacus"}),
            await trainer.say({"type": "step", "step": 1, "noiseMultiplier": 1.1}),
            await trainer.say({"type": "note", "text": "epoch 1 – ε so far"}),
        ]
    assert [answer["ok"] for answer in answers] == [True] * 3
    stored = {record.seq: record for record in records(pod.log)}
    assert [stored[answer["seq"]].event.kind for answer in answers] == ["hello", "step", "note"]
    step = stored[answers[1]["seq"]].event.data
    assert step["message"] == {"type": "step", "step": 1, "noiseMultiplier": 1.1}
    assert set(step["peer"]) == {"pid", "uid", "gid"}  # type: ignore[call-overload]
    assert stored[answers[1]["seq"]].event.subject.name == "6f1c-1"
    assert stored[1].event.subject.kind == "AuditLog"
    heartbeat = await pod.heartbeat()
    assert (heartbeat["attempt"], heartbeat["role"]) == ("6f1c-1", "accountant")
    assert (heartbeat["seq"], heartbeat["hash"]) == (answers[2]["seq"], stored[answers[2]["seq"]].hash)


async def test_the_log_is_given_in_bounded_pages(pod: Any, connect: Any) -> None:
    await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        for number in range(700):
            trainer.writer.write(json.dumps({"type": "step", "step": number}).encode() + b"\n")
        for _ in range(700):
            assert (await trainer.hear())["ok"]
    seen = 0
    pages = 0
    while page := (await pod.get(f"/log?from={seen + 1}"))[1]:
        for line in page.splitlines():
            seen += 1
            assert Record.parse(line).seq == seen
        pages += 1
    assert seen == (await pod.heartbeat())["seq"]
    assert pages > 1
    assert (await pod.get("/log?from=x"))[0] == 400


async def test_bad_messages_are_answered_counted_and_harm_nobody(pod: Any, connect: Any) -> None:
    await pod.start_sidecar("accountant")
    bad = [
        b"{",
        b"[]",
        b"null",
        b'{"type":"stop"}',
        b'{"type":["step"]}',
        b'{"type":"step","x":NaN}',
        b'{"type":"step","x":1e999}',
        b'{"type":"step","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"type":"step","x":' + b"9" * 30 + b"}",
        b'{"type":"note","text":"\\ud800"}',
        b"\xff\xfe\x00",
    ]
    async with connect(pod) as trainer, connect(pod) as neighbour:
        for message in bad:
            answer = await trainer.say(message)
            assert answer["ok"] is False, message
            assert answer["error"].endswith("."), answer
        assert (await trainer.say({"type": "step", "step": 1}))["ok"]
        too_long = await trainer.say(b'{"type":"note","text":"' + b"x" * 70_000 + b'"}')
        assert (too_long["ok"], "longer than 65536" in too_long["error"]) == (False, True)
        assert (await neighbour.say({"type": "step", "step": 2}))["ok"]
    _, metrics = await pod.get("/metrics")
    assert b'mlprivacy_accountant_errors_total{reason="not-json"} ' in metrics
    assert b'mlprivacy_accountant_messages_total{reason="step"} 2' in metrics
    assert verify(pod.log).ok


async def test_another_user_id_is_not_heard_and_the_attempt_is_recorded(pod: Any, connect: Any) -> None:
    await pod.start_sidecar("accountant", MLPRIVACY_PEER_UID="64999")
    async with connect(pod) as stranger:
        answer = await stranger.hear()
        assert (answer["ok"], "is not heard" in answer["error"]) == (False, True)
        assert await stranger.reader.read() == b""
    assert [record.event.kind for record in records(pod.log)] == ["segment-begin", "started", "peer-refused"]


async def test_a_trainer_that_never_reads_its_answers_holds_up_no_other(pod: Any, connect: Any) -> None:
    await pod.start_sidecar("accountant")
    async with connect(pod) as deaf, connect(pod) as trainer:

        async def flood() -> None:
            while True:
                deaf.writer.write(b'{"type":"bad"}\n' * 1000)
                await deaf.writer.drain()

        flooding = asyncio.create_task(flood())
        for number in range(20):
            assert (await trainer.say({"type": "step", "step": number}))["ok"]
        flooding.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await flooding


async def test_sigterm_flushes_and_ends_though_the_trainer_is_connected(pod: Any, connect: Any) -> None:
    process = await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        answer = await trainer.say({"type": "step", "step": 1})
        process.send_signal(signal.SIGTERM)
        _, error = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in error
    assert not pod.socket.exists()
    stored = records(pod.log)
    assert stored[-1].event.kind == "stopped"
    assert stored[answer["seq"] - 1].event.kind == "step"
    assert verify(pod.log).ok


async def test_after_kill_9_the_log_goes_on_with_every_acknowledged_step(pod: Any, connect: Any) -> None:
    acknowledged: dict[int, int] = {}
    step = 0
    for _ in range(3):
        process = await pod.start_sidecar("accountant")
        async with connect(pod) as trainer:
            for _ in range(30):
                answer = await trainer.say({"type": "step", "step": step})
                acknowledged[answer["seq"]] = step
                step += 1
            for _ in range(200):  # in flight when it dies
                trainer.writer.write(b'{"type":"step","step":-1}\n')
            await trainer.writer.drain()
            process.kill()
            await process.wait()
            with contextlib.suppress(OSError):
                while line := await trainer.reader.readline():
                    if line.endswith(b"\n"):
                        acknowledged[json.loads(line)["seq"]] = -1
    await pod.start_sidecar("accountant")
    stored = {record.seq: record for record in records(pod.log)}
    for seq, number in acknowledged.items():
        assert stored[seq].event.data["message"] == {"type": "step", "step": number}
    assert [record.event.kind for record in stored.values()].count("started") == 4
    assert verify(pod.log).ok


async def test_a_torn_line_is_kept_aside_at_the_next_start(pod: Any, connect: Any) -> None:
    process = await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        await trainer.say({"type": "step", "step": 1})
    process.kill()
    await process.wait()
    (segment,) = reader.segments(pod.log / "accountant")
    segment.write_bytes(segment.read_bytes() + b'{"data":{"half')
    await pod.start_sidecar("accountant")
    report = verify(pod.log)
    assert report.ok
    assert len(report.set_aside) == 1


async def test_startup_fails_with_a_sentence_when_the_log_was_changed(pod: Any, connect: Any) -> None:
    process = await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        await trainer.say({"type": "step", "step": 1})
    process.kill()
    await process.wait()
    (segment,) = reader.segments(pod.log / "accountant")
    segment.write_bytes(segment.read_bytes().replace(b'"step":1', b'"step":0'))
    process = await pod.start("accountant")
    await process.communicate()
    assert process.returncode == 1
    assert "not what was written" in pod.termination


async def test_startup_fails_with_a_sentence_when_there_is_no_place_for_the_log(pod: Any) -> None:
    pod.make_key()
    pod.log.write_text("a file, not a folder")
    process = await pod.start("accountant")
    await process.communicate()
    assert process.returncode == 1
    assert "could not start" in pod.termination


def private_memory(pid: int) -> int:
    """Kibibytes that are the process's own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


async def test_an_accountant_stays_small(pod: Any, connect: Any) -> None:
    """Every governed pod carries one: 14 MB of private memory were measured; aiohttp alone would add 13."""
    process = await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        for number in range(2000):
            trainer.writer.write(json.dumps({"type": "step", "step": number}).encode() + b"\n")
            if number % 100 == 99:
                for _ in range(100):
                    await trainer.hear()
    assert private_memory(process.pid) < 22_000


async def test_without_the_pods_key_a_sidecar_does_not_start(pod: Any) -> None:
    process = await pod.start("accountant")
    await process.communicate()
    assert process.returncode == 2
    assert "the seal probe makes it" in pod.termination
