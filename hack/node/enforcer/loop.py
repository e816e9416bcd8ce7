"""Keep the kernel's table as the API server's objects want it: list and watch, one load per burst of changes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import NAMESPACES, NETWORKPOLICIES, PODS
from node.enforcer.compiler import PolicyError, compile_policies
from node.enforcer.facts import essence_of_namespace, essence_of_pod, essence_of_policy
from node.enforcer.model import Ruleset
from node.enforcer.nft import NftError
from node.enforcer.render import Table, change, lay_out, replace

logger = logging.getLogger("enforcer")

State = Literal["enforcing", "off"]

# The API server is on this machine: trying again is cheap, and tests restart it often.
_BACKOFF: Final = (0.1, 1.0)
_RETRY_SECONDS: Final = 1.0


class Tables(Protocol):
    """What the loop needs of nftables; `nft.Nft` has it."""

    async def load(self, text: str) -> None: ...
    async def remove(self) -> None: ...
    async def present(self) -> bool: ...


@dataclass(frozen=True)
class ReadyFile:
    """Tells others the state: `enforcing` or `off` is its whole content; no file before the first and after the end."""

    path: Path

    def write(self, state: State) -> None:
        """Replace the content at once: a reader never sees half of it."""
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.write_text(f"{state}\n", encoding="utf-8")
        draft.replace(self.path)

    def remove(self) -> None:
        """Take the file away."""
        self.path.unlink(missing_ok=True)


class Caches:
    """Copies of all pods, namespaces and NetworkPolicies, each with only what enforcement reads."""

    def __init__(self, client: KubeClient) -> None:
        kinds = ((NETWORKPOLICIES, essence_of_policy), (PODS, essence_of_pod), (NAMESPACES, essence_of_namespace))
        self._informers = [Informer(client, kind, transform=keep, backoff=_BACKOFF) for kind, keep in kinds]

    def on_change(self, changed: Callable[[], None]) -> None:
        """`changed` is called after every change of what enforcement reads."""
        for informer in self._informers:
            informer.on_change(lambda _old, _new: changed())

    async def start(self) -> None:
        """Begin, and wait until all are complete, however long the API server stays away."""
        for informer in self._informers:
            informer.start()
        for informer in self._informers:
            await informer.wait_synced()

    async def stop(self) -> None:
        """End the watches."""
        for informer in self._informers:
            await informer.stop()

    def ruleset(self) -> Ruleset:
        """What these objects want now. Raises PolicyError."""
        policies, pods, namespaces = self._informers
        return compile_policies(policies.list(), pods.list(), namespaces.list())


@dataclass
class Enforcer:
    """Brings the table to what `wanted` says, whenever told that something changed and every `interval` seconds.

    While it is off there is no table. A ruleset that can not be compiled or loaded leaves the last one in place.
    """

    tables: Tables
    ready: ReadyFile
    wanted: Callable[[], Ruleset]
    interval: float = 5.0
    debounce: float = 0.005
    enabled: bool = True
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _loaded: Table | None = None
    _said: State | None = None

    def changed(self) -> None:
        """Something that the ruleset depends on may have changed."""
        self._wake.set()

    def switch(self, on: bool) -> None:
        """Enforce or do not; the ready file tells when it is so."""
        self.enabled = on
        self._wake.set()

    async def run(self) -> None:
        """For ever, until cancelled."""
        self._wake.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval):
                    await self._wake.wait()
            # A pod's birth is several events, and so is a rollout: what comes together is loaded together.
            await asyncio.sleep(self.debounce)
            self._wake.clear()
            try:
                await self.step()
            except (NftError, PolicyError) as error:
                logger.error("%s; what was enforced before stays, trying again", error)  # noqa: TRY400 - a sentence
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def step(self) -> None:
        """Compare what is wanted with what is loaded, and load what differs. Raises NftError, PolicyError."""
        if not self.enabled:
            if self._said != "off":
                await self.tables.remove()
                self._loaded = None
                self._say("off")
            return
        began = time.perf_counter()
        wanted = lay_out(self.wanted())
        if wanted == self._loaded:
            if await self.tables.present():
                return
            self._loaded = None
        compiled = time.perf_counter()
        await self._load(wanted)
        loaded = time.perf_counter()
        spent = (1000 * (compiled - began), 1000 * (loaded - compiled))
        logger.info("loaded a ruleset: compiled in %.0f ms, nft took %.0f ms", *spent)
        if self.enabled:
            self._say("enforcing")

    async def _load(self, wanted: Table) -> None:
        before, self._loaded = self._loaded, None
        if before is not None:
            try:
                await self.tables.load(change(before, wanted))
            except NftError as error:
                logger.warning("%s; the table is not as it was left, replacing it as a whole", error)
            else:
                self._loaded = wanted
                return
        await self.tables.load(replace(wanted))
        self._loaded = wanted

    async def close(self) -> None:
        """Leave no trace: neither table nor ready file. Raises NftError."""
        self.ready.remove()
        await self.tables.remove()

    def _say(self, state: State) -> None:
        if state != self._said:
            self.ready.write(state)
            self._said = state
            logger.info("state: %s", state)


async def serve(enforcer: Enforcer, caches: Caches, stopping: asyncio.Event) -> None:
    """Enforce until `stopping`, then take the table away. Raises NftError when that fails, and what ended it early."""
    caches.on_change(enforcer.changed)
    working = asyncio.create_task(_work(enforcer, caches), name="enforcer")
    told = asyncio.create_task(stopping.wait(), name="stopping")
    try:
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    finally:
        failed = working.done()
        working.cancel()
        told.cancel()
        await asyncio.gather(working, told, return_exceptions=True)
        await caches.stop()
        await enforcer.close()
    if failed:
        await working


async def _work(enforcer: Enforcer, caches: Caches) -> None:
    await caches.start()
    await enforcer.run()
