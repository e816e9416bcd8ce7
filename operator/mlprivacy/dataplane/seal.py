"""The seal probe, a governed pod's first init container: ends well only once the pod is seen to be sealed.

A young pod gets out before its rules arrive, so the probe watches a forbidden address, the collector's canary. That
the canary does not answer proves nothing alone (it may be down): the collector must confirm, signed and over a fresh
nonce, that it was alive within the same second. With its offer the collector learns the public half of the pod's own
key, by which the sidecar's evidence is known later (audit/evidence.py).

Order of one proof, on the probe's monotonic clock:

    observe: not reached → issue nonce (t0) … the collector checks its canary … → confirmation arrives (t1)
    → observe again (t2): not reached; t2 - t0 ≤ 1 s → sealed
"""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlprivacy.api import names
from mlprivacy.audit.canary import reach
from mlprivacy.audit.record import RecordError, utc_now
from mlprivacy.audit.seal import (
    EXIT_NOT_CONFIRMED,
    EXIT_NOT_ENFORCED,
    NONCE_BYTES,
    CanaryAddress,
    confirmation_bytes,
)
from mlprivacy.dataplane import http, keys
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.settings import (
    DEFAULT_SEAL_DEADLINE,
    ENV_CANARY,
    ENV_SEAL_DEADLINE,
    ENV_SEAL_KEY,
    Settings,
    SettingsError,
)

WINDOW: Final = 1.0  # seconds between a nonce and the second observation at most
TRY: Final = 0.4  # seconds one observation waits for answers
PAUSE: Final = 0.1  # seconds between observations of the probe's own loop
MAX_NONCES: Final = 256
LATELY: Final = 5.0  # seconds before the end in which an answer of the canary still counts: one may be lost


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the canary: which way was open, begun when (monotonic seconds and RFC 3339)."""

    began: float
    time: str
    tcp: bool
    udp: bool

    @property
    def reached(self) -> bool:
        return self.tcp or self.udp

    def as_dict(self) -> dict[str, object]:
        age = round(time.monotonic() - self.began, 3)
        return {"reached": self.reached, "tcp": self.tcp, "udp": self.udp, "time": self.time, "ageSeconds": age}


class SealProbe:
    """Watches the canary, issues nonces, judges confirmations. ``sealed`` is set by the first that holds.

    ``key`` is the collector's, ``own`` the pod's.
    """

    def __init__(
        self, canary: tuple[CanaryAddress, ...], attempt: str, key: Ed25519PublicKey, own: Ed25519PrivateKey
    ) -> None:
        self._canary = canary
        self._attempt = attempt
        self._key = key
        self._own = own.public_key().public_bytes_raw().hex()
        self._nonces: OrderedDict[str, float] = OrderedDict()
        self.sealed = asyncio.Event()
        self.observations = 0
        self.reached = 0
        self.asked = 0  # nonces given out: who asks can reach the pod
        self.refused = 0  # confirmations that were not the collector's, or too old
        self.last: Observation | None = None
        self.last_reached: Observation | None = None

    async def observe(self) -> Observation:
        """Looks at the canary once, all addresses and both protocols at the same time."""
        began, at = time.monotonic(), utc_now()
        ways = await asyncio.gather(*(reach(address, TRY) for address in self._canary))
        self.last = Observation(began, at, any(way.tcp for way in ways), any(way.udp for way in ways))
        self.observations += 1
        if self.last.reached:
            self.reached += 1
            self.last_reached = self.last
        return self.last

    async def watch(self) -> None:
        """Observes until cancelled."""
        while True:
            await self.observe()
            await asyncio.sleep(PAUSE)

    async def handle(self, request: http.Request) -> http.Response:
        """GET /seal: attempt, nonce, the pod's key, observation. POST /seal: a confirmation."""
        if request.path != "/seal":
            return http.answer(404, {"error": "Only /seal is here."})
        if request.method == "GET":
            observation = await self.observe()
            nonce = secrets.token_hex(NONCE_BYTES)
            self.asked += 1
            self._nonces[nonce] = time.monotonic()
            while len(self._nonces) > MAX_NONCES:
                self._nonces.popitem(last=False)
            offer = {"attempt": self._attempt, "nonce": nonce, "key": self._own, "observation": observation.as_dict()}
            return http.answer(200, offer)
        if request.method == "POST":
            return await self._confirm(request.body)
        return http.answer(405, {"error": "Use GET or POST."})

    async def _confirm(self, body: bytes) -> http.Response:
        nonce = self._signed_nonce(body)
        issued = self._nonces.pop(nonce, None) if nonce is not None else None
        if issued is None:
            self.refused += 1
            return http.answer(403, {"error": "The confirmation is not the collector's, for this pod and nonce."})
        observation = await self.observe()
        if observation.began - issued > WINDOW:
            self.refused += 1
            return http.answer(
                409, {"error": f"The confirmation came more than {WINDOW:g} s after its nonce; ask anew."}
            )
        if observation.reached:
            return http.answer(409, {"error": "The canary answered: the pod is not sealed yet."})
        self.sealed.set()
        return http.answer(200, {"sealed": True, "observation": observation.as_dict()})

    def _signed_nonce(self, body: bytes) -> str | None:
        """The nonce of a confirmation that the collector signed for this attempt; None for any other."""
        try:
            raw = json.loads(body)
            attempt, nonce, at, signature = (raw[name] for name in ("attempt", "nonce", "time", "signature"))
            if attempt != self._attempt or not all(isinstance(item, str) for item in (nonce, at, signature)):
                return None
            self._key.verify(bytes.fromhex(signature), confirmation_bytes(attempt, nonce, at))
        except (ValueError, KeyError, TypeError, RecursionError, RecordError, InvalidSignature):
            return None
        return str(nonce)

    def why_not(self) -> Outcome:
        """Code and sentence for a pod that was not sealed in time."""
        seen = self.last_reached
        if seen is not None and time.monotonic() - seen.began <= LATELY:
            ways = " and ".join(way for way, open_ in (("TCP", seen.tcp), ("UDP", seen.udp)) if open_)
            return Outcome(
                EXIT_NOT_ENFORCED,
                f"The pod is not sealed: the canary still answered over {ways}. NetworkPolicy is not enforced for this "
                "pod; install a network plugin that enforces it, or see why its rules did not arrive.",
            )
        refused = f" {self.refused} were refused as spoofed or late." if self.refused else ""
        where = (
            "It asked, and could not say so: see whether it is ready, and its metric mlprivacy_canary_alive."
            if self.asked
            else f"Nobody asked: see that the collector runs and reaches the pod's port {names.PORT_SEAL}."
        )
        return Outcome(
            EXIT_NOT_CONFIRMED,
            "The pod looks sealed, but the collector did not confirm in time that its canary was alive."
            f"{refused} {where}",
        )


