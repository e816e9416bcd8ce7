"""``mlprivacy scan``: the jobs of a namespace or a cluster in a table: what was decided, and what Enforce would do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.cli.scanning import Scan
    from mlprivacy.kube.client import KubeClient

EPILOG = """\b
Exit codes:
  0  every job is listed, whatever was decided on it
  2  the cluster can not be asked
  3  something that decisions rest on may not be read, so what Enforce would do is not known"""


@click.command(epilog=EPILOG)
@click.option("-n", "--namespace", metavar="NAME", help="Only its jobs; that of the kubeconfig's context unless given.")
@click.option("-A", "--all-namespaces", is_flag=True, help="The jobs of every namespace.")
@access_options
@click.option(
    "--operator-namespace",
    default="mlprivacy-system",
    show_default=True,
    help="Where packs and registers of privacy training lie.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(namespace: str | None, all_namespaces: bool, access: Access, operator_namespace: str, output: str) -> None:
    """List the jobs of a cluster: what the operator decided, and what Enforce would make of it.

    \b
    mlprivacy scan -n research
    mlprivacy scan -A

    Under Enforce means: decided here, as if every governed namespace were labelled `enforce` and every policy had the
    mode Enforce. Rules in that column would refuse or hold. `mlprivacy policy diff` asks for other changes.
    """
    from mlprivacy.cli import cluster, scanning  # noqa: PLC0415 - a quick start for the other commands

    if namespace and all_namespaces:
        raise CliError("Give either --namespace or --all-namespaces.")

    async def look(client: KubeClient) -> Scan:
        where = None if all_namespaces else namespace or client.namespace or "default"
        return scanning.scan(await cluster.everything(client, operator_namespace, of=where), operator_namespace)

    found = cluster.run(access, look)
    if output == "json":
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        for line in found.lines():
            click.echo(line)
    click.get_current_context().exit(found.exit_code)
