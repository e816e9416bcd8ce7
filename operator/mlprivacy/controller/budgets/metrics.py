"""Metrics of the privacy budgets and their ledgers, by subject domain.

Whoever runs the desks calls :func:`observe_state` after each change and :func:`forget` for a domain that is gone. The
other labels are closed lists; a word that is none of them is counted as ``other``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from mlprivacy.api.ledger_entry import MEMBERS
from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.errors import Code
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import figures_of

MAX_DOMAINS: Final = 200  # that have series; each has about forty, and the privacy office alone makes domains
OTHER: Final = "other"
Outcome = Literal["written", "known", "refused", "contended", "broken", "unavailable"]
BlockState = Literal["open", "exhausted", "retired", "tainted"]

# Why a job waits: the reasons of BudgetReserved=False that are no refusal.
WAITS: Final = (
    Reason.BUDGET_LOCKED,
    Reason.BUDGET_EXHAUSTED,
    Reason.QUOTA_REACHED,
    Reason.WAITING_FOR_BUDGET,
    Reason.LEDGER_UNAVAILABLE,
    Reason.LEDGER_BROKEN,
)
TAINTS: Final = ("Audit", "Warn", "Exception", "Ungoverned", "NoMechanism")

_BY_DOMAIN: Final = ["subject_domain"]

USED: Final = Gauge(
    "mlprivacy_budget_used_ratio",
    "Used part of the fullest block that is not retired, at its order with most room; 1 is full.",
    _BY_DOMAIN,
)
BLOCKS: Final = Gauge(
    "mlprivacy_budget_blocks",
    "Blocks by state: open, exhausted (of the open ones), retired, tainted.",
    ["subject_domain", "state"],
)
RESERVATIONS: Final = Gauge(
    "mlprivacy_budget_reservations", "Reservations that starting or running jobs hold.", _BY_DOMAIN
)
PROMISE: Final = Gauge(
    "mlprivacy_budget_promise_epsilon", "Epsilon of the promise in force; 0 while there is none.", _BY_DOMAIN
)
WORST: Final = Gauge(
    "mlprivacy_budget_worst_case_epsilon",
    "Epsilon that the person with the fullest block has lost at the promise's delta; +Inf when nothing bounds it.",
    _BY_DOMAIN,
)
GUARANTEE: Final = Gauge(
    "mlprivacy_budget_guarantee_holds", "1 while no data of the domain was used outside accounting.", _BY_DOMAIN
)
PROMISE_WAITS: Final = Gauge(
    "mlprivacy_budget_promise_waits", "1 while a larger promise waits for a second person.", _BY_DOMAIN
)
WAITING: Final = Gauge(
    "mlprivacy_budget_waiting_jobs", "Jobs that wait for budget, by reason.", ["subject_domain", "reason"]
)
OLDEST: Final = Gauge(
    "mlprivacy_budget_oldest_wait_seconds", "How long the job that waits longest has waited; 0 for none.", _BY_DOMAIN
)
ENTRIES: Final = Gauge(
    "mlprivacy_ledger_entries", "Entries of the ledger that are in the cluster; pruned ones are not.", _BY_DOMAIN
)
SEQUENCE: Final = Gauge("mlprivacy_ledger_sequence", "Sequence of the newest entry of the ledger.", _BY_DOMAIN)
HEALTHY: Final = Gauge(
    "mlprivacy_ledger_healthy", "1 while the chain is whole, 0 when an entry is missing or was changed.", _BY_DOMAIN
)
ANCHOR_LAG: Final = Gauge(
    "mlprivacy_ledger_anchor_lag_entries",
    "Newest entries that the collector has not put its signature to yet.",
    _BY_DOMAIN,
)
UNSEEN: Final = Gauge(
    "mlprivacy_budget_domains_without_series", "Subject domains beyond the number that have series of their own."
)
APPENDS: Final = Counter(
    "mlprivacy_ledger_appends_total",
    "Steps given to a ledger, by type and outcome: written, known (already), refused, contended, broken, unavailable.",
    ["transition", "outcome"],
)
RESTORED: Final = Counter(
    "mlprivacy_ledger_restored_entries_total",
    "Entries that the cluster's database had lost and that were written again from the collector's export.",
    _BY_DOMAIN,
)
TAINTED: Final = Counter("mlprivacy_budget_taints_total", "Uses of data outside accounting, by reason.", ["reason"])
GRANTS: Final = Counter("mlprivacy_budget_grants_total", "Attempts that were granted their privacy loss.")
REFUSALS: Final = Counter("mlprivacy_budget_refusals_total", "What ledgers refused, by code.", ["code"])
APPEND_SECONDS: Final = Histogram(
    "mlprivacy_ledger_append_seconds",
    "Time until an entry of a ledger was durable.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DECISION_SECONDS: Final = Histogram(
    "mlprivacy_budget_decision_seconds",
    "Time of one decision of a scheduler about all waiting jobs of a domain.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
)

_ONE_EACH: Final = (
    USED, RESERVATIONS, PROMISE, WORST, GUARANTEE, PROMISE_WAITS, OLDEST, ENTRIES, SEQUENCE, HEALTHY, ANCHOR_LAG,
)  # fmt: skip
_known: dict[str, None] = {}
_unseen: set[str] = set()


@dataclass(frozen=True, slots=True)
class Waits:
    """The jobs that wait for a domain: how many for each reason, and since when the oldest does, by ``clock``."""

    by_reason: Mapping[Reason, int]
    since: float | None = None


def observe_state(domain: str, state: State, entries: int | None = None) -> None:
    """Set the gauges of a domain from its ledger's state; milliseconds for 10,000 blocks.

    Args:
        domain: the subject domain.
        state: after the change.
        entries: how many entries are in the cluster; the newest sequence when left out, as before anything is pruned.
    """
    if not _has_series(domain):
        return
    found = figures_of(state)
    counts: Mapping[BlockState, int] = {
        "open": found.open,
        "exhausted": found.exhausted,
        "retired": found.retired,
        "tainted": found.tainted,
    }
    for word, count in counts.items():
        BLOCKS.labels(domain, word).set(count)
    USED.labels(domain).set(found.used)
    RESERVATIONS.labels(domain).set(found.reservations)
    PROMISE.labels(domain).set(found.promised or 0.0)
    WORST.labels(domain).set(0.0 if found.promised is None else math.inf if found.worst is None else found.worst)
    GUARANTEE.labels(domain).set(found.tainted == 0)
    ENTRIES.labels(domain).set(found.sequence if entries is None else entries)
    SEQUENCE.labels(domain).set(found.sequence)


def observe_ledger(domain: str, *, healthy: bool, anchor_lag: int | None = None) -> None:
    """Whether the chain is whole, and by how many entries the newest anchor is behind (None: as it was)."""
    if not _has_series(domain):
        return
    HEALTHY.labels(domain).set(healthy)
    if anchor_lag is not None:
        ANCHOR_LAG.labels(domain).set(anchor_lag)


def observe_promise(domain: str, *, waits: bool) -> None:
    """Whether a larger promise waits for a second person."""
    if _has_series(domain):
        PROMISE_WAITS.labels(domain).set(waits)


def observe_waiting(domain: str, waits: Waits, clock: Callable[[], float] = time.time) -> None:
    """The jobs that wait. The oldest wait grows by itself until the next call."""
    if not _has_series(domain):
        return
    for reason in WAITS:
        WAITING.labels(domain, reason.value).set(waits.by_reason.get(reason, 0))
    WAITING.labels(domain, OTHER).set(sum(n for reason, n in waits.by_reason.items() if reason not in WAITS))
    since = waits.since
    OLDEST.labels(domain).set_function((lambda: max(0.0, clock() - since)) if since is not None else _nothing)


def count_append(transition: str, outcome: Outcome, seconds: float | None = None) -> None:
    """One step of an entry: its type as the entry says it, and what came of it; the time once for an entry."""
    APPENDS.labels(_one_of(transition, MEMBERS), _one_of(outcome, get_args(Outcome))).inc()
    if seconds is not None:
        APPEND_SECONDS.observe(seconds)


def count_taint(reason: str) -> None:
    """Data was used outside accounting."""
    TAINTED.labels(_one_of(reason, TAINTS)).inc()


def count_restored(domain: str, entries: int) -> None:
    """Entries of a ledger were written again."""
    if _has_series(domain):
        RESTORED.labels(domain).inc(entries)


def count_refusal(code: Code | str) -> None:
    """A ledger refused a step."""
    REFUSALS.labels(_one_of(str(code), tuple(Code))).inc()


def forget(domain: str) -> None:
    """Drop every series of a domain that is gone."""
    _unseen.discard(domain)
    UNSEEN.set(len(_unseen))
    if domain not in _known:
        return
    del _known[domain]
    for gauge in _ONE_EACH:
        _remove(gauge, domain)
    _remove(RESTORED, domain)
    for word in get_args(BlockState):
        _remove(BLOCKS, domain, word)
    for reason in (*WAITS, OTHER):
        _remove(WAITING, domain, str(reason))


def _has_series(domain: str) -> bool:
    """Whether the domain has series of its own; beyond the bound none has, and how many is told."""
    if domain in _known:
        return True
    if len(_known) >= MAX_DOMAINS:
        _unseen.add(domain)
        UNSEEN.set(len(_unseen))
        return False
    _known[domain] = None
    _unseen.discard(domain)
    UNSEEN.set(len(_unseen))
    return True


def _remove(series: Gauge | Counter, *labels: str) -> None:
    try:
        series.remove(*labels)
    except KeyError:
        return  # it never had a value


def _one_of(word: str, known: object) -> str:
    return word if isinstance(known, Mapping | tuple) and word in known else OTHER


def _nothing() -> float:
    return 0.0
