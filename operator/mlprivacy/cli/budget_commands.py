"""``mlprivacy budget status|ledger|approve|retire``: privacy budgets of a cluster, with the caller's own rights."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.confirm import confirmed
from mlprivacy.cli.errors import EXIT_HELD, EXIT_REFUSED, CliError

if TYPE_CHECKING:
    from mlprivacy.cli.budgets.entries import Ledgers
    from mlprivacy.cli.budgets.reading import Seen
    from mlprivacy.kube.client import KubeClient

WATCH_SECONDS: Final = 2.0

STATUS_EPILOG = """\b
Exit codes:
  0  it is shown, whatever it says
  2  the cluster can not be asked, or there is no such budget or job
  3  something may not be read, so this is not all"""

LEDGER_EPILOG = """\b
Exit codes:
  0  the file holds the ledger up to its newest entry
  1  it is written as it is, and an entry is missing or does not fit
  2  the cluster can not be asked, there is no such ledger, or the file can not be gone on with; nothing was written"""


@click.command(epilog=STATUS_EPILOG)
@click.argument("name", required=False, metavar="[NAME|DOMAIN]")
@click.option("--job", "job", metavar="[NAMESPACE/]NAME", help="What this TrainingJob takes or waits for.")
@click.option("-n", "--namespace", metavar="NAME", help="Of the jobs; that of the kubeconfig's context unless given.")
@click.option("-A", "--all-namespaces", is_flag=True, help="The jobs of every namespace.")
@access_options
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml", "csv"]), default="table", show_default=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the blocks' use (.svg or .png).")
@click.option("-w", "--watch", is_flag=True, help="Go on and show each change, until you stop it.")
def status(
    name: str | None,
    job: str | None,
    namespace: str | None,
    all_namespaces: bool,
    access: Access,
    output: str,
    plot: Path | None,
    watch: bool,
) -> None:
    """Show privacy budgets: all of them in a table, one in full, or one job's part.

    \b
    mlprivacy budget
    mlprivacy budget status patients -n research
    mlprivacy budget status --job research/diagnosis
    mlprivacy budget status -o csv --plot budgets.svg

    Of a budget: the promise, the 20 fullest blocks, what was used outside accounting, the jobs that use it or wait and
    for what, quotas, scheduling. It reads with your rights; entries of the ledger are read where you may.
    """
    from mlprivacy.cli import budget_plots, cluster  # noqa: PLC0415 - a quick start for the other commands
    from mlprivacy.cli.budgets import entries  # noqa: PLC0415

    if namespace and all_namespaces:
        raise CliError("Give either --namespace or --all-namespaces.")
    if job and (name or plot or all_namespaces or output == "csv"):
        raise CliError("--job shows one job; leave out the budget's name, --plot, -A and -o csv.")
    if watch and (plot or output == "csv"):
        raise CliError("--watch goes on; leave out --plot and -o csv.")
    if plot is not None:
        budget_plots.check(plot)

    ledgers = entries.Ledgers(_progress)  # with --watch, what is new alone is read again

    async def shown(client: KubeClient) -> tuple[str, int, Seen | None]:
        if job is not None:
            return await _job_shown(client, (job, namespace), ledgers, output, one_line=watch)
        return await _shown(client, (name, namespace, all_namespaces), output, one_line=watch)

    if watch:
        cluster.run(access, lambda client: _watch(client, shown, output))
        return
    text, code, seen = cluster.run(access, shown)
    click.echo(text)
    if plot is not None and seen is not None:
        from mlprivacy.cli.budgets import plot as plots  # noqa: PLC0415

        plots.draw(plot, seen.budgets)
    click.get_current_context().exit(code)


async def _job_shown(
    client: KubeClient, asked: tuple[str, str | None], ledgers: Ledgers, output: str, *, one_line: bool
) -> tuple[str, int, Seen | None]:
    """The text of one job, and the exit code."""
    from mlprivacy.cli.budgets import jobs, room  # noqa: PLC0415

    found = await jobs.look(client, *asked, room.utc_now(), ledgers)
    text = "\n".join(found.lines()) if output == "table" else _written(found.as_json(), output, one_line=one_line)
    return text, EXIT_HELD if found.unread else 0, None


async def _shown(
    client: KubeClient, asked: tuple[str | None, str | None, bool], output: str, *, one_line: bool
) -> tuple[str, int, Seen | None]:
    """The text, the exit code, and what was read of budgets."""
    from mlprivacy.cli.budgets import page, reading, view  # noqa: PLC0415

    name, namespace, every = asked
    seen = await reading.look(client, name, namespace, every_namespace=every)
    rows = view.rows_of(seen)
    if output == "csv":
        text = view.csv_text(rows).rstrip("\n")
    elif output in ("json", "yaml"):
        bodies = [page.page_json(row) for row in rows] if name else [row.as_json() for row in rows]
        text = _written({"budgets": bodies, "unread": list(seen.unread)}, output, one_line=one_line)
    elif name and rows:
        lines = [*view.unread_lines(seen)]
        for row in rows:
            lines += [*([""] if row is not rows[0] else []), *page.page_lines(row)]
        text = "\n".join(lines)
    else:
        text = "\n".join([*view.overview_lines(seen), *view.job_lines(seen)])
    return text, EXIT_HELD if seen.unread else 0, seen


def _written(body: Any, output: str, *, one_line: bool) -> str:
    if output == "json":
        return json.dumps(body, indent=None if one_line else 2, ensure_ascii=False)
    import yaml  # noqa: PLC0415

    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100).rstrip("\n")
    return f"---\n{text}" if one_line else text


async def _watch(
    client: KubeClient, shown: Callable[[KubeClient], Awaitable[tuple[str, int, Seen | None]]], output: str
) -> None:
    """Show what changes, for ever. An API server that is away for a while is told and asked again."""
    from mlprivacy.kube.errors import Unreachable  # noqa: PLC0415

    last: str | None = None
    while True:
        text = last
        try:
            text = (await shown(client))[0]
        except Unreachable as error:
            click.echo(f"The API server does not answer ({error.message}); it is asked again.", err=True)
        if text is not None and text != last:
            if output == "table" and sys.stdout.isatty():
                click.clear()
            elif output == "table" and last is not None:
                click.echo()
            click.echo(text)
            last = text
        await asyncio.sleep(WATCH_SECONDS)


@click.command(epilog=LEDGER_EPILOG)
@click.argument("domain", metavar="DOMAIN|NAME")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    help="Where to; goes on where an export ends. - is standard output.",
)
@access_options
def ledger(domain: str, output: str, access: Access) -> None:
    """Write the ledger of a subject domain into a file that `mlprivacy verify ledger` reads.

    \b
    mlprivacy budget ledger clinic-patients -o clinic.jsonl
    mlprivacy verify ledger clinic.jsonl

    The same command later adds what is new; so it does after it was stopped. A file that holds anything else, or that
    does not verify, is left as it is. Needs get on ledgerentries.mlprivacy.dev (the roles mlprivacy-privacy-officer and
    mlprivacy-auditor). What was pruned from the cluster is with the collector.
    """
    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.budgets import export  # noqa: PLC0415

    path = None if output == "-" else Path(output)
    if path is not None and path.is_dir():
        raise CliError(f"{path} is a folder; name a file.")

    async def write(client: KubeClient) -> tuple[export.Start, export.Written]:
        subject, unknown = await _domain(client, domain)
        start = export.Start(_none(subject)) if path is None else export.where_it_ends(path, subject)

        def opened() -> AbstractContextManager[BinaryIO]:
            return _Standard(sys.stdout.buffer) if path is None else export.append_to(path, start)

        done = await export.export(client, start, opened, _progress)
        if unknown is not None and not done.entries and not done.head.sequence:
            raise CliError(unknown)
        return start, done

    try:
        start, done = cluster.run(access, write)
    except OSError as error:
        raise CliError(f"{output} can not be written: {error.strerror}.") from error
    _told(output, start, done)
    click.get_current_context().exit(EXIT_REFUSED if done.problems else 0)


def _told(output: str, start: Any, done: Any) -> None:
    where, head = "" if output == "-" else f" to {output}", done.head
    for problem in done.problems[:10]:
        click.echo(f"BAD  {problem}", err=True)
    if not done.entries and not head.sequence:
        click.echo(f"The ledger of {head.subject_domain} has no entry; nothing is written.", err=True)
    elif not done.entries:
        click.echo(f"{output} is up to date: it ends with entry {head.sequence}, {head.hash}.", err=True)
    else:
        begun = f" after entry {start.head.sequence}" if start.head.sequence else ""
        click.echo(
            f"{done.entries} entries written{where}{begun}; the newest is {head.sequence}, {head.hash}.", err=True
        )


class _Standard(AbstractContextManager[BinaryIO]):
    """Standard output as a file that is not closed by whoever writes to it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def __enter__(self) -> BinaryIO:
        return self._out

    def __exit__(self, *exc: object) -> None:
        self._out.flush()


