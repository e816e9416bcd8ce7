"""The facts of decisions from the cluster: informers, specs parsed once, and one read where a cache may lag behind."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, cast

from mlprivacy.api.base import KindInfo, Parsed, parse_spec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import (
    LABEL_PACK,
    LABEL_TRAINING_ATTESTATIONS,
)
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.admissible import Held
from mlprivacy.budget.ledger.registrations import reduced
from mlprivacy.kube import metrics
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.custom import expression_errors, expression_trial, with_outcomes
from mlprivacy.kube.fabric import FabricStore
from mlprivacy.kube.factstore_budgets import BudgetCopies
from mlprivacy.kube.factstore_changes import REGISTRATIONS, concerned, matters
from mlprivacy.kube.factstore_index import INDEXERS, place_of
from mlprivacy.kube.factstore_reads import ReadBudget, Reader
from mlprivacy.kube.factstore_view import Absent, Key, View
from mlprivacy.kube.informer import Informer, compact, identity_and_labels
from mlprivacy.kube.losses import Asker, LossCounter, asker_of, with_losses
from mlprivacy.kube.resources import (
    CONFIGMAPS,
    CONSENTSCOPES,
    DATACLASSES,
    DATASETGRANTS,
    DATASETS,
    LEDGERENTRIES,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    POLICYEXCEPTIONS,
    PRIVACYBUDGETS,
    PRIVACYPOLICIES,
)
from mlprivacy.kube.settling import Recent
from mlprivacy.policy.charge import Registered
from mlprivacy.policy.custom import CustomRules
from mlprivacy.policy.facts import IN_FORCE, Capability, Facts
from mlprivacy.policy.gather import asks_further, references, select_facts
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.modes import ceiling_of
from mlprivacy.policy.pack_check import shelf_of
from mlprivacy.policy.packs import Shelf, built_in_shelf
from mlprivacy.policy.people import attestations_of

logger = logging.getLogger(__name__)

OnChange = Callable[[Dependency, Object | None, Object | None], None]
"""Called with what changed, the object before (None: new) and after (None: deleted)."""

SOURCES: Final = (
    NAMESPACES,
    DATACLASSES,
    DATASETS,
    DATASETGRANTS,
    CONSENTSCOPES,
    PRIVACYPOLICIES,
    POLICYEXCEPTIONS,
    PRIVACYBUDGETS,
    LEDGERENTRIES,
)
_TRANSFORMS: Final = {NAMESPACES: identity_and_labels, LEDGERENTRIES: reduced}
PACKS: Final = "Pack"  # what decisions call the ConfigMaps of the operator's namespace that hold packs of users
ATTESTATIONS: Final = "TrainingAttestations"  # what decisions call the labelled ConfigMaps of the operator's namespace
_ROUNDS: Final = 3  # namespaces and grants, then datasets, then their classes and scopes
PARSED_MAX: Final = 4096  # specs kept parsed; a spec beyond that is parsed again when it is needed


class FactStore:
    """Everything that decisions rest on, kept up to date; `gather` hands out what one job refers to.

    Use as `start()` … `stop()`, or `await run()` until cancelled. One event loop; not thread-safe.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        operator_namespace: str | None = None,
        audit_retention_days: int | None = None,
        custom: CustomRules | None = None,
        reads_per_second: float = 20.0,
        read_seconds: float = 2.0,
        **informer_options: Any,
    ) -> None:
        """`reads_per_second` bounds reads on cache misses, of which a namespace has a share; beyond, a miss stays a
        miss. The reads for one job
        take `read_seconds` at most together, which is well within the time-out of a webhook.

        Packs of users and the register of people's training are read in `operator_namespace`, and are not known
        without it.
        `audit_retention_days` is what the installation promises of its audit log; None is not known.
        `custom` evaluates custom rules; without it they have no outcome, which holds the jobs under them.

        `informer_options` go to every Informer (`relist_seconds`, `inactivity_seconds`, `backoff`, …).
        """
        self._client = client
        self._custom = custom
        self._losses = LossCounter()
        self._read_seconds = read_seconds
        self._reader = Reader(client, ReadBudget(reads_per_second))
        self.informers: Mapping[str, Informer] = {
            resource.kind: Informer(
                client,
                resource,
                metadata_only=resource is NAMESPACES,
                transform=_TRANSFORMS.get(resource, compact),
                indexers=INDEXERS.get(resource.kind),
                **informer_options,
            )
            for resource in SOURCES
        }
        """By kind. Share these rather than making others of the same resource."""
        if operator_namespace is not None:
            self.informers = {
                **self.informers,
                ATTESTATIONS: Informer(
                    client,
                    CONFIGMAPS,
                    namespace=operator_namespace,
                    label_selector=f"{LABEL_TRAINING_ATTESTATIONS}=true",
                    transform=compact,
                    name="training-attestations",
                    **informer_options,
                ),
                PACKS: Informer(
                    client,
                    CONFIGMAPS,
                    namespace=operator_namespace,
                    label_selector=f"{LABEL_PACK}=true",
                    transform=compact,
                    name="packs",
                    **informer_options,
                ),
            }
        self.audit_retention_days = audit_retention_days
        self._shelf: Shelf | None = None
        self._attestations: tuple[dict[str, str] | None] | None = None
        self._parsed: dict[Key, Any] = {}
        self._grants: dict[str, tuple[Parsed[Any], ...]] = {}
        self._policies: tuple[Parsed[Any], ...] | None = None
        self._budgets: tuple[Parsed[Any], ...] | None = None
        self._accounted = BudgetCopies()
        self._callbacks: list[OnChange] = []
        self._recent = Recent()
        self.version = 0
        """Grows with every change that a decision could rest on; equal versions mean equal facts, but for claims."""
        for kind, informer in self.informers.items():
            informer.on_change(self._follow_ledgers if kind == LEDGERENTRIES.kind else self._follow(kind))
        self._fabric = FabricStore(client, self._fabric_changed, **informer_options)

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """List and watch in the background."""
        for informer in self.informers.values():
            informer.start()

    async def stop(self) -> None:
        """End the watches; the copies keep answering."""
        self._losses.close()
        await asyncio.gather(self._fabric.stop(), *(informer.stop() for informer in self.informers.values()))

    async def run(self) -> None:
        """Keep the facts up to date until cancelled."""
        self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    @property
    def synced(self) -> bool:
        """True once every resource was read completely, and while all are served."""
        return all(informer.synced for informer in self.informers.values())

    async def wait_synced(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the caller's deadline
        """Wait until synced; False when `timeout` seconds passed first."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(informer.wait_synced() for informer in self.informers.values()))
        except TimeoutError:
            return False
        return True

    def staleness_seconds(self) -> float:
        """Seconds since the API server last spoke on the copy that has been silent for longest."""
        return max(informer.staleness_seconds for informer in self.informers.values())

    def problems(self) -> list[str]:
        """Why some copy is not complete or not fresh, one sentence each; empty when all is well."""
        return [
            informer.problem or f"the {informer.resource} have not been read yet"
            for informer in self.informers.values()
            if informer.problem or not informer.synced
        ]

    def on_change(self, callback: OnChange) -> None:
        """Call `callback(dependency, old, new)` after each change of an object; it must not block.

        Objects that are already here are not told. `touched_by` gives the dependencies a change concerns.
        """
        self._callbacks.append(callback)

    # -- facts -----------------------------------------------------------------------------------------------------

    async def gather(
        self,
        raw: Mapping[str, Any],
        now: datetime,
        *,
        capabilities: frozenset[Capability] = IN_FORCE,
        read_misses: bool = True,
        deadline: float | None = None,
    ) -> Facts:
        """The facts that the decision about this raw job rests on. Never raises on the content of `raw`.

        What the copies do not hold is read once from the API server (within the budget of reads), since a dataset
        made a moment ago may not have arrived yet. What can not be read stays unknown, which holds a job. Without
        `read_misses` only claims are read, and ApiError is raised where one can not be: a job that runs is not stopped
        for it; a loss that is not counted within a moment is left out, and the job is told of later (`on_counted`).
        Nothing is waited for after `deadline` (loop time): what is not known by then stays unknown.
        """
        until = self._until(deadline)
        asker = references(raw).namespace
        if asks_further(raw):
            await self._fabric.wanted(until if read_misses else None)
        view = View(self, asker)
        facts = select_facts(raw, view, now, capabilities=capabilities)
        for _ in range(_ROUNDS):
            # Of claims there is no copy, so whoever waits for its copies reads them all the same.
            wanted = [k for k in view.misses if read_misses or k[0] == PERSISTENTVOLUMECLAIMS.kind]
            if not wanted:
                break
            read = (self._reader.read(k, until, asker) if read_misses else self._reader.claim(k) for k in wanted)
            view.learn(dict(zip(wanted, await asyncio.gather(*read), strict=True)))
            facts = select_facts(raw, view, now, capabilities=capabilities)
        counted, judged = await asyncio.gather(
            with_losses(raw, facts, self._losses, deadline, asker=None if read_misses else asker_of(raw)),
            with_outcomes(raw, facts, self._custom, deadline),
        )
        return replace(judged, losses=counted.losses)

    def on_counted(self, callback: Callable[[Asker], None]) -> None:
        """Call `callback(job)` when a loss is counted that was missing when this job's facts were gathered."""
        self._losses.on_counted(callback)

    def forget(self, asker: Asker) -> None:
        """The job is gone: nothing is counted for it any more."""
        self._losses.asked(asker, frozenset())

    async def settle(self, rests_on: Collection[Dependency]) -> bool:
        """Wait, shortly, while what a decision rests on is changing; True when it changed lately (`kube.settling`)."""
        return await self._recent.settle(rests_on)

    async def expression_errors(self, texts: Sequence[str]) -> Mapping[str, str]:
        """Of these expressions of custom rules those that can not be compiled, with why and where."""
        return await expression_errors(texts, self._custom)

    async def expression_trial(self, texts: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Of these expressions those that give no answer on a sample job that has every field, by its kind."""
        return await expression_trial(texts, self._custom)

    def governed(self) -> dict[str, Mapping[str, str]]:
        """The governed namespaces with their labels, from the copy."""
        found = {name: self.labels(name) or {} for _, name in self.informers["Namespace"].keys(None)}
        return {name: labels for name, labels in found.items() if ceiling_of(labels) is not None}

    def _until(self, deadline: float | None) -> float:
        until = asyncio.get_running_loop().time() + self._read_seconds
        return until if deadline is None else min(until, deadline)

    async def known(self, keys: Iterable[Key], *, asker: str = "") -> set[Key]:
        """Those of these objects (DataClass, Dataset, ConsentScope) that exist; a miss is read as `gather` does.

        `asker` is the namespace whose reads it takes.
        """
        deadline = self._until(None)
        found: set[Key] = set()
        for key in keys:
            if self.parsed(*key) is not None or await self._reader.read(key, deadline, asker) is not Absent:
                found.add(key)
        return found

    # -- what the view reads ---------------------------------------------------------------------------------------

    def labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace from the copy."""
        key: Key = ("Namespace", "", name)
        known = self._parsed.get(key)
        if known is None:
            raw = self.informers["Namespace"].get(None, name)
            if raw is None:
                return None
            known = raw["metadata"].get("labels") or {}
            self._keep(key, known)
        return cast("Mapping[str, str]", known)

    def parsed(self, kind: str, namespace: str, name: str) -> Parsed[Any] | None:
        """An object of ours from the copy, parsed once per version."""
        key = (kind, namespace, name)
        known = self._parsed.get(key)
        if known is None:
            raw = self.informers[kind].get(namespace, name)
            if raw is None:
                return None
            known = parse_spec(_info(kind), raw)
            self._keep(key, known)
        return cast("Parsed[Any]", known)

    def grants(self, namespace: str) -> tuple[Parsed[Any], ...]:
        """All DatasetGrants of a namespace, by name."""
        known = self._grants.get(namespace)
        if known is None:
            names = sorted(name for _, name in self.informers["DatasetGrant"].keys(namespace))
            known = tuple(g for name in names if (g := self.parsed("DatasetGrant", namespace, name)) is not None)
            if len(self._grants) >= PARSED_MAX:
                self._grants.clear()
            self._grants[namespace] = known
        return known

    def grants_to(self, namespace: str) -> list[Parsed[Any]]:
        """The DatasetGrants, in any namespace, that name this one."""
        places = self.informers["DatasetGrant"].by_index("from", namespace)
        return [g for place in places if (g := self.parsed("DatasetGrant", *place)) is not None]

    def dataset_names(self, namespace: str) -> list[str]:
        """Names of the Datasets of a namespace."""
        return [name for _, name in self.informers["Dataset"].keys(namespace)]

    def policies(self) -> tuple[Parsed[Any], ...]:
        """All PrivacyPolicies, by name."""
        if self._policies is None:
            names = sorted(name for _, name in self.informers["PrivacyPolicy"].keys(""))
            self._policies = tuple(p for name in names if (p := self.parsed("PrivacyPolicy", "", name)) is not None)
        return self._policies

    def budgets(self) -> tuple[Parsed[PrivacyBudgetSpec], ...]:
        """All PrivacyBudgets, by name; the same object until the spec of one changes."""
        if self._budgets is None:
            names = sorted(name for _, name in self.informers["PrivacyBudget"].keys(""))
            self._budgets = tuple(b for name in names if (b := self.parsed("PrivacyBudget", "", name)) is not None)
        return self._budgets

    def registrations(self) -> tuple[Registered, ...]:
        """The datasets that the ledgers hold, also of budgets that are gone; the same object until they change."""
        return self._accounted.registered

    def held(self) -> Held:
        """What a new PrivacyBudget or Dataset has to go together with."""
        return self._accounted.held(self.budgets())

    def exceptions(self, kind: str, namespace: str, name: str) -> list[Parsed[Any]]:
        """The PolicyExceptions that name this very job, by name."""
        places = self.informers["PolicyException"].by_index("workload", place_of(kind, namespace, name))
        return [e for _, one in places if (e := self.parsed("PolicyException", "", one)) is not None]

    def packs(self) -> Shelf:
        """The packs there are, the same object until they change; those of users where their namespace is known."""
        if self._shelf is None:
            informer = self.informers.get(PACKS)
            self._shelf = built_in_shelf() if informer is None else shelf_of(informer.list())
            metrics.BAD_PACKS.set(len(self._shelf.bad))
        return self._shelf

    def attestations(self) -> Mapping[str, str] | None:
        """The entries of every register of people's training; None when there is none, or where it is not read."""
        if ATTESTATIONS not in self.informers:
            return None
        if self._attestations is None:
            informer = self.informers[ATTESTATIONS]
            registers = (informer.get(namespace, name) for namespace, name in sorted(informer.keys(None)))
            self._attestations = (attestations_of(raw for raw in registers if raw is not None),)
        return self._attestations[0]

    def fabric(self, kind: str) -> list[Object] | None:
        """All objects of one kind that decides over RDMA devices and further networks; None: not known."""
        return self._fabric.source(kind)

    def _fabric_changed(self, changed: Dependency, old: Object | None, new: Object | None) -> None:
        self.version += 1
        self._told(changed, old, new)

    def _keep(self, key: Key, value: Any) -> None:
        if len(self._parsed) >= PARSED_MAX:
            del self._parsed[next(iter(self._parsed))]
        self._parsed[key] = value

    def _follow(self, kind: str) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            metadata = (new or old or {})["metadata"]
            namespace, name = metadata.get("namespace") or "", metadata["name"]
            if kind == PRIVACYBUDGETS.kind and not matters(old, new):
                self._told(Dependency(kind, namespace, name), old, new)  # its status is written with every job
                return
            self._parsed.pop((kind, namespace, name), None)
            self._reader.changed(kind, namespace, name)
            if kind == "DatasetGrant":
                self._grants.pop(namespace, None)
            elif kind == "PrivacyPolicy":
                self._policies = None
            elif kind == PRIVACYBUDGETS.kind:
                self._budgets = None
            elif kind == DATASETS.kind:
                self._accounted.dataset(old, new)
            elif kind == PACKS:
                self._shelf = None
                namespace = ""  # policies name packs, wherever the operator lives
            elif kind == ATTESTATIONS:
                self._attestations = None
                namespace = ""  # decisions rest on all of them, wherever the operator lives
            if matters(old, new):
                self.version += 1
                self._recent.note(concerned(Dependency(kind, namespace, name), old, new))
            self._told(Dependency(kind, namespace, name), old, new)

        return changed

    def _follow_ledgers(self, old: Object | None, new: Object | None) -> None:
        """An entry concerns nobody unless it registers a dataset that was not known."""
        if self._accounted.entry(old, new):
            self.version += 1
            self._recent.note([Dependency(PRIVACYBUDGETS.kind, "", "*")])
            self._told(Dependency(REGISTRATIONS, "", "*"), old, new)

    def _told(self, dependency: Dependency, old: Object | None, new: Object | None) -> None:
        for callback in self._callbacks:
            try:
                callback(dependency, old, new)
            except Exception:
                logger.exception("a handler of changes failed on %s %s/%s", *dependency)


def _info(kind: str) -> KindInfo[Any]:
    info = kind_named(kind)
    if info is None:
        raise KeyError(f"{kind} is no kind of this product")
    return info
