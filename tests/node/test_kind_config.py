"""kind-config.yaml and the commands of `make kind-up`, given to the real kind with a docker that only writes down.

There is no container engine here, so kind gets as far as starting its nodes: by then it has read, defaulted and
validated the configuration with its own code.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.build import ensure_binaries
from images.kind import CONFIG
from kind.components import KIND

DOCKER = """\
#!/bin/sh
echo "docker $*" >>{folder}/calls
case "$1" in
  info) echo '{{"CgroupVersion":"2","CgroupDriver":"systemd","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}}';;
  network) echo 0123456789;;
  inspect) echo control-plane;;
  ps) cat {folder}/nodes;;
  exec) case "$*" in
    *"images import"*) cat >>{folder}/imported;;
    *) printf 'version = 3\\n[plugins."io.containerd.cri.v1.images"]\\nsnapshotter = "overlayfs"\\n';;
  esac;;
  run) sleep 2; echo "this docker runs nothing" >&2; exit 1;;
esac
"""


class Kind:
    """The real kind. `calls` is what it asked docker for."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text(DOCKER.format(folder=folder), encoding="utf-8")
        (folder / "bin" / "docker").chmod(0o755)
        (folder / "nodes").write_text("", encoding="utf-8")

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": f"{self._folder}/bin:{os.defpath}", "HOME": str(self._folder)}
        argv = [str(self._program), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)

    def create(self, config: str) -> "subprocess.CompletedProcess[str]":
        file = self._folder / "config.yaml"
        file.write_text(config, encoding="utf-8")
        kubeconfig = str(self._folder / "kubeconfig")
        return self("create", "cluster", "--config", str(file), "--kubeconfig", kubeconfig, "--wait", "180s")

    def pretend_nodes(self, *names: str) -> None:
        (self._folder / "nodes").write_text("\n".join(names) + "\n", encoding="utf-8")

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text(encoding="utf-8").splitlines()

    @property
    def imported(self) -> bytes:
        return (self._folder / "imported").read_bytes()


@pytest.fixture(scope="module")
def program() -> Path:
    return ensure_binaries(components=(KIND,))["kind"]


@pytest.fixture
def kind(program: Path, tmp_path: Path) -> Kind:
    return Kind(program, tmp_path)


def test_kind_takes_our_configuration_and_starts_three_nodes(kind: Kind) -> None:
    said = kind.create(CONFIG.read_text(encoding="utf-8"))
    started = [call for call in kind.calls if call.startswith("docker run ")]
    assert len(started) == 3, said.stderr
    assert sum("io.x-k8s.kind.role=control-plane" in call for call in started) == 1
    assert sum("io.x-k8s.kind.role=worker" in call for call in started) == 2
    assert all("io.x-k8s.kind.cluster=mlprivacy" in call for call in started)
    assert "this docker runs nothing" in said.stderr


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda text: text + "nodez: []\n", "field nodez not found"),
        (lambda text: text.replace("role: worker", "roles: worker", 1), "field roles not found"),
        (lambda text: text.replace("role: worker", "role: helper", 1), '"helper" is not a valid node role'),
        (lambda text: text.replace("role: control-plane", "role: worker"), "at least one control-plane"),
        (lambda text: text.replace("/v1alpha4", "/v1"), "unknown apiVersion: kind.x-k8s.io/v1"),
        (lambda text: text.replace("kind: Cluster", "kind: Clusters"), "unknown kind Clusters"),
    ],
    ids=["unknown field", "unknown field of a node", "bad role", "no control plane", "wrong apiVersion", "wrong kind"],
)
def test_kind_refuses_a_broken_one(broken: Callable[[str], str], words: str, kind: Kind) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert broken(text) != text
    said = kind.create(broken(text))
    assert said.returncode != 0
    assert words in said.stderr
    assert not [call for call in kind.calls if call.startswith("docker run ")]


def test_kind_lists_clusters_by_name_and_nothing_else(kind: Kind) -> None:
    """`make kind-up` finds its cluster in this output."""
    kind.pretend_nodes("mlprivacy", "mlprivacy", "other")
    assert kind("get", "clusters", "--quiet").stdout.split() == ["mlprivacy", "other"]


def test_kind_hands_the_archive_to_containerd_of_every_node(kind: Kind, tmp_path: Path) -> None:
    kind.pretend_nodes("mlprivacy-control-plane")
    archive = tmp_path / "mlprivacy.tar"
    archive.write_bytes(b"the archive, as it is")
    said = kind("load", "image-archive", str(archive), "--name", "mlprivacy")
    assert said.returncode == 0, said.stderr
    assert kind.imported == b"the archive, as it is"
    imports = [call for call in kind.calls if "images import" in call]
    assert len(imports) == 1
    assert "mlprivacy-control-plane ctr --namespace=k8s.io images import" in imports[0]