def _none(subject: str) -> Any:
    from mlprivacy.budget.ledger.entry import Head  # noqa: PLC0415

    return Head.none(subject)


async def _domain(client: KubeClient, name: str) -> tuple[str, str | None]:
    """The subject domain that is meant by it or by a budget's name, and what to say if it has no entry either.

    A domain whose budget was deleted has a ledger; a domain without a budget and without an entry is none.
    """
    from mlprivacy.cli.budgets.model import named  # noqa: PLC0415
    from mlprivacy.cli.budgets.reading import all_budgets, there_are  # noqa: PLC0415
    from mlprivacy.kube.errors import Forbidden  # noqa: PLC0415

    try:
        budgets = await all_budgets(client)
    except Forbidden:
        found, why = [], "No entry bears that name, and you may not list privacybudgets.mlprivacy.dev."
    else:
        found, why = named(budgets, name), there_are(budgets)
    domain = found[0].domain if found else name
    try:
        _none(domain)
    except ValueError as error:
        raise CliError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    return domain, None if found else f"There is no ledger, no PrivacyBudget and no subject domain {name}. {why}"


def _progress(done: int, whole: int) -> None:
    click.echo(f"{done:,} of {max(done, whole):,} entries", err=True)


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Approve what is shown without asking; for scripts.")
@access_options
def approve(name: str, yes: bool, access: Access) -> None:
    """Show a promise that was made larger, and approve it as the second person.

    \b
    mlprivacy budget approve patients

    The approval names epsilon, delta and notice version as they are shown; where they were changed meanwhile, the API
    server refuses it. Needs the verb approve on privacybudgets.mlprivacy.dev, and another person than who asked.
    Exit code 1 when the answer is no, or nothing waits; 2 where there is no terminal to ask on and no --yes.
    """
    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.budgets import changes, reading  # noqa: PLC0415

    budget = cluster.run(access, lambda client: reading.one_budget(client, name))
    if (why := changes.nothing_waits(budget)) is not None:
        click.echo(why)
        click.get_current_context().exit(0 if budget.approved else EXIT_REFUSED)
    for line in changes.approval_lines(budget):
        click.echo(line)
    if not yes and not confirmed("Approve this?"):
        click.echo("It is not approved.")
        click.get_current_context().exit(EXIT_REFUSED)
    cluster.run(access, lambda client: changes.send(client, budget, changes.approval_of(budget)))
    click.echo(f"Approved: {budget.asked}. `mlprivacy budget status {budget.name}` shows when the ledger has it.")


