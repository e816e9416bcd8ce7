"""The gateway, native sidecar of inference: the pod's one open port. Without a loaded policy it refuses everyone."""

import asyncio
import contextlib
from typing import Final

from mlprivacy.audit.chain import LogError
from mlprivacy.dataplane import http, keys
from mlprivacy.dataplane.counters import Counters
from mlprivacy.dataplane.listen import Door
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.settings import Settings
from mlprivacy.dataplane.sidecar import Sidecar, told

ROLE: Final = "gateway"
MAX_CLIENTS: Final = 128  # connections at once; the oldest gives way to a new one
RECORD_EVERY: Final = 1.0  # seconds: refusals are counted into one record, so that clients can not fill the log

_REFUSED = "mlprivacy_gateway_refused"
_REFUSAL: Final = {
    "error": "This model's gateway has no policy loaded, so it refuses every request. Nothing was passed on; ask "
    "whoever runs the InferenceJob to look at its conditions.",
    "reason": "NoPolicyLoaded",
}


class Gateway:
    """Refuses and counts."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._counters = sidecar.counters
        self._recorded = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, for asyncio.start_server."""
        self._counters.inc(_REFUSED, "no-policy")
        await http.refuse(reader, writer, http.answer(503, _REFUSAL))

    async def record(self) -> None:
        """Writes the refusals since the last call into the log, as one record; none if there were none."""
        count = self._counters.get(_REFUSED)
        if count > self._recorded:
            await self._sidecar.record("refused", {"reason": "NoPolicyLoaded", "requests": count - self._recorded})
            self._recorded = count

    async def keep_recording(self) -> None:
        """Until cancelled. What could not be written is written with the next."""
        while True:
            await asyncio.sleep(RECORD_EVERY)
            with contextlib.suppress(LogError):
                await self.record()


@told
async def run(settings: Settings, stop: asyncio.Event) -> Outcome:
    """Runs the gateway until ``stop`` is set.

    A log that can not be continued is its outcome. Raises SettingsError, OSError when a port or the folder can not be
    had.
    """
    port = settings.gateway_port
    counters = Counters({_REFUSED: "Requests refused, by reason"})
    sidecar = Sidecar(ROLE, settings.attempt, settings.log, keys.load(settings.key), counters)
    gateway = Gateway(sidecar)
    clients = Door(gateway.serve, settings.listen, others=MAX_CLIENTS)
    async with sidecar.serving(settings.listen, [(port, clients)]):
        recording = asyncio.create_task(gateway.keep_recording())
        try:
            await stop.wait()
        finally:
            recording.cancel()
        with contextlib.suppress(LogError):
            await gateway.record()
    return Outcome(0, "The gateway was stopped; its log is flushed.")
