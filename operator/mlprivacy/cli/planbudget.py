"""``plan --budget FILE``: what is left of the blocks in a file for the planned job."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlprivacy.budget.accounting.events import Event, dp_sgd, for_groups, with_trials
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.curves import Curve, capacity, check_curve, effective_delta
from mlprivacy.budget.left import Block, largest_grant, sentence, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS, Orders, check_orders
from mlprivacy.budget.planner import Plan
from mlprivacy.cli.errors import CliError


def answer(path: Path, plan: Plan) -> dict[str, Any]:
    """What the job would use of each block, how many such jobs fit, when it would be granted.

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
    if left.never:
        largest = largest_grant(blocks, orders, _with_noise(plan), plan.delta)
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
