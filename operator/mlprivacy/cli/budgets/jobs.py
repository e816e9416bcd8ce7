"""One job and the budgets that it uses or waits for, in one screen. Pure but for what reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mlprivacy.budget.left import uses
from mlprivacy.cli import style
from mlprivacy.cli.budgets import room
from mlprivacy.cli.budgets.model import Budget, JobUse, Standing, Use, named
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
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
                blocks = part.use.blocks or part.found.blocks
                has = part.use.standing in ("RESERVED", "SPENT")
                said = uses(part.found.left, blocks) if has else part.found.sentence
                yield from style.paragraph(said, "  ", "    ")
                for note in part.found.notes:
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


def page_of(job: JobUse, budgets: Sequence[Budget], unread: tuple[str, ...], now: datetime) -> JobPage:
    """The page of a job beside the budgets that could be read."""
    parts = []
    for use in job.uses:
        budget = next(iter(named(budgets, use.budget)), None)
        found = None
        if budget is not None and use.share is not None and budget.promise is not None:
            found = room.guess(budget, use.share, now, blocks_of(job.spec, budget))
        parts.append(Part(use, budget, found))
    return JobPage(job, tuple(parts), unread)


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


async def look(client: KubeClient, ref: str, namespace: str | None, now: datetime) -> JobPage:
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
        return page_of(job, await all_budgets(client), (), now)
    except Forbidden:
        why = "you may not list privacybudgets.mlprivacy.dev, so what is left is not known"
        return page_of(job, (), (why,), now)
