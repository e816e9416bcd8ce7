"""All that the controller has of privacy budgets, put together; and the look after reservations whose job is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from mlprivacy.audit.client import CollectorClient, CollectorError
from mlprivacy.audit.ledgerclient import LedgerClient
from mlprivacy.audit.record import Event
from mlprivacy.budget.ledger.errors import ChainError, Refused
from mlprivacy.budget.ledger.state import Reservation
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.budgets import ends, metrics
from mlprivacy.controller.budgets.budgets import Budgets
from mlprivacy.controller.budgets.desk import Desk
from mlprivacy.controller.budgets.desks import Closed, Desks
from mlprivacy.controller.budgets.gate import Gate
from mlprivacy.controller.budgets.keeping import Keeping
from mlprivacy.controller.budgets.recovery import Restored
from mlprivacy.controller.budgets.restoration import restored_event
from mlprivacy.controller.budgets.sources import Registrations
from mlprivacy.controller.effects import Effects
from mlprivacy.controller.store import JobKey, JobStore
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.ledgerlog import ApiLedgerLog
from mlprivacy.kube.resources import PRIVACYBUDGETS, TRAININGJOBS
from mlprivacy.policy.model import Dependency

logger = logging.getLogger(__name__)
BUDGET: Final = PRIVACYBUDGETS.kind
SWEEP_SECONDS: Final = 120.0
FIRST_SWEEP_SECONDS: Final = 10.0
TELL_SECONDS: Final = 0.5  # the status of a budget is written this long after a change, and not more often


class Office:
    """Desks, gate and budgets of one process, and what they need of each other."""

    def __init__(
        self,
        client: KubeClient,
        collector: CollectorClient,
        facts: FactStore,
        effects: Effects,
        store: JobStore,
        look: Callable[[JobKey], None],
        writer: str,
        now: Callable[[], datetime],
        again: Callable[[str], None],
        announcer: Announcer,
        record: Callable[[Event], object],
        checkpoint_every: int,
    ) -> None:
        """``look`` is told which job or budget to look at, ``again`` the budget whose jobs all are to be looked at,
        ``record`` what nothing waits for.
        """
        self._client = client
        self._store = store
        self._look = look
        self._record = record
        self._telling: set[str] = set()
        registrations = Registrations(facts)
        self._log = ApiLedgerLog(client)
        self.keeping = Keeping(
            self._log,
            LedgerClient(collector),
            lambda: self.desks,
            checkpoint_every=checkpoint_every,
            restored=self._restored,
        )
        self.desks = Desks(self._log, writer, now, look, self._changed, self.keeping)
        self.gate = Gate(self.desks, registrations.of_charge)
        self.budgets = Budgets(facts, effects, self.desks, registrations, now, again, announcer)

    async def begin(self) -> None:
        """Read the ledgers, before anything is decided: the jobs that hold something are known by them alone.

        An API server that does not answer is waited for. A collector is not, since jobs must be stopped without it too:
        what needs it waits, and is opened later.
        """
        while True:
            try:
                for domain in sorted(await self._domains()):
                    with contextlib.suppress(Closed):
                        await self.desks.open(domain)
            except ApiError as error:
                logger.warning("the ledgers can not be read yet: %s", error)
                await asyncio.sleep(2.0)
            else:
                return

    async def _domains(self) -> set[str]:
        try:
            return await self.keeping.domains()
        except CollectorError as error:
            logger.warning("what the collector saw of ledgers is not known yet: %s", error)
            return await self._log.domains()

    async def run(self) -> None:
        """Keep the ledgers, and look after reservations whose job is gone, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeping.run(), name="ledgers")
            group.create_task(self._sweeps(), name="reservations")

    async def _sweeps(self) -> None:
        await asyncio.sleep(FIRST_SWEEP_SECONDS)
        while True:
            for desk in self.desks:
                try:
                    await self._sweep(desk)
                except (ApiError, Refused, Closed) as error:
                    logger.warning("reservations of %s are looked after later: %s", desk.domain, error)
                except ChainError as error:
                    logger.warning("%s", self.desks.broke(desk.domain, error))
            await asyncio.sleep(SWEEP_SECONDS)

    async def _sweep(self, desk: Desk) -> None:
        """Spend what a job holds that was deleted past its finalizer: nobody can say what of it ran."""
        await self.desks.open(desk.domain)
        orphans = [held for held in desk.state.reservations.values() if await self._orphan(held)]
        if orphans:
            logger.warning("%d reservations of %s have no job any more and are spent", len(orphans), desk.domain)
            await desk.settle(ends.lost(orphans))

    async def _orphan(self, held: Reservation) -> bool:
        job = held.reserve.job
        known = self._store.get(JobKey("TrainingJob", job.namespace, job.name))
        if known is not None and known["metadata"]["uid"] == job.uid:
            return False
        try:
            live = await self._client.get(TRAININGJOBS, job.name, job.namespace)
        except NotFound:
            return True
        return bool(live["metadata"]["uid"] != job.uid)

    def concerned(self, changed: Dependency, old: Object | None, new: Object | None) -> list[JobKey]:
        """The budgets to look at since a Dataset changed: its source is registered with its identity."""
        if changed.kind != "Dataset":
            return []
        identities = {str((one.get("spec") or {}).get("identity")) for one in (old, new) if one is not None}
        return [JobKey(BUDGET, "", name) for name in self.budgets.of_identities(identities)]

    def _changed(self, domain: str) -> None:
        """The ledger has a new entry: its budget's status says so, once for many."""
        self.keeping.appended(self.desks.of(domain))
        if domain in self._telling:
            return
        self._telling.add(domain)
        asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell, domain)

    def _restored(self, done: Restored) -> None:
        """Entries of a ledger were lost and are back: whoever keeps the cluster has to hear of it."""
        metrics.count_restored(done.subject_domain, done.count)
        self._record(restored_event(done))
        self.budgets.say_restored(done)

    def _tell(self, domain: str) -> None:
        self._telling.discard(domain)
        for key in self.budgets.named(domain):
            self._look(key)
