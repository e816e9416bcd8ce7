"""``mlprivacy approve``: shows an exception and what it lets through, and sends the approval of exactly that."""

from __future__ import annotations

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.confirm import confirmed
from mlprivacy.cli.errors import CliError


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Approve what is shown without asking; for scripts.")
@access_options
def command(name: str, yes: bool, access: Access) -> None:
    """Show a PolicyException and approve what was shown.

    \b
    mlprivacy approve diagnosis-epsilon

    The approval names the uid and the generation of what is shown. If the exception was changed or made anew meanwhile,
    the API server refuses the approval; look at it again. Needs the verb approve on policyexceptions.mlprivacy.dev, and
    another person than the one who asked. Exit code 1 when the answer is no, 2 where
    there is no terminal to ask on and no --yes.
    """
    from mlprivacy.cli import approving, cluster  # noqa: PLC0415 - a quick start for the other commands

    looked_at = cluster.run(access, lambda client: approving.look(client, name))
    for line in looked_at.lines():
        click.echo(line)
    if looked_at.approved:
        click.echo(f"The exception {name} is approved already; nothing is sent.")
        return
    if looked_at.ending:
        raise CliError(f"The exception {name} is being deleted; ask its requester for another one.")
    if not yes and not confirmed("Approve this?"):
        click.echo("It is not approved.")
        click.get_current_context().exit(1)
    cluster.run(access, lambda client: approving.approve(client, looked_at))
    click.echo(f"The exception {name} is approved until {looked_at.until}. `mlprivacy revoke {name}` ends it.")
