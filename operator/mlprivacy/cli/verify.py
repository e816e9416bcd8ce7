"""``mlprivacy verify``: recomputes an audit log (``verify PATH``) or exported ledgers (``verify ledger FILE…``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlprivacy.cli.errors import CliError
from mlprivacy.cli.ledgers import ledger

if TYPE_CHECKING:
    from mlprivacy.audit.chain import Head
    from mlprivacy.audit.verify import VerifyReport


class PathOrCommand(click.Group):
    """A group that takes a path for `audit PATH`, as it was before there was anything else to verify."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``audit`` before what is neither a command nor a request for help. A lone name that exists is a path."""
        lone = len(args) == 1 and Path(args[0]).exists()
        if args and args[0] not in ("-h", "--help") and (lone or args[0] not in self.commands):
            args = ["audit", *args]
        return super().parse_args(ctx, args)


@click.group(cls=PathOrCommand, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Recompute what was recorded, from files alone: an audit log, or exported ledgers of privacy budgets.

    `mlprivacy verify PATH` is short for `mlprivacy verify audit PATH`. Exit code 0 when everything fits, 1 when
    something does not, 2 when the arguments are wrong.
    """


command.add_command(ledger)


@command.command("audit")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="WRITER=SEQ:HASH",
    help="A record known from elsewhere (a receipt, a head noted before) that the chain must hold. Repeatable. Only "
    "this shows that the newest records were cut off.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def audit(path: Path, anchors: tuple[str, ...], output: str) -> None:
    """Recompute an audit log (a folder, or a file of JSON lines) and name the first bad record of each chain.

    Exit code 0 when everything fits, 1 when something does not, 2 when the arguments are wrong.
    """
    from mlprivacy.audit.verify import verify  # noqa: PLC0415

    report = verify(path, anchors=dict(parse_anchor(text) for text in anchors))
    if output == "json":
        click.echo(json.dumps(as_json(report), indent=2))
    else:
        _print(report)
    click.get_current_context().exit(0 if report.ok else 1)


def parse_anchor(text: str) -> tuple[str, Head]:
    """``controller=17:9f86…`` -> writer and head.

    Raises:
        CliError: when it is not of that form.
    """
    from mlprivacy.audit.chain import Head  # noqa: PLC0415

    writer, _, rest = text.rpartition("=")
    seq, _, digest = rest.partition(":")
    if not writer or not seq.isdecimal() or not digest:
        raise CliError(f"--anchor {text!r} is not of the form WRITER=SEQ:HASH.")
    return writer, Head(writer, int(seq), digest)


def as_json(report: VerifyReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "ok": report.ok,
        "records": report.records,
        "files": report.files,
        "heads": [{"writer": head.writer, "seq": head.seq, "hash": head.hash} for head in report.heads],
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "seq": problem.seq,
                "writer": problem.writer,
                "wrong": problem.wrong.value,
                "message": problem.message,
            }
            for problem in report.problems
        ],
        "setAside": list(report.set_aside),
    }


def _print(report: VerifyReport) -> None:
    from mlprivacy.cli.style import coloured, printable  # noqa: PLC0415

    for problem in report.problems:
        click.echo(f"{coloured('BAD', 'red', bold=True)}  {printable(str(problem))}")
    for head in report.heads:
        click.echo(f"{head.writer}: good up to record {head.seq}, {head.hash}")
    for name in report.set_aside:
        click.echo(f"set aside after a crash: {name}")
    word = coloured("verified", "green", bold=True) if report.ok else coloured("not verified", "red", bold=True)
    click.echo(f"{word}: {report.records} records in {report.files} files, {len(report.problems)} problems.")
