"""``mlprivacy collector``: runs the collector process with its certificate, key and pods from the cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mlprivacy.cli.processes import Address, Logging, common, flag, run


@click.command()
@common
@flag("--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the audit log.")
@flag("--listen", type=Address(), default="0.0.0.0:8444", help="Where records are received (mutual TLS).")
@flag("--health", type=Address(), default="0.0.0.0:8083", help="Where probes and metrics are served.")
@flag("--canary-listen", type=Address(), default="0.0.0.0:15019", help="Where the canary answers, TCP and UDP.")
@flag("--tls-secret", default="mlprivacy-collector-tls", help="Secret with certificate, key and CA.")
@flag("--simulated-nodes", is_flag=True, help="Nodes run nothing (kwok): pull from no pod.")
def command(
    kubeconfig: str | None,
    namespace: str,
    log_level: str,
    log_format: str,
    data: Path,
    listen: tuple[str, int],
    health: tuple[str, int],
    canary_listen: tuple[str, int],
    tls_secret: str,
    simulated_nodes: bool,
) -> None:
    """Run the collector: receives audit records, confirms seals, pulls from governed pods."""
    from mlprivacy.cli.collecting import Collecting, collect  # noqa: PLC0415

    settings = Collecting(
        namespace=namespace,
        kubeconfig=kubeconfig,
        directory=data,
        listen=listen,
        health=health,
        canary=canary_listen,
        tls_secret=tls_secret,
        pull=not simulated_nodes,
    )

    async def main(stop: asyncio.Event) -> None:
        await collect(settings, stop)

    run(main, Logging(log_level, log_format))
