"""``mlprivacy policy``: what policies and packs make of jobs, compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.installation import CHART_RETENTION_DAYS

if TYPE_CHECKING:
    from mlprivacy.cli.policydiff import Comparison, Live

EPILOG = """\b
Exit codes, the first that holds:
  2  bad input: a file can not be read, or there is no job to decide on
  3  something could not be seen, an object that you may not read or a namespace that no file holds: what is listed may
     be wrong, and what is not listed too
  1  a job is decided otherwise: another verdict, or other controls
  0  every job is decided as before (findings that do not change a decision are shown)

Policies are merged by name, as `kubectl apply` does: with --cluster those of NEW change the live ones or are added to
them, and a live one that NEW does not name stays; --delete asks what deleting one would do. Without --cluster OLD and
NEW each hold all policies there are.

A pack here is a file that is one, or a ConfigMap that holds one; a file may bear the name of a built-in pack, to
compare a version of it that does not ship yet. PrivacyPolicies among the files of -f count only where neither side has
one."""


@click.group()
def command() -> None:
    """Compare policies and packs: which jobs they decide otherwise, and why."""


@command.command(epilog=EPILOG)
@click.argument("sides", nargs=-1, metavar="[[OLD] NEW]")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE|DIR",
    help="The jobs to decide on, and what they refer to. Repeatable.",
)
@click.option("--cluster", "live", is_flag=True, help="OLD is what is in the cluster, and its jobs are decided on.")
@click.option(
    "--namespace-label",
    "namespace_labels",
    multiple=True,
    metavar="NS=MODE",
    help="Under NEW the namespace NS is labelled mlprivacy.dev/enforce=MODE (enforce, warn, audit). Repeatable.",
)
@click.option(
    "--delete", "deleted", multiple=True, metavar="NAME", help="Under NEW this PrivacyPolicy is gone. Repeatable."
)
@access_options
@click.option(
    "--operator-namespace",
    default="mlprivacy-system",
    show_default=True,
    help="Where packs and registers of privacy training lie.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of objects that name none.")
@click.option("--default-mode", type=click.Choice(["enforce", "warn", "audit"]), help="As in check.")
@click.option(
    "--audit-retention-days",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Decide as if the installation kept its audit log for so long. With --cluster it is what the installation "
    f"says unless set, else what the chart sets: {CHART_RETENTION_DAYS}.",
)
@click.option("--now", metavar="TIME", help="Decide at this moment (RFC 3339, or a day) instead of the present.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def diff(
    sides: tuple[str, ...],
    files: tuple[str, ...],
    live: bool,
    namespace_labels: tuple[str, ...],
    deleted: tuple[str, ...],
    access: Access,
    operator_namespace: str,
    namespace: str,
    default_mode: str | None,
    audit_retention_days: int | None,
    now: str | None,
    output: str,
) -> None:
    """Say which jobs are decided otherwise under NEW than under OLD.

    OLD and NEW are files or folders that hold PrivacyPolicies, packs and whatever else is changed, such as Namespaces.
    NEW may be left out where --namespace-label or --delete says what changes.

    \b
    mlprivacy policy diff --cluster --namespace-label research=enforce   # what would Enforce refuse there?
    mlprivacy policy diff --cluster --delete clinic                      # what does that policy do?
    mlprivacy policy diff proposal/ --cluster
    mlprivacy policy diff policies/ proposal/ -f examples/clinic
    mlprivacy policy diff packs/acme-1.yaml packs/acme-2.yaml -f examples/clinic --now 2027-12-02
    """
    from mlprivacy.cli import offline, policydiff  # noqa: PLC0415 - a quick start for the other commands

    proposal = policydiff.Proposal(offline.parse_modes(namespace_labels), deleted)
    old, new = _sides(sides, live=live, changes=bool(namespace_labels or deleted))
    before: str | Live | None = old
    days = audit_retention_days
    if live:
        from mlprivacy.cli import cluster  # noqa: PLC0415

        before = found = cluster.run(access, lambda client: cluster.everything(client, operator_namespace))
        days = found.audit_retention_days if days is None else days
    elif days is None:
        days = CHART_RETENTION_DAYS
    settings = offline.Settings(
        offline.parse_now(now), {}, default_mode, audit_retention_days=days, operator_namespace=operator_namespace
    )
    comparison = policydiff.compare(
        before, new, files, settings=settings, proposal=proposal, default_namespace=namespace
    )
    if output == "json":
        click.echo(json.dumps(comparison.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(comparison)
    click.get_current_context().exit(comparison.exit_code)


def _sides(sides: tuple[str, ...], *, live: bool, changes: bool) -> tuple[str | None, str | None]:
    """OLD and NEW as far as they are files. Raises CliError when there are too many or too few."""
    match sides, live, changes:
        case [], _, True:
            return None, None
        case [new], True, _:
            return None, new
        case [old], False, True:
            return old, None
        case [old, new], False, _:
            return old, new
    raise CliError(
        "Name NEW alone with --cluster, which is OLD then; without it name OLD and NEW. NEW may be left out only where "
        "--namespace-label or --delete says what changes."
    )


def _print(comparison: Comparison) -> None:
    for line in comparison.lines():
        click.echo(line)
