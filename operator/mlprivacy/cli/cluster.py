"""Reads from the cluster what a decision rests on, for one look; and runs one coroutine against it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mlprivacy.api.base import parse_spec
from mlprivacy.api.names import LABEL_PACK, LABEL_TRAINING_ATTESTATIONS
from mlprivacy.api.privacy_policy import KIND as PRIVACY_POLICY
from mlprivacy.cli.access import Access
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.credentials import ConfigurationError
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound, Unauthorized, Unreachable
from mlprivacy.kube.fabric import RESOURCES as FABRIC
from mlprivacy.kube.facts import ATTESTATIONS
from mlprivacy.kube.resources import (
    CONFIGMAPS,
    CONSENTSCOPES,
    DATACLASSES,
    DATASETGRANTS,
    DATASETS,
    INFERENCEJOBS,
    NAMESPACES,
    OURS,
    PERSISTENTVOLUMECLAIMS,
    POLICYEXCEPTIONS,
    PRIVACYBUDGETS,
    PRIVACYPOLICIES,
    TRAININGJOBS,
    Resource,
)
from mlprivacy.policy.fabric.objects import SHARED_CONFIG
from mlprivacy.policy.gather import asks_further, references
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.pack_check import shelf_of
from mlprivacy.policy.packs import Shelf, built_in_packs

if TYPE_CHECKING:
    from mlprivacy.cli.policydiff import Live

T = TypeVar("T")
OPERATOR_NAMESPACE = "mlprivacy-system"
INSTALLATION = "mlprivacy-installation"  # the ConfigMap in which the chart writes down what the installation promises
_SOURCES = (
    DATACLASSES,
    DATASETS,
    DATASETGRANTS,
    CONSENTSCOPES,
    PRIVACYPOLICIES,
    POLICYEXCEPTIONS,
    PRIVACYBUDGETS,
    NAMESPACES,
)


def run(access: Access, work: Callable[[KubeClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client.

    Raises:
        CliError: when there is no cluster, it does not answer, or it refuses; each with what to do.
    """

    async def connected() -> T:
        connecting = KubeClient.connect(
            access.kubeconfig, context=access.context, user=access.user, groups=access.groups, request_seconds=10.0
        )
        async with await connecting as client:
            return await work(client)

    # What the client would log (warnings of the API server, retries) is either in our own words below or no matter.
    logging.getLogger("mlprivacy.kube").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(connected())
    except ConfigurationError as error:
        raise CliError(_sentence(str(error))) from error
    except Unreachable as error:
        raise CliError(f"The API server does not answer: {error.message}. Is the kubeconfig the right one?") from error
    except Unauthorized as error:
        raise CliError(
            "The API server does not know who you are; log in again, or give another --kubeconfig."
        ) from error
    except Forbidden as error:
        raise CliError(
            f"You may not do this: {error.message.rstrip('.')}. Ask for one of the mlprivacy-* roles."
        ) from error
    except ApiError as error:
        raise CliError(_sentence(f"the API server answered: {error}")) from error


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


@dataclass(frozen=True)
class Known:
    """What could be read. ``unread`` says what could not and why, one sentence each."""

    lookup: ObjectLookup
    unread: tuple[str, ...]
    unread_of: Mapping[str, str] = field(default_factory=dict)  # matters only to decisions that rest on this kind


@dataclass
class _Reading:
    """What has been read so far, and what could not be."""

    client: KubeClient
    namespace: str  # the operator's
    objects: list[Object] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    unread_of: dict[str, str] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    promised: int | None = None

    async def sources(self) -> None:
        """Everything of ours that a decision may rest on, the packs of users and registers included."""
        for resource in _SOURCES:
            await self.all_of(resource)
        await self._labelled()
        await self._promised()

    async def all_of(self, resource: Resource) -> None:
        """Every object of a kind of ours."""
        try:
            self.objects += await self.client.list(resource)
        except Forbidden:
            self.unread.append(f"you may not list {resource}")
        except NotFound:
            self.unread.append(f"the cluster has no {resource}; is the chart installed?")

    async def fabric(self) -> None:
        """Devices and further networks, of which a cluster may know none."""
        for resource in FABRIC:
            try:
                only = f"metadata.name={SHARED_CONFIG}" if resource is CONFIGMAPS else None
                self.objects += await self.client.list(resource, field_selector=only)
                self.complete.add(resource.kind)
            except NotFound:
                self.complete.add(resource.kind)  # a cluster without the definition has no such object
            except Forbidden:
                self.unread.append(f"you may not list {resource}")

    async def _labelled(self) -> None:
        """The packs of users and the registers of people's training, which lie in the operator's namespace."""
        for label in (LABEL_PACK, LABEL_TRAINING_ATTESTATIONS):
            try:
                self.objects += await self.client.list(CONFIGMAPS, self.namespace, label_selector=f"{label}=true")
            except Forbidden:
                where = f"you may not list the ConfigMaps of the namespace {self.namespace}, where"
                if named := _packs_of_users(self.objects):
                    self.unread.append(f"{where} {named} would lie")
                self.unread_of[ATTESTATIONS] = f"{where} people's training is attested"
                return

    async def _promised(self) -> None:
        """For how many days the installation promises to keep its audit log, as the chart writes it down."""
        try:
            found = await self.client.get(CONFIGMAPS, INSTALLATION, self.namespace)
        except NotFound:
            return  # an installation of an older release, or one in another namespace
        except Forbidden:
            self.unread.append(f"you may not read the ConfigMap {INSTALLATION} of the namespace {self.namespace}")
            return
        written = str((found.get("data") or {}).get("auditRetentionDays", ""))
        self.promised = int(written) if written.isascii() and written.isdigit() else None


