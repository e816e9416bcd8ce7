"""The largest ε that would fit, for ``plan --budget`` where the planned job does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlprivacy.budget.accounting.events import Event, dp_sgd, for_groups, with_trials
from mlprivacy.budget.left import Block, largest_grant
from mlprivacy.budget.orders import Orders
from mlprivacy.budget.planner import Plan


def with_largest(found: dict[str, Any], stops: Sequence[Block], orders: Orders, plan: Plan) -> dict[str, Any]:
    """The answer with the largest ε that would fit; blocks that take the job as it is take one with more noise too."""
    largest = largest_grant(stops, orders, _with_noise(plan), plan.delta)
    if largest is None:
        found["sentence"] += " No noise would make it fit: nothing is left there."
    else:
        found["largest"] = {"noise_multiplier": largest[0], "epsilon": largest[1]}
        found["sentence"] += f" With a noise multiplier of {largest[0]:g}, epsilon {largest[1]:.4g}, it would fit."
    return found


def _with_noise(plan: Plan) -> Any:
    def make(sigma: float) -> Event:
        one = dp_sgd(plan.sampling_rate, plan.steps, sigma, plan.rows_per_unit)
        return for_groups(with_trials(one, plan.trials, plan.drawn), plan.stability)

    return make
