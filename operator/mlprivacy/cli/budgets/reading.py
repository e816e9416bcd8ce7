"""Reads budgets, the jobs that use them and the ends of their ledgers from a cluster, with the caller's rights."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlprivacy.budget.ledger.entry import domain_hash, entry_name
from mlprivacy.cli.budgets.model import Budget, JobUse, named
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.resources import LEDGERENTRIES, NAMESPACES, PRIVACYBUDGETS, TRAININGJOBS

_AT_ONCE: Final = 8  # ledgers looked at together


@dataclass(frozen=True)
class Chain:
    """What is there of a domain's ledger: the oldest and the newest entry, by their sequence. Both 0: none."""

    first: int
    head: int

    @property
    def entries(self) -> int:
        """How many there are; those before ``first`` were exported and pruned."""
        return self.head - self.first + 1 if self.head else 0


@dataclass(frozen=True)
class Seen:
    """What could be read. ``unread`` says what could not, one sentence each; ``chains`` lacks what may not be read."""

    budgets: tuple[Budget, ...]
    jobs: tuple[JobUse, ...] = ()
    chains: Mapping[str, Chain] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    where: str | None = None  # the namespace of the jobs; None: all of them


async def look(client: KubeClient, wanted: str | None, namespace: str | None, *, every_namespace: bool) -> Seen:
    """The budgets (one, by its name or its subject domain, or all), their ledgers and the jobs that use them.

    Raises:
        CliError: when there is no budget of that name or domain, or the definitions are not installed.
        ApiError: when the cluster does not answer.
    """
    where = None if every_namespace else namespace or client.namespace or "default"
    unread: list[str] = []
    budgets: tuple[Budget, ...] = ()
    try:
        budgets = await all_budgets(client)
    except Forbidden:
        unread.append(
            "you may not list privacybudgets.mlprivacy.dev, which are in no namespace; ask for one of the mlprivacy-* "
            "roles by a ClusterRoleBinding"
        )
    if wanted is not None and not unread:
        budgets = tuple(chosen(budgets, wanted))
    try:
        jobs = tuple(JobUse.of(raw, "TrainingJob") for raw in await client.list(TRAININGJOBS, where))
    except Forbidden:
        jobs = ()
        unread.append(f"you may not list {TRAININGJOBS}{f' in the namespace {where}' if where else ''}")
    domains = {budget.domain for budget in budgets}
    using = [job for job in jobs if any(wanted is None or use.domain in domains for use in job.uses)]
    if wanted is not None and unread:
        using = [job for job in jobs if any(wanted in (use.domain, use.budget) for use in job.uses)]
    return Seen(
        budgets, tuple(sorted(using, key=lambda job: job.ref)), await chains(client, budgets), tuple(unread), where
    )


async def all_budgets(client: KubeClient) -> tuple[Budget, ...]:
    """Every PrivacyBudget, by name.

    Raises:
        CliError: when the cluster does not know the kind.
        ApiError: when it does not answer, or refuses.
    """
    try:
        found = await client.list(PRIVACYBUDGETS)
    except NotFound as error:
        raise CliError(f"The cluster has no {PRIVACYBUDGETS}; is the chart installed?") from error
    return tuple(sorted((Budget.of(raw) for raw in found), key=lambda one: one.name))


def chosen(budgets: Sequence[Budget], wanted: str) -> list[Budget]:
    """The budget of this name, or those of this subject domain.

    Raises:
        CliError: when there is none, with those that there are.
    """
    found = named(budgets, wanted)
    if not found:
        raise CliError(f"There is no PrivacyBudget and no subject domain {wanted}. {there_are(budgets)}")
    return found


def there_are(budgets: Sequence[Budget]) -> str:
    """Which budgets there are, in a sentence."""
    known = ", ".join(one.name if one.name == one.domain else f"{one.name} ({one.domain})" for one in budgets[:10])
    return f"There are: {known}." if known else "There is none at all."


async def one_budget(client: KubeClient, name: str) -> Budget:
    """The budget of this name, or the only one of this subject domain.

    Raises:
        CliError: when there is none, or several have the domain.
        ApiError: when the cluster does not answer, or refuses.
    """
    found = chosen(await all_budgets(client), name)
    if len(found) > 1:
        raise CliError(
            f"Several PrivacyBudgets have the subject domain {name}: {', '.join(one.name for one in found)}. Name one."
        )
    return found[0]


async def asking_namespace(client: KubeClient, given: str | None, budget: Budget) -> str:
    """The namespace whose quota counts: the one that is given, else that of the kubeconfig's context.

    Raises:
        CliError: when there is none of that name and it matters.
        ApiError: when the cluster does not answer.
    """
    where = given or client.namespace or "default"
    if given is None and not budget.quotas:
        return where
    try:
        await client.get(NAMESPACES, where)
    except Forbidden:
        pass  # most may not look; the quotas speak for themselves
    except NotFound as error:
        whose = "" if given else ", which the kubeconfig's context names"
        quotas = ", ".join(sorted(budget.quotas))
        remedy = f"{budget.name} has quotas for {quotas}" if quotas else f"{budget.name} has no quotas: leave it out"
        raise CliError(f"There is no namespace {where}{whose}. Name one with --namespace; {remedy}.") from error
    return where


async def chains(client: KubeClient, budgets: Sequence[Budget]) -> dict[str, Chain]:
    """The ends of the ledgers of these budgets; nothing for those that may not be read."""
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(domain: str, hint: int) -> tuple[str, Chain | None]:
        async with some:
            try:
                return domain, await chain_of(client, domain, hint)
            except (Forbidden, NotFound):
                return domain, None

    heads = {budget.domain: budget.head for budget in budgets}
    found = await asyncio.gather(*(one(domain, hint) for domain, hint in heads.items()))
    return {domain: chain for domain, chain in found if chain is not None}


async def chain_of(client: KubeClient, domain: str, hint: int = 0) -> Chain:
    """The oldest and the newest entry of a ledger.

    Entries have their sequence for a name and follow each other without a gap, so a few look-ups find both ends of
    100,000 entries. ``hint`` is an entry that is probably there, such as the one that a status names.

    Raises:
        ApiError: when entries may not be read.
    """

    async def there(sequence: int) -> bool:
        try:
            await client.get(LEDGERENTRIES, entry_name(domain, sequence))
        except NotFound as error:
            if error.of_resource:
                raise
            return False
        return True

    start = hint if hint and await there(hint) else 0
    if not start:
        start = 1 if await there(1) else 0
    if not start:
        names = await sequences(client, domain)  # its beginning was pruned, or there is nothing
        return Chain(names[0], names[-1]) if names else Chain(0, 0)
    low, step = start, 1
    while await there(low + step):
        low, step = low + step, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await there(middle) else (low, middle)
    head, first = low, start
    if first > 1 and await there(1):
        first = 1
    missing = 1
    while first - missing > 1:
        middle = (missing + first) // 2
        missing, first = (missing, middle) if await there(middle) else (middle, first)
    return Chain(first, head)


async def sequences(client: KubeClient, domain: str) -> list[int]:
    """The sequences of all entries of a domain that are there, ascending; names alone are read."""
    only = f"spec.domain={domain_hash(domain)}"
    found: list[int] = []
    async for page in client.list_pages(LEDGERENTRIES, field_selector=only, metadata_only=True, chunk_size=5_000):
        for item in page.items:
            text = str(item["metadata"]["name"]).rpartition("-")[2]
            if text.isdecimal():
                found.append(int(text))
    return sorted(found)
