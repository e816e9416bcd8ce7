"""What is built: each binary, its Go module and package, its version, and the key under which it is cached."""

import hashlib
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODULES: Final = Path(__file__).parent / "go"
KUBERNETES_VERSION: Final = "1.36.3"
BUILD_FLAGS: Final = ("-trimpath", "-mod=readonly", "-buildvcs=false", "-p", "2")


def kubernetes_ldflags(version: str) -> str:
    """Linker flags that stamp a Kubernetes version; without them the API server says v0.0.0 and clients complain."""
    major, minor, _ = version.split(".")
    stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        ["-s -w", *(f"-X {package}.{key}={value}" for package in packages for key, value in stamps.items())]
    )


@dataclass(frozen=True)
class Component:
    """One binary. `module` is a folder whose go.mod and go.sum pin every source file that goes into it.

    `root` is where that folder lies (the `go/` beside this file unless given); `sources` are further files of the
    module that are compiled, for one with code of its own.
    """

    name: str
    version: str
    module: str
    package: str
    ldflags: str = "-s -w"
    root: Path | None = None
    sources: tuple[str, ...] = ()

    @property
    def module_dir(self) -> Path:
        return (self.root or MODULES) / self.module

    def digest(self) -> str:
        """Twelve hex digits over everything that decides the content of the binary, besides the compiler."""
        parts = [self.package, self.ldflags, *BUILD_FLAGS]
        files = [name for name in ("go.mod", "go.sum", *self.sources) if (self.module_dir / name).is_file()]
        parts += [(self.module_dir / name).read_text(encoding="utf-8") for name in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def cache_key(self, goos: str, goarch: str) -> str:
        """Name of the folder in the cache: readable version and platform first, so that `ls` explains itself."""
        return f"{self.name}-v{self.version}-{goos}-{goarch}-{self.digest()}"


def _kubernetes(name: str) -> Component:
    return Component(
        name=name,
        version=KUBERNETES_VERSION,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        ldflags=kubernetes_ldflags(KUBERNETES_VERSION),
    )


# Short builds come last: the first screen a newcomer sees is the long one, with its own progress line.
COMPONENTS: Final = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubectl"),
    Component("etcd", "3.6.8", "etcd", "go.etcd.io/etcd/server/v3"),
    Component("kwok", "0.8.0", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Component(
        "helm",
        "3.22.0",
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0",
    ),
)

_GOARCH: Final = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def host_platform() -> tuple[str, str]:
    """(GOOS, GOARCH) of this machine, in Go's words."""
    machine = platform.machine().lower()
    return sys.platform, _GOARCH.get(machine, machine)


def required_go(components: Sequence[Component] = COMPONENTS) -> tuple[int, int, int]:
    """The highest `go` directive of the modules: the oldest toolchain that builds all of them."""
    newest = (0, 0, 0)
    for module in sorted({component.module_dir for component in components}):
        for line in (module / "go.mod").read_text(encoding="utf-8").splitlines():
            if line.startswith("go "):
                newest = max(newest, parse_version(line.removeprefix("go ")))
    return newest


def parse_version(text: str) -> tuple[int, int, int]:
    """`go1.26.8`, `1.26` or `1.27rc1` as three numbers; whatever follows the numbers is ignored.

    Raises ValueError when the text does not begin with a number.
    """
    numbers: list[int] = []
    for part in text.strip().removeprefix("go").split(".")[:3]:
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        if not digits:
            break
        numbers.append(int(digits))
    if not numbers:
        raise ValueError(f"{text!r} is not a version number")
    major, minor, patch = [*numbers, 0, 0][:3]
    return major, minor, patch