@click.command()
@click.argument("name")
@click.argument("blocks", nargs=-1, required=True, metavar="BLOCK...")
@click.option("--yes", is_flag=True, help="Retire without asking; for scripts.")
@access_options
def retire(name: str, blocks: tuple[str, ...], yes: bool, access: Access) -> None:
    """Let blocks of a budget take no job any more. They stay so for good.

    \b
    mlprivacy budget retire patients 2025-W01 2025-W02
    mlprivacy budget retire patients 2025-W01..2025-W26
    mlprivacy budget retire members 7

    A range is one entry of spec.retired, which takes 256 of them. Only blocks that there are by now can be named.

    Exit code 1 when the answer is no; 2 for a block that is none, and where there is no terminal to ask on and no
    --yes.
    """
    from mlprivacy.cli import cluster  # noqa: PLC0415
    from mlprivacy.cli.budgets import changes, reading, room  # noqa: PLC0415

    budget = cluster.run(access, lambda client: reading.one_budget(client, name))
    new, known = changes.wanted_blocks(budget, blocks, room.utc_now())
    if not new:
        click.echo(f"Retired already: {', '.join(known)}. Nothing is sent.")
        return
    for line in changes.retire_lines(budget, new, known):
        click.echo(line)
    many = changes.how_many(budget, new)
    if not yes and not confirmed(f"Retire {many} block{'' if many == 1 else 's'} for good?"):
        click.echo("Nothing is retired.")
        click.get_current_context().exit(EXIT_REFUSED)
    cluster.run(access, lambda client: changes.send(client, budget, changes.retirement_of(budget, new)))
    click.echo(f"Asked for. `mlprivacy budget status {budget.name}` shows them as retired once the ledger has it.")