def public_key(text: str) -> Ed25519PublicKey:
    """The key in base64. Raises SettingsError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise SettingsError(
            f"The environment variable {ENV_SEAL_KEY} must be an Ed25519 public key: 32 bytes in base64."
        ) from error


async def run(settings: Settings, stop: asyncio.Event) -> Outcome:
    """Runs the probe until it is sealed, past its deadline or stopped.

    Raises SettingsError, or OSError when the port can not be had.
    """
    try:
        canary = CanaryAddress.parse_all(settings.required(ENV_CANARY))
    except ValueError as error:
        raise SettingsError(f"The environment variable {ENV_CANARY}: {error}") from error
    deadline = settings.number(ENV_SEAL_DEADLINE, DEFAULT_SEAL_DEADLINE, 0.1, 3600)
    collector = public_key(settings.required(ENV_SEAL_KEY))
    probe = SealProbe(canary, settings.attempt, collector, keys.made(settings.key))
    responder = http.Responder(probe.handle)
    async with http.listening(responder, settings.listen, names.PORT_SEAL):
        tasks = [asyncio.create_task(item) for item in (_forever(probe.watch()), probe.sealed.wait(), stop.wait())]
        await asyncio.wait(tasks, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if probe.sealed.is_set():
            async with asyncio.timeout(http.TIMEOUT):
                await responder.settled()  # the collector hears that it was believed
            return Outcome(0, "The pod is sealed: the canary was alive and this pod did not reach it.")
    if stop.is_set():
        return Outcome(143, "The seal probe was stopped before the pod was seen to be sealed.")
    return probe.why_not()


async def _forever(watching: Coroutine[None, None, None]) -> bool:
    """Gives the watch the type of its neighbours; it ends only by an error."""
    await watching
    return False
