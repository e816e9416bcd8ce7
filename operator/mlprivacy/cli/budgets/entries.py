"""The entries of a ledger from the cluster, one after the other in their order, read a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from mlprivacy.budget.ledger.entry import Entry, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.budgets.reading import chain_of
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.resources import LEDGERENTRIES

_AT_ONCE: Final = 16  # requests under way
_SAY_EVERY: Final = 1_000  # entries

Say = Callable[[int, int], None]
"""Told how many entries are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry as the API server holds it; ``spec`` is None where it is missing."""

    name: str
    sequence: int
    spec: Any


async def entries(client: KubeClient, domain: str, first: int, last: int) -> AsyncIterator[Stored]:
    """Entries ``first`` to ``last`` in their order, then those that were written meanwhile; a missing one as such.

    A list would give them in the order of their names, 1, 10, 100, 2, and would have to be held in memory.

    Raises:
        ApiError: when the cluster does not answer, or refuses.
    """

    async def one(sequence: int) -> Stored:
        name = entry_name(domain, sequence)
        try:
            return Stored(name, sequence, (await client.get(LEDGERENTRIES, name)).get("spec"))
        except NotFound:
            return Stored(name, sequence, None)

    waiting: deque[asyncio.Task[Stored]] = deque()
    following = first
    try:
        while following <= last or waiting:
            while following <= last and len(waiting) < _AT_ONCE:
                waiting.append(asyncio.create_task(one(following)))
                following += 1
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
    while (found := await one(following)).spec is not None:
        yield found
        following += 1


async def folded(client: KubeClient, domain: str, hint: int, say: Say) -> Fold | None:
    """The ledger of a domain, every entry checked; None where there is no entry.

    Raises:
        CliError: when the chain is broken, naming the entry.
        ApiError: when the cluster does not answer, or the entries may not be read.
    """
    chain = await chain_of(client, domain, hint)
    if not chain.head:
        return None
    fold = Fold(domain)
    await _go_on(client, fold, chain.first, chain.head, say)
    return fold


async def _go_on(client: KubeClient, fold: Fold, first: int, last: int, say: Say) -> None:
    """Take the entries from ``first`` on. Raises CliError where the chain is broken."""
    domain = fold.subject_domain
    try:
        async for stored in entries(client, domain, first, last):
            fold.take(_parsed(stored))
            if stored.sequence % _SAY_EVERY == 0:
                say(stored.sequence - first + 1, last - first + 1)
    except ChainError as error:
        raise CliError(
            f"The ledger of {domain} is broken: {error}. Nothing can be said of what is left until people have looked; "
            "`mlprivacy budget ledger` writes it down as it is."
        ) from error


class Ledgers:
    """The ledgers of some domains as they were read last, so that whoever looks again reads what is new alone."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._known: dict[str, Fold] = {}

    async def state(self, client: KubeClient, budget: Budget) -> State | None:
        """What the budget's ledger adds up to; None where it may not be read, or promises nothing yet.

        Raises:
            CliError: when the chain is broken, naming the entry.
            ApiError: when the cluster does not answer.
        """
        fold = self._known.pop(budget.domain, None)
        try:
            if fold is not None:
                await _go_on(client, fold, fold.head.sequence + 1, fold.head.sequence, self._say)
            if fold is None or fold.head.sequence < budget.head:  # pruned meanwhile: read it anew
                fold = await folded(client, budget.domain, budget.head, self._say)
        except (Forbidden, NotFound):
            return None
        if fold is None or fold.state is None or fold.state.promise is None:
            return None
        self._known[budget.domain] = fold
        return fold.state


def _parsed(stored: Stored) -> Entry:
    """The entry. Raises ChainError when it is missing or is none."""
    if stored.spec is None:
        raise ChainError(stored.name, "it is missing")
    return parse_entry(stored.name, stored.spec)
