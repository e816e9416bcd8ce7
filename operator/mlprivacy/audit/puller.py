"""Pulls from governed pods: confirms their seal, then reads heartbeat and log of their sidecar.

Pulling, never pushing: all containers of a pod share its egress, so a channel out would be the trainer's too. What a
pod answers is untrusted: bounded, never followed elsewhere, checked before it is recorded. Of a sidecar only what is
signed counts as heard (audit/evidence.py): another program of the pod may have taken its port.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.api import names
from mlprivacy.audit import reader
from mlprivacy.audit.chain import LogError
from mlprivacy.audit.evidence import HEADER, with_nonce
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.metrics import CollectorMetrics
from mlprivacy.audit.podkeys import PodKeys
from mlprivacy.audit.record import Event, Record, RecordError, Subject, event_id, utc_now
from mlprivacy.audit.seal import confirmation_bytes

_LOG = logging.getLogger(__name__)

MAX_ANSWER: Final = 1 << 20  # bytes read of one answer
MAX_EXCHANGES: Final = 64  # requests to pods at the same time
MAX_PAGES: Final = 20  # pages of a sidecar's log in one round
LOG_BYTES: Final = 64 << 20  # taken of one pod's log; a sidecar keeps within 48 MiB by itself
PRUNE_EVERY: Final = 60.0  # seconds
KIND_SEAL: Final = "seal"
KIND_HEARTBEAT: Final = "heartbeat"
KIND_SIDECAR: Final = "sidecar"


@dataclass(frozen=True, slots=True)
class Pod:
    """A governed pod as the kube watch knows it. ``attempt`` is the id its seal probe must name, where known;
    ``begun``: something after the probe ever began in it, so that its first offer is past.
    """

    namespace: str
    name: str
    uid: str
    ip: str
    kind: Literal["training", "inference"]
    attempt: str | None = None
    begun: bool = field(default=False, compare=False)

    @property
    def subject(self) -> Subject:
        return Subject("Pod", self.namespace, self.name, self.uid)


# The governed pods that have an IP and are not finished, right now; None while that is not known.
PodSource = Callable[[], Collection[Pod] | None]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a sidecar's log was pulled: number and hash of the last record, bytes taken in all."""

    seq: int = 0
    hash: str = ""
    size: int = 0

    def as_dict(self) -> dict[str, object]:
        return {"seq": self.seq, "hash": self.hash, "size": self.size}


@dataclass(slots=True)
class PodState:
    """What is known of a pod. Times are seconds of time.monotonic()."""

    pod: Pod
    sealed: bool = False
    heard_at: float | None = None
    recorded_at: float | None = None
    began_at: float = field(default_factory=time.monotonic)
    heartbeat: dict[str, object] = field(default_factory=dict)
    place: Place = Place()
    problem: str | None = None  # why its log is not read on
    flooded: bool = False  # it is heard no more at all

    @property
    def stage(self) -> str:
        if self.heard_at is not None:
            return "running"
        return "sealed" if self.sealed else "waiting"


class PodError(Exception):
    """A pod did not answer, or answered what it should not. The message is a sentence."""


