"""What a desk has and what waits at it, as metrics."""

from __future__ import annotations

from collections import Counter

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.budgets import metrics
from mlprivacy.controller.budgets.desk import Desk


def observe(desk: Desk, behind: int, *, waits: bool) -> None:
    """Set the gauges of a domain. ``waits``: its promise waits for people."""
    metrics.observe_state(desk.domain, desk.state)
    metrics.observe_ledger(desk.domain, healthy=True, anchor_lag=behind)
    metrics.observe_promise(desk.domain, waits=waits)
    answers = [answer.reason for wish in desk.waiting if (answer := desk.wait_of(wish)) is not None]
    queued = {wish.key for wish in desk.waiting}
    answers += [Reason.WAITING_FOR_BUDGET] * len(desk.waiting_jobs - queued)
    oldest = min((wish.asked.timestamp() for wish in desk.waiting), default=None)
    metrics.observe_waiting(desk.domain, metrics.Waits(Counter(answers), oldest))
