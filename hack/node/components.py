"""What the test node is built from: each binary, its Go module and package, and its version."""

from pathlib import Path
from typing import Final

from controlplane.components import KUBERNETES_VERSION, Component, kubernetes_ldflags

MODULES: Final = Path(__file__).parent / "go"
CONTAINERD_VERSION: Final = "2.4.2"
CNI_VERSION: Final = "1.9.1"
_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_CNI: Final = "github.com/containernetworking/plugins"


def _kubernetes(name: str) -> Component:
    return Component(
        name=name,
        version=KUBERNETES_VERSION,
        module="kubelet",
        package=f"k8s.io/kubernetes/cmd/{name}",
        ldflags=kubernetes_ldflags(KUBERNETES_VERSION),
        root=MODULES,
    )


def _containerd(name: str) -> Component:
    return Component(
        name=name,
        version=CONTAINERD_VERSION,
        module="containerd",
        package=f"{_CONTAINERD}/cmd/{name}",
        ldflags=f"-s -w -X {_CONTAINERD}/version.Version=v{CONTAINERD_VERSION}",
        root=MODULES,
    )


def _cni(name: str, folder: str) -> Component:
    package = f"{_CNI}/plugins/{folder}/{name}"
    return Component(name=name, version=CNI_VERSION, module="cni", package=package, root=MODULES)


NODE_COMPONENTS: Final = (
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    _containerd("containerd"),
    _containerd("containerd-shim-runc-v2"),
    _containerd("ctr"),
    Component("coredns", "1.14.7", "coredns", ".", root=MODULES, sources=("main.go",)),
    _cni("ptp", "main"),
    _cni("loopback", "main"),
    _cni("host-local", "ipam"),
    _cni("portmap", "meta"),
    Component("pause", "1", "pause", ".", root=MODULES, sources=("main.go",)),
)
