"""``mlprivacy admission``: runs the admission server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mlprivacy.cli.processes import Address, Logging, common, flag, run


@click.command()
@common
@flag("--listen", type=Address(), default="0.0.0.0:8443", help="Where the API server's reviews are answered.")
@flag("--health", type=Address(), default="0.0.0.0:8081", help="Where probes and metrics are served.")
@flag("--tls-secret", default="mlprivacy-admission-tls", help="Secret with certificate, key and CA.")
@flag(
    "--client-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file of the CA of the API server's client certificate; switches mutual TLS on.",
)
@flag("--client-name", default="kube-apiserver", help="Common name of the API server's client certificate.")
@flag(
    "--dataplane-image",
    "dataplane_images",
    multiple=True,
    help="Image of this release's data plane, and of the one before. Repeatable.",
)
@flag(
    "--audit-retention-days",
    type=click.IntRange(0),
    metavar="DAYS",
    help="How long the storage of the audit log is promised to be kept; not known unless given.",
)
@flag("--collector-url", help="Where records of decisions are sent; none are sent unless given.")
def command(
    kubeconfig: str | None,
    namespace: str,
    log_level: str,
    log_format: str,
    listen: tuple[str, int],
    health: tuple[str, int],
    tls_secret: str,
    client_ca: Path | None,
    client_name: str,
    dataplane_images: tuple[str, ...],
    audit_retention_days: int | None,
    collector_url: str | None,
) -> None:
    """Run the admission server: every replica serves."""
    from mlprivacy.admission.config import AdmissionConfig  # noqa: PLC0415
    from mlprivacy.admission.main import run_admission  # noqa: PLC0415

    config = AdmissionConfig(
        listen=joined(listen),
        health=joined(health),
        namespace=namespace,
        tls_secret=tls_secret,
        client_ca=client_ca,
        client_name=client_name,
        kubeconfig=kubeconfig,
        dataplane_images=dataplane_images,
        audit_retention_days=audit_retention_days,
        collector_url=collector_url,
        collector_tls_secret=tls_secret,
    )

    async def main(stop: asyncio.Event) -> None:
        await run_admission(config, stop)

    run(main, Logging(log_level, log_format))


def joined(address: tuple[str, int]) -> str:
    """``HOST:PORT`` again, an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
