"""``mlprivacy controller``: runs the controller process."""

from __future__ import annotations

import asyncio

import click

from mlprivacy.cli.processes import Address, Logging, ProcessFailed, common, flag, run


@click.command()
@common
@flag("--health", type=Address(), default="0.0.0.0:8082", help="Where probes and metrics are served.")
@flag("--collector-url", help="The collector; its Service in the operator's namespace unless given.")
@flag("--tls-secret", default="mlprivacy-controller-tls", help="Secret with the client certificate.")
@flag("--dataplane-image", required=True, help="Image of seal probe, accountant and gateway, REPO@sha256:...")
@flag("--canary", help="Where seal probes knock, IP:TCP:UDP[,…]; the collector's Service unless given.")
@flag("--simulated-nodes", is_flag=True, help="Nodes run nothing (kwok): expect no heartbeats, and say so.")
@flag(
    "--sidecar-silent-after",
    type=click.IntRange(30, 86400),
    default=60,
    metavar="SECONDS",
    help="A job says so when the collector has not heard its sidecar for so long.",
)
@flag(
    "--sidecar-stop-after",
    type=click.IntRange(0, 86400),
    default=300,
    metavar="SECONDS",
    help="Training whose sidecar was not heard for so long is stopped; 0 never stops it.",
)
@flag(
    "--seal-deadline",
    type=click.IntRange(10, 600),
    default=60,
    metavar="SECONDS",
    help="How long a pod may take to be seen sealed before it fails.",
)
@flag(
    "--seal-retry",
    type=click.IntRange(5, 900),
    default=60,
    metavar="SECONDS",
    help="First pause before another attempt of training whose pod was not sealed; it doubles, up to 15 minutes.",
)
@flag(
    "--grace-period",
    type=click.IntRange(1, 60),
    default=30,
    metavar="SECONDS",
    help="How long the programs of a governed pod that is told to end may take.",
)
@flag(
    "--audit-retention-days",
    type=click.IntRange(0),
    metavar="DAYS",
    help="How long the storage of the audit log is promised to be kept; not known unless given.",
)
@flag(
    "--ledger-checkpoint-every",
    type=click.IntRange(100, 100_000),
    default=1000,
    metavar="ENTRIES",
    help="Entries of a privacy budget's ledger between one checkpoint and the next.",
)
@flag("--default-classes", is_flag=True, help="Make the DataClasses that ship where they are absent.")
@flag("--open-reports", is_flag=True, help="Write Reports of openreports.io where their definition is installed.")
@flag("--kueue", is_flag=True, help="Take part in the queues of Kueue where the cluster has it.")
@flag("--workers", type=click.IntRange(1, 64), default=4, help="Reconciles at a time.")
@flag("--admission-host", "admission_hosts", multiple=True, help="A further name of the admission server. Repeatable.")
@flag("--collector-host", "collector_hosts", multiple=True, help="A further name of the collector. Repeatable.")
def command(
    kubeconfig: str | None,
    namespace: str,
    log_level: str,
    log_format: str,
    health: tuple[str, int],
    collector_url: str | None,
    tls_secret: str,
    dataplane_image: str,
    canary: str | None,
    simulated_nodes: bool,
    sidecar_silent_after: int,
    sidecar_stop_after: int,
    seal_deadline: int,
    seal_retry: int,
    grace_period: int,
    audit_retention_days: int | None,
    ledger_checkpoint_every: int,
    default_classes: bool,
    open_reports: bool,
    kueue: bool,
    workers: int,
    admission_hosts: tuple[str, ...],
    collector_hosts: tuple[str, ...],
) -> None:
    """Run the controller: one is active (by a Lease), others wait."""
    from mlprivacy.audit.seal import CanaryAddress  # noqa: PLC0415
    from mlprivacy.controller.config import ControllerConfig  # noqa: PLC0415
    from mlprivacy.controller.main import LeaseLost, run_controller  # noqa: PLC0415
    from mlprivacy.controller.silence import Patience  # noqa: PLC0415

    if 0 < sidecar_stop_after < sidecar_silent_after:
        raise click.BadParameter(
            f"{sidecar_stop_after} is less than the {sidecar_silent_after} of --sidecar-silent-after, before which no "
            "sidecar is known to be silent. Give as much or more, or 0 to never stop training.",
            param_hint="--sidecar-stop-after",
        )
    if canary is not None:
        try:
            canary = ",".join(str(address) for address in CanaryAddress.parse_all(canary))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--canary") from None
    config = ControllerConfig(
        namespace=namespace,
        dataplane_image=dataplane_image,
        collector_url=collector_url or f"https://mlprivacy-collector.{namespace}.svc:8444",
        kubeconfig=kubeconfig,
        health_host=health[0],
        health_port=health[1],
        tls_secret=tls_secret,
        canary=canary,
        simulated_nodes=simulated_nodes,
        patience=Patience(sidecar_silent_after, sidecar_stop_after),
        seal_deadline_seconds=seal_deadline,
        seal_retry_seconds=seal_retry,
        grace_seconds=grace_period,
        audit_retention_days=audit_retention_days,
        checkpoint_every=ledger_checkpoint_every,
        default_classes=default_classes,
        open_reports=open_reports,
        kueue=kueue,
        workers=workers,
        admission_hosts=admission_hosts,
        collector_hosts=collector_hosts,
    )

    async def main(stop: asyncio.Event) -> None:
        try:
            await run_controller(config, stop)
        except LeaseLost as error:
            raise ProcessFailed(f"The lease was lost: {error}. Another controller may be active.") from error

    run(main, Logging(log_level, log_format))
