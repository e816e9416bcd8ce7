"""``plan --budget``: what is left for the planned job, of a PrivacyBudget in the cluster or of blocks in a file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlprivacy.budget.accounting.events import Event, dp_sgd, for_groups, with_trials
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.curves import Curve, capacity, check_curve, effective_delta
from mlprivacy.budget.left import Block, largest_grant, sentence, share_of, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS, Orders, check_orders
from mlprivacy.budget.planner import Plan
from mlprivacy.cli.access import Access
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.budget.ledger.blocks import Ranges
    from mlprivacy.budget.ledger.state import State
    from mlprivacy.cli.budgets.model import Budget
    from mlprivacy.kube.client import KubeClient

_FILES: Final = (".json", ".yaml", ".yml")


def answer(what: str, plan: Plan, access: Access, blocks: str | None = None) -> dict[str, Any]:
    """What the job would use of each block, how many such jobs fit, when it would be granted.

    ``what`` is a file when there is one of that name or it is written like one, else a PrivacyBudget of the cluster.

    Raises:
        CliError: when the file is no budget, or the cluster has none of that name.
    """
    path = Path(what)
    if path.is_file() or path.suffix in _FILES or "/" in what:
        if blocks:
            raise CliError("--blocks is for a PrivacyBudget of the cluster; a file says itself which blocks there are.")
        return of_file(path, plan)
    return of_cluster(what, plan, access, blocks)


def of_cluster(name: str, plan: Plan, access: Access, blocks: str | None) -> dict[str, Any]:
    """The answer of a PrivacyBudget: from its ledger where the caller may read it, else from its status.

    Raises:
        CliError: when there is no such budget, nothing is promised yet, or its ledger is broken.
    """
    import click  # noqa: PLC0415

    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.budgets import entries, reading, room  # noqa: PLC0415
    from mlprivacy.kube.errors import Forbidden, NotFound  # noqa: PLC0415

    def progress(done: int, whole: int) -> None:
        click.echo(f"{done:,} of {whole:,} entries of the ledger", err=True)

    async def look(client: KubeClient) -> tuple[Budget, State | None]:
        budget = await reading.one_budget(client, name)
        try:
            fold = await entries.folded(client, budget.domain, budget.head, progress)
        except (Forbidden, NotFound):
            return budget, None
        return budget, fold.state if fold is not None else None

    budget, state = cluster.run(access, look)
    if budget.promise is None and (state is None or state.promise is None):
        raise CliError(f"Nothing is promised by {budget.name} yet, so nothing can be granted.")
    ranges, names = _chosen(budget, blocks)
    now = room.utc_now()
    try:
        if state is not None and state.promise is not None:
            orders = state.orders
            found = room.exact(state, budget, curve_of(plan.event, orders), now, ranges)
            stops = found.stops
        else:
            orders, whole = room.capacity_of(budget)
            found = room.guess(budget, share_of(curve_of(plan.event, orders), whole), now, names)
            stops = room.at_all_orders(found.stops, whole)
    except ValueError as error:
        raise CliError(f"{budget.name}: {str(error).rstrip('.')}.") from error
    body = {**found.as_json(), "budget": budget.name}
    return _with_largest(body, stops, orders, plan) if stops else body


def _chosen(budget: Budget, blocks: str | None) -> tuple[Ranges | None, tuple[str, ...]]:
    """The blocks that ``FROM..TO`` names, as ranges and by their names; None and nothing for all that are open."""
    from mlprivacy.budget.ledger.blocks import BlockError, Range, check_ranges, keys  # noqa: PLC0415

    if not blocks:
        return None, ()
    first, dots, last = blocks.partition("..")
    cut = budget.cut
    try:
        ranges = check_ranges((Range(cut.key_of(first), cut.key_of(last if dots else first)),))
    except BlockError as error:
        raise CliError(f"--blocks {blocks}: {error}.") from None
    return ranges, tuple(cut.label(key) for key in keys(ranges))


def of_file(path: Path, plan: Plan) -> dict[str, Any]:
    """The answer of blocks in a file.

    Raises:
        CliError: when the file is no budget.
    """
    try:
        orders, blocks = read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise CliError(f"{path} is not a budget: {reason.rstrip('.')}.") from None
    left = what_is_left(blocks, curve_of(plan.event, orders))
    found: dict[str, Any] = {
        "share": left.share if math.isfinite(left.share) else None,
        "jobs": left.jobs,
        "wait_seconds": left.wait,
        "waits_for": list(left.blocked),
        "never": list(left.never),
        "sentence": sentence(left, len(blocks)),
    }
    stops = [block for block in blocks if block.name in left.never]
    return _with_largest(found, stops, orders, plan) if stops else found


def _with_largest(found: dict[str, Any], stops: Sequence[Block], orders: Orders, plan: Plan) -> dict[str, Any]:
    """The answer with the largest ε that would fit; blocks that take the job as it is take one with more noise too."""
    largest = largest_grant(stops, orders, _with_noise(plan), plan.delta)
    if largest is None:
        found["sentence"] += " No noise would make it fit; the block is full."
    else:
        found["largest"] = {"noise_multiplier": largest[0], "epsilon": largest[1]}
        found["sentence"] += f" With a noise multiplier of {largest[0]:g}, epsilon {largest[1]:.4g}, it would fit."
    return found


def read(body: Mapping[str, Any]) -> tuple[Orders, tuple[Block, ...]]:
    """Orders and blocks of the file's content. Raises KeyError, TypeError and ValueError on anything else."""
    orders = check_orders(body.get("orders", DEFAULT_ORDERS))
    common: Curve | None = None
    if "epsilon" in body:
        delta = effective_delta(orders, float(body["epsilon"]), float(body["delta"]))
        common = capacity(orders, float(body["epsilon"]), delta)
    return orders, tuple(_block(orders, block, common) for block in body["blocks"])


def _block(orders: Orders, body: Mapping[str, Any], common: Curve | None) -> Block:
    consumed = _numbers(body.get("consumed", [0.0] * len(orders)))
    room = common if common is not None else _numbers(body["capacity"])
    if len(room) != len(orders):
        raise ValueError(f"a capacity has {len(room)} values and there are {len(orders)} orders")
    unlocked, whole = float(body.get("unlocked", 1.0)), body.get("unlock_seconds")
    if not 0 <= unlocked <= 1:
        raise ValueError(f"`unlocked` is {unlocked:g}; it is a share from 0 to 1")
    if whole is not None and not float(whole) >= 0:
        raise ValueError("`unlock_seconds` is a number, 0 or more")
    return Block(
        str(body["name"]), check_curve(orders, consumed), room, unlocked, None if whole is None else float(whole)
    )


def _numbers(values: Sequence[Any]) -> Curve:
    return tuple(float(value) for value in values)


def _with_noise(plan: Plan) -> Any:
    def make(sigma: float) -> Event:
        one = dp_sgd(plan.sampling_rate, plan.steps, sigma, plan.rows_per_unit)
        return for_groups(with_trials(one, plan.trials, plan.drawn), plan.stability)

    return make
