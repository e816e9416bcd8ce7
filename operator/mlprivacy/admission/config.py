"""Settings of the admission process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AdmissionConfig:
    """Settings of the admission process. Addresses are ``HOST:PORT``; port 0 takes a free one.

    ``client_ca`` (PEM file) switches mutual TLS on: then only a client whose certificate it signed and whose common
    name is ``client_name`` is answered. ``stale_seconds`` is how long decisions go on without a word from the API
    server. ``drain_seconds`` is how long it goes on serving after readiness dropped, ``finish_seconds`` how long
    requests under way may take after that. ``peer_requests_per_second`` bounds each address where clients are not
    authenticated. ``dataplane_images`` are the images of this release and the one before, by digest; empty leaves
    the image to the guard policies. ``collector_url`` switches audit records of decisions on. ``audit_retention_days``
    is how long the audit log is promised to be kept; None is not known.
    """

    listen: str = "0.0.0.0:8443"
    health: str = "0.0.0.0:8081"
    namespace: str = "mlprivacy-system"
    tls_secret: str = "mlprivacy-admission-tls"  # noqa: S105 - a Secret's name
    client_ca: Path | None = None
    client_name: str = "kube-apiserver"
    kubeconfig: str | None = None
    dataplane_images: tuple[str, ...] = ()
    collector_url: str | None = None
    collector_tls_secret: str = "mlprivacy-admission-tls"  # noqa: S105 - a Secret's name
    audit_retention_days: int | None = None
    stale_seconds: float = 300.0
    drain_seconds: float = 5.0
    finish_seconds: float = 10.0
    peer_requests_per_second: float = 500.0


def host_and_port(address: str) -> tuple[str, int]:
    """``HOST:PORT`` taken apart; an IPv6 host stands in brackets.

    Raises:
        ValueError: with a sentence when it is not of that form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT; write it like 0.0.0.0:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)
