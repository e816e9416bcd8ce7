"""What a budget asks of its blocks: those whose time has come are opened, those that spec retires are retired. Pure."""

from __future__ import annotations

from datetime import datetime

from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.blocks import BlockError, Ranges
from mlprivacy.budget.ledger.reach import blocks_due, to_retire
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Open, Retire, Transition
from mlprivacy.policy.durations import parse_time


def block_steps(
    state: State, spec: PrivacyBudgetSpec, made: datetime, now: datetime
) -> tuple[list[Transition], str | None]:
    """The steps, and what is wrong with what is asked for; a wrong entry does not hold up the others.

    Blocks are opened and retired in one entry, so that no job gets one that was retired before it opened.

    Args:
        state: of the ledger; nothing is asked for before it has a promise.
        spec: of the budget.
        made: when the budget was made; its first block is of then, where spec names none.
        now: the present.
    """
    if state.promise is None:
        return [], None
    cut, wrong = state.promise.cut, list[str]()
    opening: Ranges = ()
    since = parse_time(f"{spec.blocks.since}T00:00:00Z") if spec.blocks.since else min(now, made)
    if cut.period is not None and not state.table.opened.any() and cut.key_at(since) > cut.key_at(now):
        wrong.append(
            f"spec.blocks.since is {spec.blocks.since}, which is in the future: no block is open, and no job is "
            "granted anything before. While nothing is spent, delete the budget and make it anew with an earlier day"
        )
    else:
        try:
            opening = blocks_due(state, cut, since, now) or ()
        except BlockError as error:
            wrong.append(str(error))
    spans = []
    for index, blocks in enumerate(spec.retired):
        try:
            spans.append(cut.span_of(blocks))
        except BlockError as error:
            wrong.append(f"spec.retired[{index}]: {error}")
    steps: list[Transition] = [Open(opening)] if opening else []
    steps += [Retire(ranges, "Owner") for ranges in to_retire(state, spans, opening)]
    return steps, next(iter(wrong), None)