def _packs_of_users(objects: list[Object]) -> str:
    """The packs that policies name and that do not ship."""
    policies = [parse_spec(PRIVACY_POLICY, raw).spec for raw in objects if raw.get("kind") == "PrivacyPolicy"]
    named = {ref.name for spec in policies if spec is not None for ref in spec.packs}
    return ", ".join(f"the pack {name}" for name in sorted(named - built_in_packs().keys()))


async def gather(client: KubeClient, job: Mapping[str, Any], operator_namespace: str = OPERATOR_NAMESPACE) -> Known:
    """Everything that a decision about ``job`` may rest on, as far as the caller may read it."""
    reading = _Reading(client, operator_namespace)
    await reading.sources()
    asked = references(job)
    for name in asked.claims:
        try:
            reading.objects.append(await client.get(PERSISTENTVOLUMECLAIMS, name, asked.namespace))
        except NotFound:
            continue
        except Forbidden:
            reading.unread.append(f"you may not read the claim {name}")
    if asks_further(job):
        await reading.fabric()
    lookup = ObjectLookup(
        reading.objects,
        complete=reading.complete,
        operator_namespace=operator_namespace,
        audit_retention_days=reading.promised,
    )
    return Known(lookup, tuple(reading.unread), reading.unread_of)


def resource_named(word: str) -> Resource | None:
    """The resource of ours that people call ``word``: its kind, plural, singular, short or full name."""
    from mlprivacy.api.kinds import kind_named  # noqa: PLC0415

    for resource in OURS:
        info = kind_named(resource.kind)
        names = {resource.kind.lower(), resource.plural, str(resource), *(info.short_names if info else ())}
        if word.lower() in names:
            return resource
    return None


async def everything(
    client: KubeClient, operator_namespace: str = OPERATOR_NAMESPACE, *, of: str | None = None
) -> Live:
    """All jobs and everything that decisions on them may rest on, as far as the caller may read it.

    With ``of`` only the jobs of that namespace.
    """
    from mlprivacy.cli.policydiff import Live  # noqa: PLC0415 - it needs the evaluator of custom rules

    reading = _Reading(client, operator_namespace)
    await reading.sources()
    jobs: list[Object] = []
    for resource in (TRAININGJOBS, INFERENCEJOBS):
        try:
            jobs += await client.list(resource, of)
        except Forbidden:
            if of is not None:
                raise
            reading.unread.append(f"you may not list {resource}")
        except NotFound:
            reading.unread.append(f"the cluster has no {resource}; is the chart installed?")
    if any(references(job).claims for job in jobs):
        try:
            reading.objects += await client.list(PERSISTENTVOLUMECLAIMS)
        except Forbidden:
            reading.unread_of["PersistentVolumeClaim"] = f"you may not list {PERSISTENTVOLUMECLAIMS}"
    if any(asks_further(job) for job in jobs):
        await reading.fabric()
    return Live(
        (*reading.objects, *jobs),
        tuple(reading.unread),
        reading.unread_of,
        frozenset(reading.complete),
        reading.promised,
    )


async def everything_named(
    client: KubeClient, operator_namespace: str = OPERATOR_NAMESPACE
) -> tuple[Mapping[str, Mapping[str, str]] | None, Shelf | None, tuple[str, ...]]:
    """The labels of every namespace and the packs there are; None for what may not be read, and a sentence on it."""
    unread: list[str] = []
    labels: dict[str, Mapping[str, str]] | None = None
    shelf: Shelf | None = None
    try:
        found = await client.list(NAMESPACES)
        labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in found}
    except Forbidden:
        unread.append("you may not list namespaces, so it is not known which it selects")
    try:
        shelf = shelf_of(await client.list(CONFIGMAPS, operator_namespace, label_selector=f"{LABEL_PACK}=true"))
    except Forbidden:
        unread.append(f"you may not list the ConfigMaps of the namespace {operator_namespace}, where packs lie")
    return labels, shelf, tuple(unread)
