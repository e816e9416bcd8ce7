"""What a job's status says of its budget: the condition BudgetReserved, and a line for each domain. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.blocks import count
from mlprivacy.budget.ledger.units import UNBOUNDED
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.budgets.asks import Wish
from mlprivacy.controller.budgets.desk import Desk
from mlprivacy.controller.budgets.desks import Closed
from mlprivacy.controller.budgets.look import Look, Passed
from mlprivacy.controller.plan import Phase, Plan, Step
from mlprivacy.controller.status import Tri

State = Literal["Waiting", "Reserved", "Committed", "Released", "Outside"]
AGAIN: Final = 5.0  # seconds
_NEEDLESS: Tri = ("True", Reason.NO_BUDGET_NEEDED, "none of its datasets has a privacy budget")


@dataclass(frozen=True, slots=True)
class Line:
    """One of ``status.budgets``."""

    wish: Wish
    state: State
    blocks: int = 0
    share: float | None = None
    entry: str | None = None

    def body(self) -> dict[str, Any]:
        """As the status holds it."""
        charge = self.wish.charge
        found: dict[str, Any] = {
            "subjectDomain": charge.domain,
            "budget": charge.budget,
            "state": self.state,
            "attempt": self.wish.attempt,
            "blocks": self.blocks,
        }
        if (loss := charge.loss) is not None and loss.epsilon < float("inf"):
            found |= {"epsilon": round(loss.epsilon, 6), "delta": loss.delta}
        if loss is not None:
            numbers = {
                "noiseMultiplier": loss.noise_multiplier,
                "samplingRate": loss.sampling_rate,
                "steps": loss.steps,
                "sharePercent": None if self.share is None else round(100 * self.share, 3),
                "entry": self.entry,
            }
            return found | {key: value for key, value in numbers.items() if value is not None}
        return found | ({"entry": self.entry} if self.entry else {})


def lines_of(wishes: Sequence[Wish], desks: Sequence[Desk]) -> list[Line]:
    """What is held, or waited for, at each desk."""
    found = []
    for wish, desk in zip(wishes, desks, strict=True):
        held = desk.state.reservations.get(wish.attempt_key)
        share = _share(wish, desk)
        if held is None:
            found.append(Line(wish, "Waiting", share=share))
        else:
            entry = desk.state.name_of(held.sequence)
            found.append(Line(wish, "Reserved", count(held.reserve.ranges), share, entry))
    return found


def _share(wish: Wish, desk: Desk) -> float | None:
    """The part of a whole block that it takes, at the order where it takes least."""
    pairs = zip(wish.curve, desk.state.capacity.tolist(), strict=False)
    return min((asked / room for asked, room in pairs if room > 0 and asked < UNBOUNDED), default=None)


def outside(wish: Wish, desk: Desk, blocks: int = 0) -> Line:
    """What is used without being counted."""
    mark = next((m for m in reversed(desk.state.taints.values()) if m.job.uid == wish.uid), None)
    if mark is None:
        return Line(wish, "Outside", blocks)
    return Line(wish, "Outside", blocks or mark.blocks, entry=desk.state.name_of(mark.sequence))


def settled(before: Sequence[dict[str, Any]], desks: Sequence[Desk], uid: str) -> tuple[dict[str, Any], ...]:
    """The lines of before, with what was reserved then and is not any more as what became of it."""
    known = {desk.domain: desk for desk in desks}
    return tuple(_settled(line, known.get(str(line.get("subjectDomain"))), uid) for line in before)


def _settled(line: dict[str, Any], desk: Desk | None, uid: str) -> dict[str, Any]:
    if line.get("state") == "Waiting":
        return {**line, "state": "Released"}
    if desk is None or line.get("state") != "Reserved":
        return line
    key = (uid, int(line.get("attempt") or 0))
    done = desk.state.settled.get(key)
    if key in desk.state.reservations or done is None:
        return line
    state: State = "Released" if desk.gave_back(key) else "Committed"
    return {**line, "state": state, "entry": desk.state.name_of(done.sequence)}


def closed(why: Closed) -> Answer:
    """What a job is told whose budget can not be decided on."""
    if not why.broken:
        return Answer("Waiting", Reason.LEDGER_UNAVAILABLE, f"the job waits: {why}", AGAIN)
    sentence = (
        f"the ledger of {why.domain} is not as it was written, so nothing of it is granted: {why}. The privacy office "
        "has to look (docs/privacy-budget.md, the ledger)"
    )
    return Answer("Waiting", Reason.LEDGER_BROKEN, sentence)


def nothing(look: Look, plan: Plan, desks: Sequence[Desk] = ()) -> Passed:
    """No dataset of the job has a budget."""
    before = tuple((look.raw.get("status") or {}).get("budgets") or ())
    return Passed(plan, _NEEDLESS, settled(before, desks, look.uid))


def waiting(look: Look, plan: Plan, answer: Answer, lines: Sequence[Line] = ()) -> Passed:
    """Nothing is started: the job waits, or never will be granted."""
    held = Plan(
        Step.HOLD, Phase.WAITING, plan.attempt, answer.reason, answer.message, again=answer.again, queue=plan.queue,
        stalled=answer.state == "Refused",
    )  # fmt: skip
    told: Tri = ("False", answer.reason, answer.message)
    return Passed(held, told, tuple(line.body() for line in lines))


def queued(look: Look, plan: Plan, lines: Sequence[Line]) -> Passed:
    """The attempt waits for its turn in a queue; what it has of the budget meanwhile, it keeps."""
    if not look.decision.charges:
        return nothing(look, plan)
    if lines and all(line.state == "Reserved" for line in lines):
        return Passed(plan, _condition(Reason.BUDGET_HELD, lines), tuple(line.body() for line in lines))
    told: Tri = ("False", Reason.WAITING_FOR_BUDGET, "nothing is reserved before it is its turn in the queue")
    return Passed(plan, told, tuple(line.body() for line in lines))


def granted(look: Look, plan: Plan, answer: Answer, lines: Sequence[Line]) -> Passed:
    """The attempt may be made."""
    return Passed(plan, _condition(answer.reason, lines), tuple(line.body() for line in lines))


def running(
    look: Look, plan: Plan, lines: Sequence[Line], let_go: tuple[tuple[str, str], ...], desks: Sequence[Desk]
) -> Passed:
    """The attempt goes on."""
    if not lines:
        return replace(as_before(look, plan, desks), let_go=let_go)
    return Passed(plan, _condition(Reason.BUDGET_HELD, lines), tuple(line.body() for line in lines), let_go)


def as_before(look: Look, plan: Plan, desks: Sequence[Desk] = ()) -> Passed:
    """Nothing new but what was settled."""
    before = tuple((look.raw.get("status") or {}).get("budgets") or ())
    now = (*settled(before, desks, look.uid), *_marks(look, before, desks))
    held = [line for line in now if line.get("state") in ("Reserved", "Committed", "Outside")]
    if not held:
        sentence = "nothing is reserved: the job does not run"
        if plan.phase in (Phase.SUCCEEDED, Phase.FAILED):
            sentence = "nothing is reserved any more: the job has ended"
        return Passed(plan, ("False", Reason.WAITING_FOR_BUDGET, sentence), now)
    free = any(line["state"] == "Outside" for line in held)
    reason = Reason.OUTSIDE_ACCOUNTING if free else Reason.BUDGET_HELD
    return Passed(plan, ("False" if free else "True", reason, "; ".join(_told(line) for line in held)), now)


def _marks(look: Look, before: Sequence[dict[str, Any]], desks: Sequence[Desk]) -> list[dict[str, Any]]:
    """Lines for the domains that the job used without being counted, and that the status does not speak of yet."""
    told = {line.get("subjectDomain") for line in before}
    known = {desk.domain: desk for desk in desks if desk.ledger.fold.state is not None}
    found = []
    for charge in look.decision.charges:
        desk = known.get(charge.domain)
        marks = [m for m in desk.state.taints.values() if m.job.uid == look.uid] if desk is not None else []
        if charge.domain not in told and desk is not None and marks:
            found.append(
                {
                    "subjectDomain": charge.domain,
                    "budget": charge.budget,
                    "state": "Outside",
                    "attempt": int((look.raw.get("status") or {}).get("attempt") or 0),
                    "blocks": marks[-1].blocks,
                    "entry": desk.state.name_of(marks[-1].sequence),
                }
            )
    return found


def _condition(reason: Reason, lines: Sequence[Line]) -> Tri:
    free = any(line.state == "Outside" for line in lines)
    text = "; ".join(_told(line.body()) for line in lines)
    return "False" if free else "True", Reason.OUTSIDE_ACCOUNTING if free else reason, text or "nothing is charged"


def _told(line: dict[str, Any]) -> str:
    """ "uses 8 % of each of 52 blocks of clinic-patients (epsilon 2.9, committed)"."""
    blocks = int(line.get("blocks") or 0)
    where = f"{'the block' if blocks == 1 else f'each of {blocks} blocks'} of {line['subjectDomain']}"
    if line["state"] == "Outside":
        return f"uses {where} without being counted, and they say so for good"
    share = line.get("sharePercent")
    part = f"{share:.2g} %" if isinstance(share, int | float) else "budget"
    epsilon = f"epsilon {line['epsilon']:.3g}, " if "epsilon" in line else ""
    return f"uses {part} of {where} ({epsilon}{str(line['state']).lower()})"
