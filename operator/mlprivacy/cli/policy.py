"""``mlprivacy policy``: what policies and packs make of jobs, compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.cli.policydiff import Comparison

EPILOG = """\b
Exit codes:
  0  every job is decided as before (findings that do not change a decision are shown)
  1  a job is decided otherwise: another verdict, or other controls
  2  bad input: a file can not be read, or there is no job to decide on

A pack here is a file that is one, or a ConfigMap that holds one; a file may bear the name of a built-in pack, to
compare a version of it that does not ship yet. PrivacyPolicies among the files of -f count only where neither side has
one."""


@click.group()
def command() -> None:
    """Compare policies and packs: which jobs they decide otherwise, and why."""


@command.command(epilog=EPILOG)
@click.argument("sides", nargs=-1, required=True, metavar="[OLD] NEW")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE|DIR",
    help="The jobs to decide on, and what they refer to. Repeatable.",
)
@click.option("--cluster", "live", is_flag=True, help="OLD is what is in the cluster, and its jobs are decided on.")
@click.option("--kubeconfig", envvar="MLPRIVACY_KUBECONFIG", help="With --cluster: path of the kubeconfig.")
@click.option(
    "--operator-namespace",
    default="mlprivacy-system",
    show_default=True,
    help="Where packs and registers of privacy training lie.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of objects that name none.")
@click.option("--default-mode", type=click.Choice(["enforce", "warn", "audit"]), help="As in check.")
@click.option("--now", metavar="TIME", help="Decide at this moment (RFC 3339, or a day) instead of the present.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(
    sides: tuple[str, ...],
    files: tuple[str, ...],
    live: bool,
    kubeconfig: str | None,
    operator_namespace: str,
    namespace: str,
    default_mode: str | None,
    now: str | None,
    output: str,
) -> None:
    """Say which jobs are decided otherwise under NEW than under OLD.

    OLD and NEW are files or folders that hold PrivacyPolicies and packs.

    \b
    mlprivacy policy diff policies/ proposal/ -f examples/clinic
    mlprivacy policy diff packs/acme-1.yaml packs/acme-2.yaml -f examples/clinic --now 2027-12-02
    mlprivacy policy diff proposal/ --cluster
    """
    from mlprivacy.cli import offline, policydiff  # noqa: PLC0415 - a quick start for the other commands

    if len(sides) != (1 if live else 2):
        raise CliError("Name NEW alone with --cluster, which is OLD then; without it name OLD and NEW.")
    settings = offline.Settings(offline.parse_now(now), {}, default_mode, operator_namespace=operator_namespace)
    before = None
    if live:
        from mlprivacy.cli import cluster  # noqa: PLC0415

        before = cluster.run(kubeconfig, lambda client: cluster.everything(client, operator_namespace))
    comparison = policydiff.compare(
        before or sides[0], sides[-1], files, settings=settings, default_namespace=namespace
    )
    if output == "json":
        click.echo(json.dumps(comparison.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(comparison)
    click.get_current_context().exit(comparison.exit_code)


def _print(comparison: Comparison) -> None:
    for line in comparison.lines():
        click.echo(line)
