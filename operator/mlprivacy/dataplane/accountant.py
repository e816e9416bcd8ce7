"""The accountant, native sidecar of training: takes the trainer's messages over a unix socket into a durable log.

One JSON object a line, answered in order: {"ok":true,"seq":N} once the message is durable, else
{"ok":false,"error":"…"}. The kernel tells who is at the other end (SO_PEERCRED); only the trainer's user id is heard.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlprivacy.audit.chain import LogError
from mlprivacy.audit.record import RecordError
from mlprivacy.dataplane import keys
from mlprivacy.dataplane.counters import Counters
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.rate import Bucket, Scale
from mlprivacy.dataplane.settings import Settings
from mlprivacy.dataplane.sidecar import LOG_BYTES, Sidecar, told

ROLE: Final = "accountant"
MAX_LINE: Final = 64 << 10  # bytes of a message
MAX_CONNECTIONS: Final = 16
MAX_WAITING: Final = 8  # messages of one connection that wait for the disk
MAX_OPEN: Final = 512 << 10  # bytes of messages that are read as JSON at once, which takes 24 times as much at worst
RATE: Final = 2000.0  # messages a second, over all connections; more are slowed down, never dropped
TYPES: Final = ("hello", "step", "note")

_MESSAGES = "mlprivacy_accountant_messages"
_ERRORS = "mlprivacy_accountant_errors"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as the kernel says. The pid is 0 across containers."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, connection: socket.socket) -> "Peer":
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        return cls(*struct.unpack("iII", raw))


class Accountant:
    """Serves trainers' connections into ``sidecar``'s log. ``peer_uid``: the only user id that is heard."""

    def __init__(self, sidecar: Sidecar, peer_uid: int, *, rate: float = RATE) -> None:
        self._sidecar = sidecar
        self._counters = sidecar.counters
        self._peer_uid = peer_uid
        self._bucket = Bucket(rate, 2 * rate)
        self._notes = Bucket(1, 10)  # records about refused peers
        self._open = 0
        self._weighing = Scale(MAX_OPEN)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for asyncio.start_unix_server. Whatever it sends, only it suffers."""
        self._open += 1
        try:
            peer = Peer.of(writer.get_extra_info("socket"))
            if peer.uid != self._peer_uid:
                await self._refuse_peer(writer, peer)
            elif self._open > MAX_CONNECTIONS:
                await self._say(
                    writer, self._error("connections", f"At most {MAX_CONNECTIONS} connections are served.")
                )
            else:
                await self._converse(reader, writer, peer)
        except OSError:
            self._counters.inc(_ERRORS, "connection")
        except asyncio.CancelledError:
            pass  # the process ends; asyncio's streams would report this task's cancellation as an error
        finally:
            self._open -= 1
            writer.close()

    async def _refuse_peer(self, writer: asyncio.StreamWriter, peer: Peer) -> None:
        sentence = f"User id {peer.uid} is not heard here; the trainer runs as {self._peer_uid}."
        if self._notes.take():
            with contextlib.suppress(LogError):
                await self._sidecar.record("peer-refused", {"uid": peer.uid, "gid": peer.gid})
        await self._say(writer, self._error("peer", sentence))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        """Reads ahead while the disk works; answers in order."""
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(MAX_WAITING)
        answering = asyncio.create_task(self._answer(answers, writer))
        try:
            async for line in self._lines(reader):
                await self._bucket.wait()
                await answers.put(asyncio.create_task(self._take(line, peer)))
                if answering.done():
                    break  # the other side reads no more
            await answers.put(None)
            await answering
        finally:
            answering.cancel()

    async def _lines(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes | None]:
        """Messages as sent; None, and the end, for one that is too long."""
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return  # the end, or half a line that was never sent whole
            except asyncio.LimitOverrunError:
                yield None
                return
            if line.strip():
                yield line

    async def _answer(self, answers: "asyncio.Queue[asyncio.Task[bytes] | None]", writer: asyncio.StreamWriter) -> None:
        broken = False
        while (task := await answers.get()) is not None:
            reply = await task
            if not broken:
                try:
                    await self._say(writer, reply)
                except OSError:
                    broken = True  # what it sent is still recorded

    async def _take(self, line: bytes | None, peer: Peer) -> bytes:
        """Records one message; the answer to it."""
        if line is None:
            return self._error("too-long", f"The message is longer than {MAX_LINE} bytes; the connection ends.")
        if not self._sidecar.room(len(line)):
            return self._error("full", f"The log is full: it takes {LOG_BYTES >> 20} MiB of messages from one pod.")
        async with self._weighing.holding(len(line)):
            return await self._read(line, peer)

    async def _read(self, line: bytes, peer: Peer) -> bytes:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return self._error("not-json", "The message is not a JSON object on one line.")
        if not isinstance(message, dict) or message.get("type") not in TYPES:
            return self._error("type", f"The message must be an object whose `type` is one of {', '.join(TYPES)}.")
        kind = str(message["type"])
        who = {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid}
        try:
            receipt = await self._sidecar.record(kind, {"peer": who, "message": message})
        except RecordError as error:
            return self._error("content", str(error))
        except LogError as error:
            return self._error("log", str(error))
        self._counters.inc(_MESSAGES, kind)
        return b'{"ok":true,"seq":%d}\n' % receipt.seq

    def _error(self, reason: str, sentence: str) -> bytes:
        self._counters.inc(_ERRORS, reason)
        return json.dumps({"ok": False, "error": sentence}).encode() + b"\n"

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(reply)
        await writer.drain()


def _bind(path: Path) -> socket.socket:
    """A listening socket at ``path``; replaces the one a killed process left. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o666)
    except OSError:
        sock.close()
        raise
    return sock


@told
async def run(settings: Settings, stop: asyncio.Event) -> Outcome:
    """Runs the accountant until ``stop`` is set.

    A log that can not be continued is its outcome. Raises SettingsError, OSError when socket, port or folder can not
    be had.
    """
    counters = Counters({_MESSAGES: "Messages recorded, by type", _ERRORS: "Messages refused, by reason"})
    sidecar = Sidecar(ROLE, settings.attempt, settings.log, keys.load(settings.key), counters)
    accountant = Accountant(sidecar, settings.peer_uid)
    path = settings.socket
    server = await asyncio.start_unix_server(accountant.serve, sock=_bind(path), limit=MAX_LINE)
    try:
        async with sidecar.serving(settings.listen):
            await stop.wait()
            server.close()
    finally:
        server.close()
        path.unlink(missing_ok=True)
    return Outcome(0, "The accountant was stopped; its log is flushed.")
