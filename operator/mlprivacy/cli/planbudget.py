"""``plan --budget``: what is left for the planned job, of a PrivacyBudget in the cluster or of blocks in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.units import to_units
from mlprivacy.budget.left import share_of
from mlprivacy.budget.planner import Plan
from mlprivacy.cli.access import Access
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.planfile import FileBudget
from mlprivacy.cli.planlargest import with_largest

if TYPE_CHECKING:
    from mlprivacy.budget.ledger.state import State
    from mlprivacy.cli.budgets.model import Budget
    from mlprivacy.cli.budgets.selecting import Span
    from mlprivacy.kube.client import KubeClient

_FILES: Final = (".json", ".yaml", ".yml")


class Kept(Protocol):
    """A budget that a plan is held against."""

    @property
    def delta(self) -> float | None:
        """What is promised, where it is known."""

    def answer(self, plan: Plan) -> dict[str, Any]:
        """What the job would use of each block, how many such jobs fit, when it would be granted. Raises CliError."""


def find(what: str, access: Access, blocks: str | None = None, namespace: str | None = None) -> Kept:
    """The budget. ``what`` is a file when there is one of that name or it is written like one, else a PrivacyBudget.

    Raises:
        CliError: when the file is no budget, the cluster has none of that name, nothing is promised yet, its ledger is
            broken, or what it was asked with is wrong.
    """
    path = Path(what)
    if path.is_file() or path.suffix in _FILES or "/" in what:
        if blocks:
            raise CliError("--blocks is for a PrivacyBudget of the cluster; a file says itself which blocks there are.")
        if namespace:
            raise CliError("--namespace is for the quotas of a PrivacyBudget of the cluster; a file has none.")
        return FileBudget.of(path)
    return _of_cluster(what, access, blocks, namespace)


@dataclass(frozen=True)
class ClusterBudget:
    """A PrivacyBudget of the cluster, with its ledger where the caller may read it.

    ``namespace`` is whose quota counts, ``span`` the blocks that were named.
    """

    budget: Budget
    state: State | None
    namespace: str
    span: Span | None

    @property
    def delta(self) -> float | None:
        """What is promised."""
        if self.state is not None and self.state.promise is not None:
            return float(self.state.promise.delta)
        return self.budget.promise.delta if self.budget.promise is not None else None

    def answer(self, plan: Plan) -> dict[str, Any]:
        """From the ledger where there is one, else from the status.

        Raises:
            CliError: when no block is open, or one that is named is none.
        """
        from mlprivacy.cli.budgets import room, selecting  # noqa: PLC0415

        budget, state, now, notes = self.budget, self.state, room.utc_now(), list(room.terms_of(self.budget))
        try:
            if state is not None:
                orders = state.orders
                ranges = selecting.of_ledger(state, budget, self.span)
                if retired := selecting.left_out(ranges, self.span):
                    many = "1 block is" if retired == 1 else f"{retired} blocks are"
                    notes.append(f"{many} retired, and no job is charged on them.")
                found = room.exact(state, budget, to_units(curve_of(plan.event, orders)), now, ranges, self.namespace)
                stops = found.stops
            else:
                orders, whole = room.capacity_of(budget)
                names = selecting.of_status(budget, self.span, now)
                share = share_of(curve_of(plan.event, orders), whole)
                found = room.guess(budget, share, now, names, self.namespace)
                stops = room.at_all_orders(found.stops, whole)
        except ValueError as error:
            raise CliError(f"{budget.name}: {str(error).rstrip('.')}.") from error
        body = {**found.as_json(), "budget": budget.name}
        body["notes"] += notes
        none = found.left.quota is not None and found.left.quota.share <= 0  # no noise mends that
        return with_largest(body, stops, orders, plan) if stops and not none else body


def _of_cluster(name: str, access: Access, blocks: str | None, namespace: str | None) -> ClusterBudget:
    import click  # noqa: PLC0415

    from mlprivacy.budget.ledger.blocks import BlockError  # noqa: PLC0415
    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.budgets import entries, reading, selecting  # noqa: PLC0415

    def progress(done: int, whole: int) -> None:
        click.echo(f"{done:,} of {whole:,} entries of the ledger", err=True)

    async def look(client: KubeClient) -> ClusterBudget:
        budget = await reading.one_budget(client, name)
        try:
            span = selecting.span_of(budget.cut, blocks) if blocks else None
        except BlockError as error:
            raise CliError(f"--blocks {blocks}: {error}.") from None
        where = await reading.asking_namespace(client, namespace, budget)
        return ClusterBudget(budget, await entries.Ledgers(progress).state(client, budget), where, span)

    found = cluster.run(access, look)
    if found.delta is None:
        raise CliError(f"{found.budget.name}: {selecting.unpromised(found.budget)}.")
    return found
