"""Settings of the controller process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mlprivacy.controller.kueue.asks import Asks
from mlprivacy.controller.silence import Patience
from mlprivacy.controller.writes import Write


def _nothing(_: Write) -> None:
    return None


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of the controller.

    ``canary`` is ``IP:TCP:UDP``, comma-separated; when None the ClusterIPs of the collector's Service are used.
    ``simulated_nodes`` says that nodes run nothing (kwok): no heartbeat is expected, and status says so. ``patience``
    is that with sidecars that are not heard. ``seal_deadline_seconds`` is how long a seal probe waits for its pod to
    be sealed, ``seal_retry_seconds`` the first pause before another attempt of a job that was not.
    ``grace_seconds`` is how long the programs of a governed pod that is told to end may take.
    ``audit_retention_days`` is how long the audit log is promised to be kept; None is not known.
    ``default_classes`` makes the DataClasses that ship where they are absent. ``open_reports`` writes Reports of
    openreports.io where their definition is installed. ``kueue`` takes part in the queues of Kueue where the cluster
    has it; ``asks`` is asked for privacy budget on behalf of its check, in place of what the controller keeps.
    ``checkpoint_every`` is how many entries of a ledger come between one checkpoint and the next.
    ``after_write`` is called after each API write of a reconcile; tests end the process there.
    """

    namespace: str
    dataplane_image: str
    collector_url: str
    kubeconfig: str | None = None
    health_host: str = "0.0.0.0"
    health_port: int = 8082
    tls_secret: str = "mlprivacy-controller-tls"  # noqa: S105 - a Secret's name
    canary: str | None = None
    simulated_nodes: bool = False
    workers: int = 8
    admission_hosts: tuple[str, ...] = ()
    collector_hosts: tuple[str, ...] = ()
    webhooks: bool = True
    identity: str | None = None
    default_ttl_seconds: int | None = None
    patience: Patience = field(default_factory=Patience)
    seal_deadline_seconds: int = 60
    seal_retry_seconds: int = 60
    grace_seconds: int = 30
    audit_retention_days: int | None = None
    default_classes: bool = False
    open_reports: bool = False
    kueue: bool = False
    asks: Asks | None = None
    checkpoint_every: int = 1000
    after_write: Callable[[Write], None] = _nothing
