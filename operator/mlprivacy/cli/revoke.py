"""``mlprivacy revoke``: takes the approval of an exception back."""

from __future__ import annotations

import click

from mlprivacy.cli.access import Access, access_options


@click.command()
@click.argument("name")
@access_options
def command(name: str, access: Access) -> None:
    """Take the approval of a PolicyException back.

    \b
    mlprivacy revoke diagnosis-epsilon

    A running job that needs it is suspended. Needs the verb approve on policyexceptions.mlprivacy.dev. Another approval
    is possible afterwards.
    """
    from mlprivacy.cli import approving, cluster  # noqa: PLC0415 - a quick start for the other commands

    cluster.run(access, lambda client: approving.revoke(client, name))
    click.echo(f"The exception {name} is revoked. A running job that needs it is suspended.")
