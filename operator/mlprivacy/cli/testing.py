"""``mlprivacy test``: runs policy fixtures, each a folder with a case, its objects and what must be decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlprivacy.cli.errors import EXIT_BAD_INPUT, CliError

if TYPE_CHECKING:
    from mlprivacy.cli.cases import Result

EXIT_PASSED = 0
EXIT_FAILED = 1

EPILOG = """\b
A case is a folder with case.yaml and, beside it, objects.yaml:
  name: a job for marketing is refused
  now: 2026-06-01T12:00:00Z       # the moment to judge at
  job: diagnosis                  # needed where the objects hold several jobs
  facts: {capabilities: [gateway-proxy]}   # what no object says; may be left out
  allowInvalid: false             # true: judge objects with wrong fields, as a cluster may hold them
  expect:
    verdict: Deny                 # Allow, Hold or Deny
    mode: Enforce                 # may be left out
    findings:                     # each must be there; only the fields given are compared
      - {rule: purpose-limitation, action: Deny, path: spec.purpose, pack: eu-gdpr}
    absent: [residency]           # rules that must find nothing
    only: false                   # true: no finding besides those listed
Every other YAML or JSON file in the folder holds objects, as for `mlprivacy check`.

\b
The facts that a case may state, since no object says them:
  auditRetentionDays   days for which the installation keeps its audit log; 2192, as the chart has it, unless
                       stated, and null where it is not known
  capabilities         the controls in force; sealed-egress alone unless stated
  attestations         privacy training, by person: {alice: "2027-01-01"}
  badPacks             packs that can not be used, by name, with the reason
  rooms                what the ledger says of the job, by subject domain: {clinic: {held: true}}, or
                       {clinic: {never: WHY, largest: EPSILON}}; not known unless stated

\b
Exit codes:
  0  every case passed
  1  a case failed
  2  bad input: a case or its objects can not be read, or there is no case"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also write JUnit XML to FILE."
)
@click.option("-v", "--verbose", is_flag=True, help="Name the cases that passed, too.")
def command(paths: tuple[Path, ...], output: str, junit: Path | None, verbose: bool) -> None:
    """Run policy fixtures: facts and a job, and the decision that is expected.

    Looks for cases in and below each DIR. The decision is the one that `mlprivacy check` and the operator make. Nothing
    is written but the JUnit file; expectations are never updated.
    """
    from mlprivacy.cli import cases, offline  # noqa: PLC0415 - a quick start for the other commands

    for path in paths:
        if not path.exists():
            raise CliError(f"{path} does not exist; name folders with cases.")
    folders = cases.find(paths)
    if not folders:
        raise CliError(
            f"There is no {cases.CASE} in or below {', '.join(map(str, paths))}; `mlprivacy test --help` shows one."
        )
    with offline.custom_rules() as custom:
        results = [cases.run(folder, custom) for folder in folders]
    if junit is not None:
        from mlprivacy.cli.junit import report  # noqa: PLC0415

        try:
            junit.write_text(report(results), encoding="utf-8")
        except OSError as error:
            raise CliError(f"{junit} can not be written: {error.strerror}.") from error
    if output == "json":
        click.echo(json.dumps(as_json(results), indent=2, ensure_ascii=False))
    else:
        print_text(results, verbose=verbose)
    click.get_current_context().exit(exit_code(results))


def exit_code(results: Sequence[Result]) -> int:
    """2 when a case could not be run, else 1 when one failed, else 0."""
    outcomes = {result.outcome for result in results}
    if "error" in outcomes:
        return EXIT_BAD_INPUT
    return EXIT_FAILED if "failed" in outcomes else EXIT_PASSED


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Everything for programs."""
    return {
        "exitCode": exit_code(results),
        "cases": [
            {
                "folder": str(result.folder),
                "name": result.name,
                "outcome": result.outcome,
                "seconds": round(result.seconds, 6),
                "problems": list(result.problems),
                "differences": [{"what": d.what, "expected": d.expected, "found": d.found} for d in result.differences],
                "decision": result.decision.as_dict() if result.decision else None,
            }
            for result in results
        ],
    }


def print_text(results: Sequence[Result], *, verbose: bool) -> None:
    """Each case that did not pass with what was expected and what was found, then a line that counts."""
    from mlprivacy.cli import style  # noqa: PLC0415

    colours = {"passed": "green", "failed": "red", "error": "red"}
    for result in results:
        if result.outcome == "passed" and not verbose:
            continue
        word = style.coloured(f"{result.outcome.upper():<7}", colours[result.outcome], bold=True)
        click.echo(f"{word} {style.printable(f'{result.folder}: {result.name}')}")
        for problem in result.problems:
            for line in style.paragraph(problem, "        ", "          "):
                click.echo(line)
        for difference in result.differences:
            click.echo(f"        {difference.what}")
            for sign, text in (("-", difference.expected), ("+", difference.found)):
                colour = "red" if sign == "-" else "green"
                for line in style.paragraph(text, f"          {sign} ", "            "):
                    click.echo(style.coloured(line, colour))
        if result.differences and result.decision is not None:
            shown = [f for f in result.decision.findings if not style.only_recorded(f, result.decision.mode)]
            click.echo(f"        decided {result.decision.verdict}{', by' if shown else ' without a finding'}")
            for finding in shown:
                text = f"{finding.action.value} {finding.rule}  {finding.path}: {finding.message}"
                for line in style.paragraph(text, "          ", "            "):
                    click.echo(line)
    click.echo(summary(results))


def summary(results: Sequence[Result]) -> str:
    """One line that counts."""
    counts = {word: sum(r.outcome == word for r in results) for word in ("passed", "failed", "error")}
    total = len(results)
    text = f"{total} case{'' if total == 1 else 's'}: {counts['passed']} passed, {counts['failed']} failed"
    if counts["error"]:
        text += f", {counts['error']} could not be run"
    return f"{text} ({sum(r.seconds for r in results):.2f} s)."
