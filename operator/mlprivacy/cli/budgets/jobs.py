"""One job and the budgets that it uses or waits for, in one screen. Pure but for what reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mlprivacy.budget.accounting.events import dp_sgd, with_trials
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.blocks import Ranges
from mlprivacy.budget.ledger.reach import reached
from mlprivacy.budget.ledger.state import State, was_released
from mlprivacy.budget.ledger.units import Units, to_units
from mlprivacy.budget.left import share_of, uses
from mlprivacy.cli import style
from mlprivacy.cli.budgets import room
from mlprivacy.cli.budgets.model import Budget, JobUse, Standing, Use, named
from mlprivacy.cli.errors import CliError
from mlprivacy.policy.charge import Selection
from mlprivacy.policy.mending import ROWS_AT_ONCE

if TYPE_CHECKING:
    from mlprivacy.cli.budgets.entries import Ledgers
    from mlprivacy.kube.client import KubeClient

_SAID: Final[Mapping[Standing, str]] = {
    "WAITS": "waits",
    "REFUSED": "waits no more: it will not be granted",
    "OUTSIDE": "used the data without being counted, and its blocks are tainted for good",
    "RESERVED": "holds it until it ends",
    "SPENT": "has spent it, for good",
    "GIVEN BACK": "held it, spent nothing and gave it back",
    "NOT HELD": "holds nothing and has spent nothing",
}
_COLOURS: Final[Mapping[Standing, str]] = {
    "WAITS": "yellow", "REFUSED": "red", "OUTSIDE": "red", "RESERVED": "green", "SPENT": "green", "GIVEN BACK": "green",
    "NOT HELD": "green",
}  # fmt: skip
_LABEL: Final = 12
_SHARE_ROUNDS: Final = 6e-6  # a status gives a share in thousandths of a percent
_BY_SHARE: Final = (
    "From the budget's status and the share that the job takes: its numbers do not tell its whole loss. The ledger "
    "decides."
)


@dataclass(frozen=True)
class Part:
    """What the job takes of one budget; ``budget`` is None where it may not be read."""

    use: Use
    budget: Budget | None
    found: room.Room | None


@dataclass(frozen=True)
class JobPage:
    """A job and its parts; ``unread`` says what could not be read."""

    job: JobUse
    parts: tuple[Part, ...]
    unread: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        waits = self.job.waits
        return {
            "job": f"{self.job.kind} {self.job.ref}",
            "budgets": [
                {
                    "budget": part.use.budget,
                    "subjectDomain": part.use.domain,
                    "state": part.use.state,
                    "standing": part.use.standing,
                    "attempt": part.use.attempt,
                    "blocks": part.use.blocks,
                    "share": part.use.share,
                    "epsilon": part.use.epsilon,
                    "delta": part.use.delta,
                    "noiseMultiplier": part.use.noise_multiplier,
                    "samplingRate": part.use.sampling_rate,
                    "steps": part.use.steps,
                    "entry": part.use.entry,
                    "left": None if part.found is None else part.found.as_json(),
                }
                for part in self.parts
            ],
            "waits": None
            if waits is None
            else {"reason": waits.reason, "message": waits.message, "since": waits.since},
            "unread": list(self.unread),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        job, reserved = self.job, self.job.conditions.get("BudgetReserved")
        word, colour = _headline(job)
        yield f"{style.coloured(word, colour, bold=True)}  {job.kind} {style.printable(job.ref)}"
        for sentence in self.unread:
            yield from style.paragraph(f"Note: {sentence}.", "  ", "    ")
        if reserved is not None:
            since = f" since {reserved.since}" if reserved.since else ""
            # Of a job that waits for nothing the reason is that it waits: what is left of it is the sentence.
            idle = job.waits is None and reserved.reason == "WaitingForBudget"
            yield from style.paragraph(
                reserved.message if idle else f"{reserved.reason}{since}: {reserved.message}", "  ", "    "
            )
        if not self.parts and reserved is None:
            yield "  Nothing is said of budgets yet: the controller has not looked at it, or no dataset has one."
        for part in self.parts:
            yield ""
            yield from use_lines(part.use)
            if part.found is not None and part.use.standing in ("WAITS", "REFUSED", "RESERVED", "SPENT"):
                waits = part.use.standing in ("WAITS", "REFUSED")
                blocks = part.use.blocks or part.found.blocks
                said = part.found.sentence if waits else uses(part.found.left, blocks)
                yield from style.paragraph(said, "  ", "    ")
                # What it would wait for is of no matter to a job that has its part; that it is a guess, is.
                for note in part.found.notes if waits or not part.found.exact else ():
                    yield from style.paragraph(note, "  ", "    ")


def _headline(job: JobUse) -> tuple[str, str]:
    """The word that matters most: what people have to do something about comes first."""
    found = {use.standing for use in job.uses}
    if not found:
        reserved = job.conditions.get("BudgetReserved")
        needs = reserved is not None and reserved.status != "True"
        return ("WAITS", "yellow") if job.waits is not None else ("NOT HELD" if needs else "NO BUDGET", "green")
    word = next(word for word in _COLOURS if word in found)
    return word, _COLOURS[word]


def use_lines(use: Use) -> Iterator[str]:
    """What a job takes of one budget, in a few lines; also for `mlprivacy explain`."""
    said = f"budget {use.budget} ({use.domain}): attempt {use.attempt} {_SAID[use.standing]}"
    yield from style.paragraph(said, "  ", "    ")
    if use.epsilon is not None:
        delta = f" at delta {use.delta:g}" if use.delta is not None else ""
        yield from _fact("epsilon", f"{use.epsilon:.4g}{delta}, of this attempt")
    if use.share is not None:
        share = f"{100 * use.share:.2g} %" if use.share < 1 else "all and more"
        many = f" of {use.blocks} blocks" if use.blocks > 1 else " block"  # 0 while it waits
        word = {"SPENT": "spent", "GIVEN BACK": "gave back", "NOT HELD": "asked for"}.get(use.standing, "takes")
        yield from _fact(word, f"{share} of {'the' if use.blocks == 1 else 'each'}{many}")
    if use.noise_multiplier is not None:
        rate = f", sampling rate {use.sampling_rate:.4g}" if use.sampling_rate is not None else ""
        steps = f", {use.steps} steps" if use.steps is not None else ""
        yield from _fact("counted for", f"noise multiplier {use.noise_multiplier:g}{rate}{steps}")
    if use.entry:
        yield from _fact("ledger", use.entry)


def _fact(word: str, text: str) -> Iterator[str]:
    yield from style.paragraph(f"{word:<{_LABEL}}{text}", "    ", " " * (_LABEL + 4))


def page_of(
    job: JobUse,
    budgets: Sequence[Budget],
    unread: tuple[str, ...],
    now: datetime,
    states: Mapping[str, State] | None = None,
) -> JobPage:
    """The page of a job beside the budgets that could be read, and their ledgers (by domain) where these could."""
    parts = []
    told = tuple(_as_told(job, use, (states or {}).get(use.domain)) for use in job.uses)
    if told != job.uses:  # the condition is as old as the status that the ledger contradicts
        newer = {kind: one for kind, one in job.conditions.items() if kind != "BudgetReserved"}
        job = replace(job, uses=told, conditions=newer)
    for use in job.uses:
        budget = next(iter(named(budgets, use.budget)), None)
        found = None if budget is None else _room(job, use, budget, now, (states or {}).get(use.domain))
        parts.append(Part(use, budget, found))
    return JobPage(job, tuple(parts), unread)


def _as_told(job: JobUse, use: Use, state: State | None) -> Use:
    """The use as the ledger has it, where a job that is being deleted has a status that nobody writes any more."""
    key = job.uid, use.attempt
    settled = state.settled.get(key) if state is not None and use.standing == "RESERVED" else None
    if state is None or settled is None or key in state.reservations:
        return use
    given_back = was_released(key, settled)
    entry = state.name_of(settled.sequence)
    if given_back:
        return replace(use, state="Released", standing="GIVEN BACK", entry=entry)
    return replace(use, state="Committed", standing="SPENT", entry=entry)


def _room(job: JobUse, use: Use, budget: Budget, now: datetime, state: State | None) -> room.Room | None:
    """What the job finds of a budget: from the ledger where its loss is known at every order, else from the status."""
    if use.share is None or (budget.promise is None and state is None):
        return None
    if state is None:
        return room.guess(budget, use.share, now, blocks_of(job.spec, budget), job.namespace)
    held = state.reservations.get((job.uid, use.attempt))
    if held is not None:
        return room.exact(state, budget, held.reserve.curve, now, held.reserve.ranges, job.namespace)
    try:
        reached(state, budget.cut, _selections(job))
    except ValueError:
        return None  # the job reaches no block that is open, as its condition says: there is no room to speak of
    asked = asked_of(job, use, state, budget)
    if asked is None:
        return room.guess(budget, use.share, now, blocks_of(job.spec, budget), job.namespace, why=_BY_SHARE)
    return room.exact(state, budget, asked[0], now, asked[1], job.namespace)


def asked_of(job: JobUse, use: Use, state: State, budget: Budget) -> tuple[Units, Ranges] | None:
    """The loss of the job at every order, and the blocks that it reaches; None where its numbers do not tell.

    A status gives noise, rate and steps, and the share of a block. How many rows of a person are charged depends on
    which datasets belong to the domain, so that only a number that comes to this very share is taken.
    """
    datasets: Sequence[Mapping[str, Any]] = job.spec.get("datasets") or ({},)
    timed = budget.cut.by == "IngestionTime" and any(dataset.get("rows") for dataset in datasets)
    if use.noise_multiplier is None or use.sampling_rate is None or use.steps is None or timed:
        return None
    each = [int(dataset.get("maxRecordsPerUnit") or 1) for dataset in datasets]
    trials, share = int(job.spec.get("trials") or 1), use.share or 0.0
    try:
        ranges = reached(state, budget.cut, _selections(job))
        for rows in dict.fromkeys((sum(each), *each, 1)):
            if rows > ROWS_AT_ONCE:
                continue
            event = with_trials(dp_sgd(use.sampling_rate, use.steps, use.noise_multiplier, rows), trials)
            curve = to_units(curve_of(event, state.orders))
            takes = share_of(tuple(map(float, curve)), tuple(map(float, state.capacity)))
            if abs(takes - share) <= _SHARE_ROUNDS:
                return curve, ranges
    except ValueError:  # no block is reached now, or the numbers are none that can be counted
        return None
    return None


def _selections(job: JobUse) -> list[Selection]:
    datasets: Sequence[Mapping[str, Any]] = job.spec.get("datasets") or ({},)
    spans = [dataset.get("blocks") or {} for dataset in datasets]
    return [Selection(span.get("from"), span.get("to")) for span in spans]


def blocks_of(spec: Mapping[str, Any], budget: Budget) -> tuple[str, ...]:
    """Those of the fullest blocks that the job names; nothing where it takes all that are open."""
    keys: set[int] = set()
    for dataset in spec.get("datasets") or ():
        chosen = dataset.get("blocks")
        if not chosen:
            return ()
        try:
            first = budget.cut.key_of(str(chosen["from"])) if chosen.get("from") else 0
            last = budget.cut.key_of(str(chosen["to"])) if chosen.get("to") else None
        except ValueError:
            return ()
        for use in budget.open_blocks:
            key = budget.cut.key_of(use.name)
            if first <= key and (last is None or key <= last):
                keys.add(key)
    return tuple(budget.cut.label(key) for key in sorted(keys))


async def look(client: KubeClient, ref: str, namespace: str | None, now: datetime, ledgers: Ledgers) -> JobPage:
    """The page of one job in the cluster, ``NAMESPACE/NAME`` or a name alone.

    Raises:
        CliError: when there is no such job.
        ApiError: when the cluster does not answer, or the job may not be read.
    """
    from mlprivacy.cli.budgets.reading import all_budgets  # noqa: PLC0415 - files need no client
    from mlprivacy.cli.explanation import fetched  # noqa: PLC0415
    from mlprivacy.kube.errors import Forbidden  # noqa: PLC0415
    from mlprivacy.kube.resources import TRAININGJOBS  # noqa: PLC0415

    space, _, name = ref.rpartition("/")
    where = space or namespace or client.namespace or "default"
    if not name or "/" in space:
        raise CliError(f"--job {ref!r} is no job; write NAMESPACE/NAME, or NAME with -n.")
    job = JobUse.of(await fetched(client, TRAININGJOBS, name, where))
    try:
        budgets = await all_budgets(client)
    except Forbidden:
        why = "you may not list privacybudgets.mlprivacy.dev, so what is left is not known"
        return page_of(job, (), (why,), now)
    states, unread = {}, []
    for use in job.uses:
        budget = next(iter(named(budgets, use.budget)), None)
        if budget is None or use.share is None:
            continue
        try:
            state = await ledgers.state(client, budget)
        except CliError as error:  # it is broken; the job's own status is still worth reading
            unread.append(error.message.rstrip("."))
            continue
        if state is not None:
            states[use.domain] = state
    return page_of(job, budgets, tuple(unread), now, states)
