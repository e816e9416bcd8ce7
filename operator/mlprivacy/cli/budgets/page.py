"""One budget on a page: the promise, the fullest blocks, taints, jobs, quotas and scheduling. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mlprivacy.cli import style
from mlprivacy.cli.budgets.model import BlockUse, Budget, JobUse, Use
from mlprivacy.cli.budgets.view import Row, behind_of, percent, table

_BAR: Final = 30  # characters of a whole block
_LABEL: Final = 12
_RETIRED_SHOWN: Final = 12  # entries of spec.retired


def page_lines(row: Row) -> Iterator[str]:
    """Everything there is to say on one budget, for people."""
    budget = row.budget
    colour = {"in force": "green"}.get(row.state, "yellow")
    yield f"{style.coloured(row.state.upper(), colour, bold=True)}  PrivacyBudget {style.printable(budget.name)}"
    yield from _facts(row)
    yield ""
    yield from _blocks(budget)
    yield from _taints(budget)
    yield from _jobs(row)
    yield from _rules(budget)
    for condition in budget.conditions.values():
        # Stalled is the one that is good when it is not True.
        if (condition.status != "True") != (condition.type == "Stalled") and condition.message:
            yield ""
            yield from style.paragraph(f"{condition.type}: {condition.reason}: {condition.message}", "", "  ")


def _facts(row: Row) -> Iterator[str]:
    budget = row.budget
    yield from _fact("domain", budget.domain)
    yield from _fact("promise", _promise(budget))
    if budget.waits_for_approval:
        who = (
            "is approved, and the controller has not written it yet" if budget.approved else "waits for a second person"
        )
        yield from _fact("asked for", f"{budget.asked}, which {who}")
    yield from _fact("worst case", _worst(budget))
    yield from _fact("guarantee", _guarantee(budget))
    if budget.status.get("weakestAssurance"):
        yield from _fact("weakest", f"{budget.status['weakestAssurance']} is the weakest assurance ever spent with")
    if budget.count("open") is not None:
        counts = ", ".join(
            f"{budget.count(which) or 0} {which}" for which in ("open", "exhausted", "retired", "tainted")
        )
        yield from _fact("blocks", f"{counts}; cut by {_cut(budget)}{_ends(budget)}")
    if budget.retired:
        yield from _fact("retired", _named(budget.retired))
    if budget.status.get("reservations") is not None:
        held = int(budget.status["reservations"])
        yield from _fact("held", f"{held} reservation{'' if held == 1 else 's'} by jobs that start or run")
    if row.waiting_text is not None:
        yield from _fact("waiting", f"{row.waiting_text} job{'' if row.waiting == 1 else 's'}, of all namespaces")
    yield from _fact("ledger", _ledger(row))


def _named(retired: Sequence[str]) -> str:
    """The blocks as the owner wrote them; of very many the latest."""
    ranges = [" to ".join(entry.split("..")) for entry in retired[-_RETIRED_SHOWN:]]
    left_out = len(retired) - len(ranges)
    entries = "entry" if left_out == 1 else "entries"
    return (f"{left_out} {entries} of spec.retired before, " if left_out else "") + ", ".join(ranges)


def _fact(word: str, text: str) -> Iterator[str]:
    yield from style.paragraph(f"{word:<{_LABEL}}{text}", "  ", " " * (_LABEL + 2))


def _promise(budget: Budget) -> str:
    if budget.promise is None:
        return f"none in force yet; asked for: {budget.asked}"
    unit = budget.spec.get("unit", "")
    return f"{budget.promise} for each {unit or 'unit'} (revision {budget.promise.revision})"


def _worst(budget: Budget) -> str:
    found = budget.status.get("worstCasePerPerson")
    if not found:
        return "not said yet"
    reason = str(found.get("reason") or "").rstrip(".")
    bound = (
        f"epsilon {float(found['epsilon']):.4g} at delta {float(found['delta']):g}"
        if "epsilon" in found
        else "no bound"
    )
    return f"{bound}: {reason}" if reason else bound


def _guarantee(budget: Budget) -> str:
    holds = budget.guarantee
    if holds is None:
        return "not said yet"
    if holds:
        return "holds: no data was used outside accounting"
    tainted = budget.count("tainted") or 0
    return f"BROKEN for {tainted} tainted block{'' if tainted == 1 else 's'}, for good"


def _cut(budget: Budget) -> str:
    cut = budget.cut
    return (
        f"{cut.by}, each {cut.period}"
        if cut.period
        else f"{cut.by}, {cut.buckets} bucket{'s' if cut.buckets != 1 else ''}"
    )


def _ends(budget: Budget) -> str:
    first, last = budget.status.get("firstBlock"), budget.status.get("lastBlock")
    return f", {first} to {last}" if first and last and first != last else ""


def _ledger(row: Row) -> str:
    if row.chain is None:
        at = f"at entry {row.budget.head}" if row.budget.head else "no entry yet"
        return f"{at}, as the status says; you may not read the entries"
    if not row.chain.head:
        return "no entry"
    pruned = f", those before {row.chain.first} were exported and pruned" if row.chain.first > 1 else ""
    behind = behind_of(row)
    return f"at entry {row.chain.head}, {row.chain.entries} entries{pruned}{f'; {behind}' if behind else ''}"


def _blocks(budget: Budget) -> Iterator[str]:
    if not budget.fullest:
        yield "Blocks: nothing is used yet" if budget.promise else "Blocks: none yet"
        return
    many = len(budget.fullest)
    yield f"The {'fullest block' if many == 1 else f'{many} fullest blocks'}   (# spent, = reserved)"
    width = max(len(use.name) for use in budget.fullest)
    for use in budget.fullest:
        yield _block(use, width)


def _block(use: BlockUse, width: int) -> str:
    epsilon = f"epsilon {use.epsilon:.4g}" if use.epsilon is not None else "epsilon without bound"
    marks = [use.weakest or "", *(word for word in ("tainted", "retired") if getattr(use, word))]
    notes = "  ".join([epsilon, *(mark for mark in marks if mark)])
    colour = "red" if use.tainted or use.full else "yellow" if use.used > 80 else None
    line = f"  {style.printable(use.name):<{width}}  {bar(use)} {percent(use.used):>7}  {style.printable(notes)}"
    return style.coloured(line, colour) if colour else line


def bar(use: BlockUse) -> str:
    """``[#####====          ]``: spent and reserved parts of a block; anything above 0 shows."""
    total = min(_BAR, max(1 if use.used > 0 else 0, round(_BAR * use.used / 100)))
    if use.used < 100:
        total = min(total, _BAR - 1)
    held = min(total, max(1 if use.reserved > 0 else 0, round(_BAR * use.reserved / 100)))
    return f"[{'#' * (total - held)}{'=' * held}{' ' * (_BAR - total)}]"


def _taints(budget: Budget) -> Iterator[str]:
    found = budget.status.get("taints") or []
    if not found:
        return
    yield ""
    yield "Data used outside accounting, newest first"
    rows = [(str(one["job"]), str(one["reason"]), str(one["time"]), str(one["entry"])) for one in found]
    yield from (f"  {line}" for line in table([("JOB", "REASON", "TIME", "LEDGER ENTRY"), *rows]))


def _jobs(row: Row) -> Iterator[str]:
    used = [(job, use) for job in row.jobs if (use := job.of_budget(row.budget)) is not None]
    if not used:
        return
    yield ""
    yield f"Jobs in the namespace {row.where} that use it" if row.where else "Jobs that use it"
    rows = [_job(job, use) for job, use in used]
    yield from (f"  {line}" for line in table([("JOB", "STATE", "TAKES OF EACH BLOCK", "BLOCKS", "EPSILON"), *rows]))
    for job, use in used:
        if use.standing in ("WAITS", "REFUSED") and (waits := job.waits) is not None:
            yield from style.paragraph(f"{job.ref}: {waits.reason}: {waits.message}", "  ", "    ")


def _job(job: JobUse, use: Use) -> tuple[str, ...]:
    took_nothing = use.standing in ("GIVEN BACK", "NOT HELD")
    return (
        job.ref,
        use.standing,
        "nothing" if took_nothing else "-" if use.share is None else percent(100 * use.share),
        str(use.blocks),
        "-" if took_nothing or use.epsilon is None else f"{use.epsilon:.4g}",
    )


def _rules(budget: Budget) -> Iterator[str]:
    spec = budget.spec
    yield ""
    yield "Who may spend"
    assurance = spec.get("minimumAssurance") or "Declared"
    images = spec.get("reviewedImages") or ()
    reviewed = f", and one of {len(images)} reviewed images" if images else ""
    yield from _fact("assurance", f"{assurance} or better{reviewed}")
    quotas = spec.get("quotas") or ()
    said = "; ".join(f"{one['namespace']} up to {float(one['share']):.0%} of each block" for one in quotas)
    yield from _fact("quotas", f"{said}; no other namespace" if said else "none: first come, first served")
    yield from _fact("scheduling", scheduling(spec))
    yield from _fact("datasets", ", ".join(str(one) for one in spec.get("identities") or ()))


def scheduling(spec: Any) -> str:
    """Which waiting job gets budget next."""
    given = spec.get("scheduling") or {}
    text = str(given.get("policy") or "FCFS")
    unlocking = given.get("unlocking") or {}
    if unlocking.get("lifetime"):
        text += f", a block unlocks evenly over {unlocking['lifetime']}"
    elif unlocking.get("arrivals"):
        text += f", each job that asks unlocks 1/{unlocking['arrivals']} of a block"
    for one in given.get("preferences") or ():
        text += f", {one['namespace']} with priority {one.get('priority', 0)} and weight {one.get('weight', 1)}"
    if given.get("timeout"):
        text += f", a job that waits longer than {given['timeout']} is refused"
    return text


def page_json(row: Row) -> dict[str, Any]:
    """For programs: the columns of the overview, status and spec as they are, and the jobs."""
    return {
        **row.as_json(),
        "status": dict(row.budget.status),
        "spec": dict(row.budget.spec),
        "jobs": [job_json(job, row.budget) for job in row.jobs],
    }


def job_json(job: JobUse, budget: Budget) -> dict[str, Any]:
    """One job and what it takes of a budget."""
    use, waits = job.of_budget(budget), job.waits
    return {
        "namespace": job.namespace,
        "name": job.name,
        "state": use.state if use else None,
        "standing": use.standing if use else None,
        "ended": job.ended,
        "share": use.share if use else None,
        "blocks": use.blocks if use else None,
        "epsilon": use.epsilon if use else None,
        "delta": use.delta if use else None,
        "waits": None if waits is None else {"reason": waits.reason, "message": waits.message, "since": waits.since},
    }
