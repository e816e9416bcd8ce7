"""What is written to a ledger, as metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlprivacy.budget.ledger.append import Contended
from mlprivacy.budget.ledger.errors import ChainError, Refused
from mlprivacy.budget.ledger.transitions import Taint, Transition
from mlprivacy.controller.budgets import metrics
from mlprivacy.controller.budgets.metrics import Outcome


@contextmanager
def recorded(transitions: Sequence[Transition]) -> Iterator[None]:
    """Counts what became of steps that are written, and how long that took."""
    began = time.perf_counter()
    outcome: Outcome = "unavailable"
    try:
        yield
        outcome = "written"
    except Refused as refused:
        outcome = "refused"
        metrics.count_refusal(refused.code)
        raise
    except Contended:
        outcome = "contended"
        raise
    except ChainError:
        outcome = "broken"
        raise
    finally:
        for number, one in enumerate(transitions):
            metrics.count_append(one.TYPE, outcome, time.perf_counter() - began if number == 0 else None)
            if isinstance(one, Taint) and outcome == "written":
                metrics.count_taint(one.reason)
