"""Command lines and configuration files of etcd, the API server, the controller-manager and the scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controlplane.certificates import KeyPair

SERVICE_ACCOUNT_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
SERVICE_CIDR: Final = "10.96.0.0/16"
SERVICE_CIDR6: Final = "fd00:10:96::/112"
SERVICE_NAMES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1")
WEBHOOK_CLIENT_NAME: Final = "kube-apiserver"

# Metadata of every request: who, what, when, the answer, and the annotations that admission added. Never bodies.
AUDIT_POLICY: Final[Mapping[str, Any]] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1, kept for the life of a control plane so that a restarted API server is found again."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True)
class Layout:
    """Where everything of one control plane lies: its kubeconfig in the folder given, the rest in one of its own.

    Whatever is deleted lies in `home`, so that a folder which holds other things is no danger to them.
    """

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "control-plane"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def audit_log(self) -> Path:
        return self.home / "logs" / "audit.log"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def config(self) -> Path:
        return self.home / "config"

    @property
    def etcd_data(self) -> Path:
        return self.home / "etcd"

    @property
    def scratch(self) -> Path:
        return self.home / "scratch"

    @property
    def bin(self) -> Path:
        return self.home / "bin"

    @property
    def webhook_client_ca(self) -> Path:
        return self.pki / "webhook-client-ca.crt"


def webhook_admission(kubeconfig: Path) -> dict[str, Any]:
    """The admission configuration with which the API server shows every webhook a client certificate."""
    plugin = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(kubeconfig),
    }
    names = ("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook")
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": name, "configuration": plugin} for name in names],
    }


def webhook_kubeconfig(client: KeyPair) -> dict[str, Any]:
    """The file that `webhook_admission` names; the user entry `*` is for webhooks of any host."""
    user = {"client-certificate": str(client.certificate), "client-key": str(client.key)}
    return {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}


def etcd(binary: Path, layout: Layout, ports: Ports) -> list[str]:
    """No fsync: the data is thrown away with the control plane."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        str(binary),
        "--name=test",
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(
    binary: Path,
    layout: Layout,
    ports: Ports,
    serving: KeyPair,
    *,
    address: str = "127.0.0.1",
    kubelet: bool = False,
    ipv6: bool = False,
) -> list[str]:
    """As kubeadm runs it (Node and RBAC, NodeRestriction, default admission plugins and features), plus audit.

    With `kubelet`, pods reach it under `address` as the Service `kubernetes`, and it reaches kubelets for logs.
    With `ipv6`, Services may have addresses of both families.
    """
    pki, config = layout.pki, layout.config
    nodes = ["--endpoint-reconciler-type=none"]
    if kubelet:
        nodes = [
            f"--kubelet-certificate-authority={pki / 'cluster-ca.crt'}",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
    return [
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={ports.apiserver}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={pki / 'cluster-ca.crt'}",
        f"--token-auth-file={config / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={config / 'admission.json'}",
        f"--service-account-issuer={SERVICE_ACCOUNT_ISSUER}",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}{f',{SERVICE_CIDR6}' if ipv6 else ''}",
        "--allow-privileged=true",
        *nodes,
        f"--audit-policy-file={config / 'audit-policy.json'}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=2048",
    ]


def controller_manager(
    binary: Path, layout: Layout, ports: Ports, serving: KeyPair, kubeconfig: Path, *, address: str = "127.0.0.1"
) -> list[str]:
    """Each built-in controller under its own ServiceAccount, as in real clusters; guards tell them apart by it."""
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.pki / 'service-account.key'}",
        f"--root-ca-file={layout.pki / 'cluster-ca.crt'}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--bind-address={address}",
        f"--secure-port={ports.controller_manager}",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        # With the default of 20 a second, giving each controller its own ServiceAccount takes most of the boot.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def scheduler(
    binary: Path, ports: Ports, serving: KeyPair, kubeconfig: Path, *, address: str = "127.0.0.1"
) -> list[str]:
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--bind-address={address}",
        f"--secure-port={ports.scheduler}",
        "--leader-elect=false",
    ]
