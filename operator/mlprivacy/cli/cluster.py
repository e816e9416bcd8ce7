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
    PRIVACYPOLICIES,
    TRAININGJOBS,
    Resource,
)
from mlprivacy.policy.fabric.objects import SHARED_CONFIG
from mlprivacy.policy.gather import asks_further, references
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.packs import built_in_packs

if TYPE_CHECKING:
    from mlprivacy.cli.policydiff import Live

T = TypeVar("T")
OPERATOR_NAMESPACE = "mlprivacy-system"
INSTALLATION = "mlprivacy-installation"  # the ConfigMap in which the chart writes down what the installation promises
_SOURCES = (NAMESPACES, DATACLASSES, DATASETS, DATASETGRANTS, CONSENTSCOPES, PRIVACYPOLICIES, POLICYEXCEPTIONS)


def run(way: Access | str | None, work: Callable[[KubeClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client; ``way`` is how to get to the cluster, or the path of a kubeconfig.

    Raises:
        CliError: when there is no cluster, it does not answer, or it refuses; each with what to do.
    """

    access = way if isinstance(way, Access) else Access(way)

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
        raise CliError(f"You may not do this: {error.message}. Ask for one of the mlprivacy-* roles.") from error
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


async def _packs(client: KubeClient, namespace: str, objects: list[Object], unread: list[str]) -> bool:
    """The packs of users and the registers of people's training, which lie in the operator's namespace; False when
    these may not be read.
    """
    for label in (LABEL_PACK, LABEL_TRAINING_ATTESTATIONS):
        try:
            objects += await client.list(CONFIGMAPS, namespace, label_selector=f"{label}=true")
        except Forbidden:
            if label == LABEL_PACK and (named := _packs_of_users(objects)):
                unread.append(f"you may not list the ConfigMaps of the namespace {namespace}, where {named} would lie")
            return False
    return True


async def _promised(client: KubeClient, namespace: str, unread: list[str]) -> int | None:
    """For how many days the installation promises to keep its audit log, as the chart writes it down."""
    try:
        found = await client.get(CONFIGMAPS, INSTALLATION, namespace)
    except NotFound:
        return None  # an installation of an older release, or one in another namespace
    except Forbidden:
        unread.append(f"you may not read the ConfigMap {INSTALLATION} of the namespace {namespace}")
        return None
    written = str((found.get("data") or {}).get("auditRetentionDays", ""))
    return int(written) if written.isascii() and written.isdigit() else None


def _packs_of_users(objects: list[Object]) -> str:
    """The packs that policies name and that do not ship."""
    policies = [parse_spec(PRIVACY_POLICY, raw).spec for raw in objects if raw.get("kind") == "PrivacyPolicy"]
    named = {ref.name for spec in policies if spec is not None for ref in spec.packs}
    return ", ".join(f"the pack {name}" for name in sorted(named - built_in_packs().keys()))


async def gather(client: KubeClient, job: Mapping[str, Any], operator_namespace: str = OPERATOR_NAMESPACE) -> Known:
    """Everything that a decision about ``job`` may rest on, as far as the caller may read it."""
    objects: list[Object] = []
    unread: list[str] = []
    for resource in _SOURCES:
        try:
            objects += await client.list(resource)
        except Forbidden:
            unread.append(f"you may not list {resource}")
        except NotFound:
            unread.append(f"the cluster has no {resource}; is the chart installed?")
    registers_read = await _packs(client, operator_namespace, objects, unread)
    promised = await _promised(client, operator_namespace, unread)
    asked = references(job)
    for name in asked.claims:
        try:
            objects.append(await client.get(PERSISTENTVOLUMECLAIMS, name, asked.namespace))
        except NotFound:
            continue
        except Forbidden:
            unread.append(f"you may not read the claim {name}")
    complete: set[str] = set()
    for resource in FABRIC if asks_further(job) else ():
        try:
            only = f"metadata.name={SHARED_CONFIG}" if resource is CONFIGMAPS else None
            objects += await client.list(resource, field_selector=only)
            complete.add(resource.kind)
        except NotFound:
            complete.add(resource.kind)  # a cluster without the definition has no such object
        except Forbidden:
            unread.append(f"you may not list {resource}")
    lookup = ObjectLookup(
        objects, complete=complete, operator_namespace=operator_namespace, audit_retention_days=promised
    )
    there = f"the ConfigMaps of the namespace {operator_namespace}, where people's training is attested"
    return Known(lookup, tuple(unread), {} if registers_read else {ATTESTATIONS: f"you may not list {there}"})


def resource_named(word: str) -> Resource | None:
    """The resource of ours that people call ``word``: its kind, plural, singular, short or full name."""
    from mlprivacy.api.kinds import kind_named  # noqa: PLC0415

    for resource in OURS:
        info = kind_named(resource.kind)
        names = {resource.kind.lower(), resource.plural, str(resource), *(info.short_names if info else ())}
        if word.lower() in names:
            return resource
    return None


async def everything(client: KubeClient, operator_namespace: str = OPERATOR_NAMESPACE) -> Live:
    """All jobs of the cluster and everything that decisions on them may rest on, as far as the caller may read it."""
    from mlprivacy.cli.policydiff import Live  # noqa: PLC0415 - it needs the evaluator of custom rules

    objects: list[Object] = []
    unread: list[str] = []
    for resource in (*_SOURCES, TRAININGJOBS, INFERENCEJOBS, PERSISTENTVOLUMECLAIMS, *FABRIC):
        try:
            objects += await client.list(resource)
        except Forbidden:
            unread.append(f"you may not list {resource}")
        except NotFound:
            if resource in OURS:
                unread.append(f"the cluster has no {resource}; is the chart installed?")
    await _packs(client, operator_namespace, objects, unread)
    return Live(tuple(objects), tuple(unread))