class Unbelieved(PodError):
    """What answered is not known to be the pod's own probe or sidecar. ``reason`` is a word for the metric."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Puller:
    """Follows every pod that ``source`` names, each in a task of its own, until run() is cancelled.

    ``canary_alive`` is asked at the moment of each confirmation. ``poll``: seconds between looks at the source and
    between tries of a pod that has not started; ``heartbeat``: seconds between pulls of a running one;
    ``record_every``: seconds between heartbeat records of one pod while nothing else changes. At most MAX_EXCHANGES
    exchanges at once, ``timeout`` seconds each, so that silent pods delay others by a bounded time.
    ``log_bytes``: what is taken of one pod's log before it is heard no more.
    """

    def __init__(
        self,
        log: AuditLog,
        metrics: CollectorMetrics,
        *,
        writer: str,
        source: PodSource,
        canary_alive: Callable[[], Awaitable[bool]],
        key: Ed25519PrivateKey,
        keys: PodKeys,
        poll: float = 0.25,
        heartbeat: float = 10.0,
        record_every: float = 60.0,
        timeout: float = 2.0,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._writer = writer
        self._source = source
        self._canary_alive = canary_alive
        self._key = key
        self._keys = keys
        self._log_bytes = log_bytes
        self._pruned = time.monotonic()
        self._poll = poll
        self._heartbeat = heartbeat
        self._record_every = record_every
        self._timeout = timeout
        self._states: dict[str, PodState] = {}
        self._positions: dict[str, Place] = {}
        self._slots = asyncio.Semaphore(MAX_EXCHANGES)

    def report(self, silent: float = 0.0) -> list[dict[str, object]]:
        """What is known of each pod that was not heard for ``silent`` seconds or longer; ``heardSecondsAgo`` is null
        until its sidecar has answered, ``followedSeconds`` says since when it is waited for.
        """
        now = time.monotonic()
        return [
            {
                "namespace": state.pod.namespace,
                "name": state.pod.name,
                "uid": state.pod.uid,
                "kind": state.pod.kind,
                "stage": state.stage,
                "sealed": state.sealed,
                "heardSecondsAgo": None if state.heard_at is None else round(now - state.heard_at, 3),
                "followedSeconds": round(now - state.began_at, 3),
                "heartbeat": state.heartbeat,
                "pulled": state.place.seq,
                "problem": state.problem,
            }
            for state in self._states.values()
            if now - (state.began_at if state.heard_at is None else state.heard_at) >= silent
        ]

    async def run(self) -> None:
        """Follows pods until cancelled."""
        self._positions = await asyncio.to_thread(positions, self._log.directory / self._writer)
        tasks: dict[str, asyncio.Task[None]] = {}
        connector = aiohttp.TCPConnector(limit=MAX_EXCHANGES, force_close=True)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            try:
                while True:
                    self._reconcile(session, tasks)
                    await asyncio.sleep(self._poll)
            finally:
                for task in tasks.values():
                    task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _reconcile(self, session: aiohttp.ClientSession, tasks: dict[str, asyncio.Task[None]]) -> None:
        """One task per pod: begins for new ones and new addresses, ends for those gone."""
        source = self._source()
        if source is None:
            return
        pods = {pod.uid: pod for pod in source}
        for uid, task in list(tasks.items()):
            if uid not in pods or pods[uid] != self._states[uid].pod:
                task.cancel()
                del tasks[uid], self._states[uid]
        for uid, pod in pods.items():
            if uid not in tasks:
                state = PodState(pod, place=self._positions.get(uid, Place()))
                self._states[uid] = state
                tasks[uid] = asyncio.create_task(self._follow(session, state), name=f"pod-{uid}")
            self._states[uid].pod = pod  # whether anything began in it may have changed
        if time.monotonic() - self._pruned >= PRUNE_EVERY:
            self._pruned = time.monotonic()
            self._keys.prune(pods)
        stages = [state.stage for state in self._states.values()]
        for stage in ("waiting", "sealed", "running"):
            self._metrics.pods.labels(stage).set(stages.count(stage))
        self._positions = {uid: state.place for uid, state in self._states.items()} | {
            uid: place for uid, place in self._positions.items() if uid in pods and uid not in self._states
        }

    async def _follow(self, session: aiohttp.ClientSession, state: PodState) -> None:
        running = False
        known = self._keys.get(state.pod.uid)
        if known is not None and known.flooded:
            await self._flooded(state)
        while not state.flooded:
            if not running:
                await self._try("seal", state, self._seal(session, state))
            running = await self._try("heartbeat", state, self._beat(session, state))
            age = time.monotonic() - state.began_at
            await asyncio.sleep(self._heartbeat if running else min(self._poll * (1 + age / 30), self._heartbeat))

    async def _try(self, what: str, state: PodState, exchange: Awaitable[None]) -> bool:
        """Awaits one exchange; whatever goes wrong stays this pod's own matter."""
        async with self._slots:
            started = time.perf_counter()
            outcome = "ok"
            try:
                await exchange
            except (PodError, LogError, RecordError) as error:
                outcome = "failed"
                if isinstance(error, Unbelieved):
                    self._metrics.unbelieved.labels(error.reason).inc()
                _LOG.debug("pod %s/%s: %s", state.pod.namespace, state.pod.name, error)
            except Exception:  # noqa: BLE001 - a pod's task must not end the others'
                outcome = "error"
                _LOG.exception("pod %s/%s: unexpected error in %s", state.pod.namespace, state.pod.name, what)
            self._metrics.pulls.labels(what, outcome).observe(time.perf_counter() - started)
        return outcome == "ok"

    # The seal.

    async def _seal(self, session: aiohttp.ClientSession, state: PodState) -> None:
        """Confirms the canary to the pod's seal probe, if the probe is there and sees the canary no more."""
        url = self._url(state.pod, names.PORT_SEAL, "/seal")
        offer = _object((await self._exchange(session, "GET", url))[0])
        attempt, nonce, observation = offer.get("attempt"), offer.get("nonce"), offer.get("observation")
        if not (isinstance(attempt, str) and isinstance(nonce, str) and isinstance(observation, dict)):
            raise PodError("The seal probe's answer lacks attempt, nonce or observation.")
        if len(attempt) > 256 or len(nonce) > 64:
            raise PodError("The seal probe's answer is too long.")
        if state.pod.attempt is not None and attempt != state.pod.attempt:
            raise PodError(f"The seal probe names the attempt {attempt!r}, expected {state.pod.attempt!r}.")
        if observation.get("reached") is not False:
            raise PodError("The pod still reaches the canary.")
        await self._learn(state.pod, attempt, offer.get("key"))
        checked = utc_now()
        if not await self._canary_alive():
            raise PodError("The canary is not alive, or not within pods' reach yet; nothing can be confirmed.")
        signature = self._key.sign(confirmation_bytes(attempt, nonce, checked)).hex()
        body = {"attempt": attempt, "nonce": nonce, "time": checked, "signature": signature}
        await self._exchange(session, "POST", url, json.dumps(body).encode())
        state.sealed = True
        await self._record(
            KIND_SEAL,
            state.pod,
            event_id(KIND_SEAL, state.pod.uid, attempt),
            {"attempt": attempt, "confirmedAt": checked, "acknowledged": True, "key": str(offer["key"])},
        )

    async def _learn(self, pod: Pod, attempt: str, key: object) -> None:
        """Keeps the key that a pod names before anything of the user's runs in it. Raises PodError."""
        if pod.begun and self._keys.get(pod.uid) is None:
            raise Unbelieved("too-late", "The pod's key was not learned before its program began; it is not taken now.")
        try:
            why = await asyncio.to_thread(self._keys.learn, pod.uid, attempt, key)
        except OSError as error:
            raise PodError(f"The pod's key could not be kept, so nothing is confirmed: {error}") from error
        if why is not None:
            raise Unbelieved(why, "The seal probe names no key, or another than the first time.")

    # The sidecar.

    async def _beat(self, session: aiohttp.ClientSession, state: PodState) -> None:
        beat = _heartbeat(_object(await self._signed(session, state.pod, "/heartbeat")))
        if state.pod.attempt is not None and beat["attempt"] != state.pod.attempt:
            raise PodError(f"The sidecar names the attempt {beat['attempt']!r}, expected {state.pod.attempt!r}.")
        now = time.monotonic()
        state.heard_at = now
        state.heartbeat = beat
        if not state.sealed:
            # The kubelet starts the sidecar only after the probe has ended well: its answer was lost, or was heard by
            # a collector before this one (then this id is known and nothing is written).
            attempt = str(beat["attempt"])
            ident = event_id(KIND_SEAL, state.pod.uid, attempt)
            await self._record(KIND_SEAL, state.pod, ident, {"attempt": attempt, "acknowledged": False})
            state.sealed = True
        pulled = state.place
        if state.problem is None:
            await self._pull(session, state, int(str(beat["seq"])))
        if state.recorded_at is None or state.place != pulled or now - state.recorded_at >= self._record_every:
            data = {**beat, "pulled": state.place.as_dict()}
            ident = event_id(KIND_HEARTBEAT, state.pod.uid, str(beat["hash"]), utc_now())
            await self._record(KIND_HEARTBEAT, state.pod, ident, data)
            state.recorded_at = now

    async def _pull(self, session: aiohttp.ClientSession, state: PodState, head: int) -> None:
        """Reads the sidecar's log up to ``head`` and records it, page by page."""
        if head < state.place.seq:
            await self._distrust(state, f"its log ends at record {head}, {state.place.seq} were pulled before")
            return
        for _ in range(MAX_PAGES):
            if state.place.seq >= head:
                return
            if state.place.size >= self._log_bytes:
                await self._flooded(state)
                return
            first = state.place.seq + 1
            page = await self._signed(session, state.pod, f"/log?from={first}")
            lines = page.splitlines()
            try:
                seq, digest = _continued(lines, state.place.seq, state.place.hash)
            except RecordError as error:
                await self._distrust(state, str(error))
                return
            place = Place(seq, digest, state.place.size + len(page))
            await self._record(
                KIND_SIDECAR,
                state.pod,
                event_id(KIND_SIDECAR, state.pod.uid, first, seq, digest),
                {
                    "from": first,
                    "to": seq,
                    "head": digest,
                    "size": place.size,
                    "lines": [line.decode() for line in lines],
                },
            )
            state.place = place

    async def _distrust(self, state: PodState, problem: str) -> None:
        """Notes that a sidecar's log does not continue what was pulled; it is not read on."""
        state.problem = problem
        ident = event_id("sidecar-problem", state.pod.uid, state.place.seq, state.place.hash)
        await self._record(KIND_SIDECAR, state.pod, ident, {"problem": problem[:1000], "after": state.place.seq})

    async def _flooded(self, state: PodState) -> None:
        """A pod sent more than its share of the log's disk: it is heard no more, so it is silent from now on."""
        state.flooded = True
        state.problem = f"flooding: more than {self._log_bytes} bytes of its log were pulled; it is heard no more"
        if await asyncio.to_thread(self._keys.flooded, state.pod.uid):
            self._metrics.flooding.inc()
            _LOG.warning("pod %s/%s: %s", state.pod.namespace, state.pod.name, state.problem)
            ident = event_id("sidecar-flooding", state.pod.uid)
            await self._record(KIND_SIDECAR, state.pod, ident, {"problem": state.problem, "after": state.place.seq})

    async def _record(self, kind: str, pod: Pod, ident: str, data: Mapping[str, object]) -> None:
        await self._log.append(self._writer, [Event(utc_now(), ident, kind, pod.subject, data)])

    @staticmethod
    def _url(pod: Pod, port: int, path: str) -> str:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        return f"http://{host}:{port}{path}"

    async def _signed(self, session: aiohttp.ClientSession, pod: Pod, path: str) -> bytes:
        """What the pod's own sidecar answers now. Raises PodError, also where nothing says that it is its answer."""
        known = self._keys.get(pod.uid)
        target = with_nonce(path)
        body, signature = await self._exchange(session, "GET", self._url(pod, names.PORT_SIDECAR, target))
        if known is None:
            raise Unbelieved("no-key", "The pod's key is not known, so nothing it says is believed.")
        if not signature:
            raise Unbelieved("unsigned", "What answered in the sidecar's place did not sign.")
        if not known.signed(target, body, signature):
            raise Unbelieved("signature", "What answered in the sidecar's place did not sign with the pod's key.")
        return body

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, url: str, body: bytes | None = None
    ) -> tuple[bytes, str]:
        """A 200 answer's body, and its signature if it has any. Raises PodError."""
        try:
            async with session.request(method, url, data=body, allow_redirects=False) as response:
                content = bytearray()
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > MAX_ANSWER:
                        raise PodError(f"{url} answered with more than {MAX_ANSWER} bytes.")
                if response.status != 200:
                    raise PodError(f"{url} answered {response.status}: {bytes(content[:200])!r}")
                return bytes(content), response.headers.get(HEADER, "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PodError(f"{url} gave no answer: {error or type(error).__name__}") from error


def positions(directory: Path) -> dict[str, Place]:
    """How far each pod's log was pulled, by pod uid, from the two newest segments of a chain.

    A pod not found there is pulled from its first record again, which repeats records and loses none.
    """
    found: dict[str, Place] = {}
    for path in reader.segments(directory)[-2:]:
        for line in reader.lines(path):
            if not line.whole:
                break
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                record = json.loads(line.text)
                data = record["data"]
                if record["kind"] == KIND_SIDECAR:
                    found[record["subject"]["uid"]] = Place(int(data["to"]), str(data["head"]), int(data["size"]))
                elif record["kind"] == KIND_HEARTBEAT:
                    pulled = data["pulled"]
                    place = Place(int(pulled["seq"]), str(pulled["hash"]), int(pulled["size"]))
                    found[record["subject"]["uid"]] = place
    return found


def _continued(lines: list[bytes], seq: int, digest: str) -> tuple[int, str]:
    """The number and hash after ``lines``, which must continue from (``seq``, ``digest``). Raises RecordError."""
    if not lines:
        raise RecordError(f"the log gives nothing after record {seq}, though its heartbeat names more")
    for line in lines:
        record = Record.parse(line)
        if record.seq != seq + 1 or (digest and record.prev != digest):
            raise RecordError(f"record {record.seq} does not continue record {seq} that was pulled before")
        seq, digest = record.seq, record.hash
    return seq, digest


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PodError("The pod's answer is not JSON.") from error
    if not isinstance(value, dict):
        raise PodError("The pod's answer is not an object.")
    return value


def _heartbeat(raw: Mapping[str, object]) -> dict[str, object]:
    """The fields of a heartbeat that are kept, checked. Raises PodError."""
    attempt, role, uptime, seq, digest = (raw.get(key) for key in ("attempt", "role", "uptimeSeconds", "seq", "hash"))
    good = (
        isinstance(attempt, str)
        and len(attempt) <= 256
        and isinstance(role, str)
        and len(role) <= 64
        and isinstance(uptime, int | float)
        and 0 <= uptime < 1e12
        and isinstance(seq, int)
        and 0 <= seq < 1 << 53
        and isinstance(digest, str)
        and len(digest) == 64
    )
    if not good:
        raise PodError("The sidecar's heartbeat is not in its own format.")
    return {"attempt": attempt, "role": role, "uptimeSeconds": uptime, "seq": seq, "hash": digest}
