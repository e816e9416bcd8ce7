"""``mlprivacy verify ledger FILE…``: recomputes every balance of exported ledgers and names the first bad entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.budget.ledger.entry import Head
    from mlprivacy.budget.ledger.verify import DomainReport, LedgerReport, Line, Problem


@click.command("ledger")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="DOMAIN=SEQ:HASH",
    help="An entry known from elsewhere (a head that the collector recorded) that the chain must hold. Repeatable. "
    "Only "
    "this shows that the newest entries were cut off, or the whole chain was written anew.",
)
@click.option("--jobs", is_flag=True, help="With -o json: also what each attempt committed.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def ledger(files: tuple[str, ...], anchors: tuple[str, ...], jobs: bool, output: str) -> None:
    """Recompute every balance of exported ledgers, without a cluster, and name the first bad entry of each.

    FILES are exports (JSON lines), oldest first, or what `kubectl get ledgerentries.mlprivacy.dev -o json` printed.

    Exit code 0 when everything fits, 1 when something does not, 2 when the arguments are wrong.
    """
    from mlprivacy.budget.ledger.verify import Verifier, report_json  # noqa: PLC0415

    verifier = Verifier(jobs=jobs)
    known = [parse_anchor(text) for text in anchors]
    for file in files:
        for line in read(Path(file)):
            verifier.take(line)
    report = verifier.report(known)
    if not report.entries and not report.problems:
        raise CliError(f"There is no entry of a ledger in {', '.join(files)}.")
    if output == "json":
        click.echo(json.dumps(report_json(report), indent=2))
    else:
        _print(report)
    click.get_current_context().exit(0 if report.ok else 1)


def read(path: Path) -> Iterator[Line | Problem]:
    """The entries of a file: JSON lines, or one JSON document when its first line is not JSON by itself."""
    from mlprivacy.budget.ledger.verify import read_lines, read_list  # noqa: PLC0415

    with path.open("rb") as file:
        first = file.readline(1 << 20)
        file.seek(0)
        if _stands_alone(first):
            yield from read_lines(str(path), _lines(file))
        else:
            yield from read_list(str(path), file.read())


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each up to a bound; what is beyond it is passed over, so that memory is bounded."""
    from mlprivacy.budget.ledger.verify import MAX_LINE  # noqa: PLC0415

    while line := file.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1)


def _stands_alone(line: bytes) -> bool:
    """Whether a line is an object by itself, other than a List."""
    try:
        found: Any = json.loads(line)
    except ValueError:
        return False
    return not isinstance(found, dict) or "items" not in found


def parse_anchor(text: str) -> Head:
    """``clinic-patients=17:9f86…`` as a head.

    Raises:
        CliError: when it is not of that form.
    """
    from mlprivacy.budget.ledger.entry import Head  # noqa: PLC0415

    domain, _, rest = text.rpartition("=")
    sequence, _, digest = rest.partition(":")
    if not domain or not sequence.isdecimal() or len(sequence) > 15 or not digest:
        raise CliError(
            f"--anchor {text!r} is not of the form DOMAIN=SEQ:HASH, as in clinic-patients=12:4f5e…: SEQ is the number "
            "of an entry and HASH its hash, both of which `mlprivacy budget ledger` prints of the newest one."
        )
    return Head(domain, int(sequence), digest)


def _print(report: LedgerReport) -> None:
    from mlprivacy.cli.style import coloured, printable  # noqa: PLC0415

    for problem in report.problems:
        click.echo(f"{coloured('BAD', 'red', bold=True)}  {printable(str(problem))}")
    for one in report.domains:
        for line in _domain(one):
            click.echo(printable(line))
    word = coloured("verified", "green", bold=True) if report.ok else coloured("not verified", "red", bold=True)
    click.echo(
        f"{word}: {_many(report.entries, 'entry', 'entries')} of "
        f"{_many(len(report.domains), 'domain')}, {_many(len(report.problems), 'problem')}."
    )


def _many(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _domain(one: DomainReport) -> Iterator[str]:
    from mlprivacy.budget.ledger.summary import status_of  # noqa: PLC0415

    yield f"{one.domain}: good up to entry {one.head.sequence}, {one.head.hash}"
    if one.state is None or one.state.promise is None:
        return
    status, promise = status_of(one.state), one.state.promise
    counts = status["blocks"]
    yield (
        f"  promise {promise.revision}: epsilon {promise.epsilon}, delta {promise.delta} for each {promise.unit}; "
        f"{_many(counts['open'], 'block')} open, {counts['exhausted']} of them full, {counts['retired']} retired, "
        f"{counts['tainted']} tainted; {_many(status['reservations'], 'reservation')} held"
    )
    for use in status["fullest"][:5]:
        marks = "".join(f", {mark}" for mark in ("tainted", "retired") if use[mark])
        epsilon = f"epsilon {use['epsilon']:g}" if "epsilon" in use else "epsilon without bound"
        yield f"  {use['block']}: {use['usedPercent']:g} % used, {epsilon}{marks}"
    if (more := counts["open"] + counts["retired"] - len(status["fullest"][:5])) > 0:
        blocks = "block that is" if more == 1 else "blocks that are"
        yield f"  and {more} more {blocks} used no more than these; -o json has all"
    worst = status["worstCasePerPerson"]
    bound = f"epsilon {worst['epsilon']:g}" if "epsilon" in worst else "no bound"
    yield f"  worst case of a person: {bound} at delta {worst['delta']:g} ({worst['reason']})"
    if one.state.backwards:
        yield (
            f"  {one.state.backwards} entries bear a time before that of an earlier one, first "
            f"{one.state.first_backwards}: "
            "a writer's clock went back"
        )
