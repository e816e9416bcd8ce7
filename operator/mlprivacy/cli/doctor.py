"""``mlprivacy doctor``: looks an installation over; one line per finding, each with what to do."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.cli.checks.base import Check, Result
    from mlprivacy.kube.client import KubeClient

_EVERY = 2.0  # seconds between two looks of --wait


def _namespace() -> str:
    from mlprivacy.cli.processes import own_namespace  # noqa: PLC0415

    return own_namespace()


@click.command()
@access_options
@click.option("-n", "--namespace", default=_namespace, envvar="MLPRIVACY_NAMESPACE", help="The operator's namespace.")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Look again until nothing is bad."
)
@click.option("--only", multiple=True, metavar="CHECK", help="Do this check alone. Repeatable; --list names them.")
@click.option("--list", "list_checks", is_flag=True, help="List the checks.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(access: Access, namespace: str, wait: float, only: tuple[str, ...], list_checks: bool, output: str) -> None:
    """Look an installation over and say what to do.

    Writes nothing (one job is created as a dry-run, to see that the webhooks answer). Exit code 0 when nothing is bad,
    1 when something is, 2 when the cluster can not be asked.
    """
    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.checks import all_checks  # noqa: PLC0415

    checks = all_checks()
    if list_checks:
        for check in checks:
            click.echo(f"{check.name:<14} {check.title}")
        return
    unknown = set(only) - {check.name for check in checks}
    if unknown:
        raise CliError(f"There is no check {', '.join(sorted(unknown))}; --list names them.")
    chosen = [check for check in checks if not only or check.name in only]
    results = cluster.run(access, lambda client: examine(client, namespace, chosen, wait))
    healthy = not _bad(results)
    if output == "json":
        body = [{"check": r.check, "level": r.level.value, "message": r.message, "remedy": r.remedy} for r in results]
        click.echo(json.dumps({"ok": healthy, "results": body}, indent=2))
    else:
        _print(results)
    click.get_current_context().exit(0 if healthy else 1)


def _bad(results: list[Result]) -> list[Result]:
    return [result for result in results if result.level == "bad"]


async def examine(client: KubeClient, namespace: str, checks: list[Check], wait: float) -> list[Result]:
    """The results of the last look: the first without anything bad, or the one at the end of ``wait`` seconds.

    Raises:
        ApiError: when the API server does not answer, after ``wait`` seconds.
    """
    from mlprivacy.cli.checks.base import Site, look_at_all  # noqa: PLC0415
    from mlprivacy.kube.errors import Unreachable  # noqa: PLC0415

    end = time.monotonic() + wait
    while True:
        try:
            results = await look_at_all(checks, Site(client, namespace))
        except Unreachable:
            if time.monotonic() >= end:
                raise
        else:
            if not _bad(results) or time.monotonic() >= end:
                return results
        await asyncio.sleep(min(_EVERY, max(0.0, end - time.monotonic())))


def _print(results: list[Result]) -> None:
    from mlprivacy.cli.style import coloured, paragraph  # noqa: PLC0415

    colours = {"ok": "green", "skip": "blue", "warn": "yellow", "bad": "red"}
    for result in results:
        lines = list(paragraph(f"{result.check:<13} {result.message}", "", " " * 19))
        word = coloured(f"{result.level.value:<5}", colours[result.level.value], bold=result.level == "bad")
        click.echo(f"{word}{lines[0]}")
        for line in lines[1:]:
            click.echo(line)
        if result.remedy:
            for line in paragraph(f"To do: {result.remedy}.", " " * 19):
                click.echo(line)
    count = len(_bad(results))
    warnings = sum(1 for result in results if result.level == "warn")
    click.echo(f"{count} bad, {warnings} to look at, {len(results)} line{'s' * (len(results) != 1)} in all.")
