"""The test node itself: the control plane of hack/controlplane with a real kubelet, in namespaces of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from controlplane import flags, runs
from controlplane.build import cache_dir, ensure_binaries
from controlplane.certificates import Authority, KeyPair
from controlplane.cgroups import ControlGroup
from controlplane.client import UnsupportedError
from controlplane.cluster import OWN, ControlPlane
from controlplane.components import COMPONENTS
from controlplane.kubeconfigs import write_document, write_kubeconfig
from controlplane.processes import ControlPlaneError, Process, stop_all, wait_until
from node import configs
from node.components import NODE_COMPONENTS
from node.requirements import find, prepare
from node.sandbox import INSIDE, METADATA_ADDRESS, Addresses, Sandbox
from node.static_image import write_static_image

PAUSE_IMAGE: Final = "mlprivacy.local/pause:1"
DNS_IMAGE: Final = "mlprivacy.local/coredns:1"
VOLUMES: Final = 6
_SECONDS: Final = 120.0
_OFF: Final = "off"
_ENFORCING: Final = "enforcing"


class NodeCluster(ControlPlane):
    """One node with real pods, as a context manager or by `start` and `stop`. Needs root; see `requirements`.

    `directory` holds its state (a temporary folder unless given) and must lie on a file system that can be the upper
    side of an overlay. `enforce` is whether NetworkPolicy is enforced from the start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        owner: int | None = OWN,
        enforce: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(directory, nodes=0, owner=owner)
        self._enforce = enforce
        self._say = say
        self._sandbox: Sandbox | None = None

    # --- what a test uses ---------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The node's address, which is the API server's too."""
        return self.sandbox.addresses.node

    @property
    def sandbox(self) -> Sandbox:
        """The node's namespaces. Raises ControlPlaneError before the start."""
        if self._sandbox is None:
            raise ControlPlaneError("This node has not been started.")
        return self._sandbox

    @property
    def metadata_address(self) -> str:
        """Where a cloud's metadata service would answer; a test may listen there, by `sandbox.run`."""
        return METADATA_ADDRESS

    def import_image(self, archive: Path) -> None:
        """Make the images of an OCI archive known to the node."""
        staged = self.layout.home / "sandbox" / "state" / f"import-{uuid.uuid4().hex}.tar"
        try:
            os.link(archive, staged)
        except OSError:
            shutil.copyfile(archive, staged)
        try:
            self.sandbox.run(*self._ctr(), "images", "import", str(INSIDE / staged.name), timeout=300)
        finally:
            staged.unlink(missing_ok=True)

    def images(self) -> set[str]:
        """Names of the images that the node has."""
        return set(self.sandbox.run(*self._ctr(), "images", "ls", "-q").stdout.split())

    def enforcing(self, on: bool) -> None:
        """Switch the enforcement of NetworkPolicy; returns once it acts."""
        process = self._process("enforcer")
        os.kill(process.pid, signal.SIGUSR2 if on else signal.SIGUSR1)
        self._await_enforcer(_ENFORCING if on else _OFF)

    def process(self, name: str) -> Process:
        """One process of the node: kubelet, containerd, kube-proxy, enforcer, or one of the control plane."""
        return self._process(name)

    def restart(self, name: str) -> None:
        """Start a process again that has ended, with the same command line."""
        process = self._process(name)
        process.stop(grace=1)
        process.start(self._child_environment(), self.layout.home)
        self._save()

    def helper(self, name: str, program: str) -> Process:
        """Run a Python program in the node's namespaces, as a process of the node that the caller may stop earlier."""
        return self._spawn(name, [sys.executable, "-u", "-c", program])

    def memory_bytes(self) -> int:
        """Memory that the node holds, pods and control plane included, without page cache."""
        return self.sandbox.group.memory_bytes()

    def volume(self, number: int) -> Path:
        """Where the folder of a volume lies, seen from the machine."""
        return self.layout.home / "sandbox" / "state" / "volumes" / str(number)

    def add_node(
        self, name: str, labels: Mapping[str, str] | None = None, capacity: Mapping[str, str] | None = None
    ) -> NoReturn:
        raise UnsupportedError("This cluster has one real node; simulated ones belong to the other control plane.")

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Build and install what is missing, boot, and return when pods get addresses and names resolve.

        Raises BuildError or ControlPlaneError with the end of the log of what failed; nothing is left running then.
        """
        prepare(self.layout.root, self._say)
        self._binaries = self._binaries or ensure_binaries(components=(*COMPONENTS, *NODE_COMPONENTS))
        super().start()
        try:
            self._finish_boot()
        except BaseException:
            self.stop()
            raise

    def _boot(self) -> None:
        home = self.layout.home
        shutil.rmtree(home / "sandbox", ignore_errors=True)
        # A mount namespace of the sandbox sees this folder at a short path, as sockets want it.
        group = ControlGroup(f"mlprivacy-{uuid.uuid4().hex[:8]}")
        (home / "sandbox").mkdir(parents=True)
        self._sandbox = Sandbox(home / "sandbox", Addresses.free(), group)
        self._save()  # the cgroup's name is written down before anything is in it
        self._say("making the node's namespaces")
        holder = self._sandbox.create(self._stage(self.binary("pause")), home / "sandbox.log")
        self._say("starting etcd, API server, controller-manager and scheduler")
        super()._boot()
        self._processes = {"sandbox": holder, **self._processes}
        self._save()

    def _stage(self, binary: Path) -> Path:
        """A copy in the sandbox's folder: /root or another home may be hidden inside."""
        target = self.layout.home / "sandbox" / binary.name
        shutil.copyfile(binary, target)
        target.chmod(0o755)
        return target

    def _boot_nodes(self) -> None:
        layout, sandbox = self.layout, self.sandbox
        state = layout.home / "sandbox" / "state"
        for folder in ("cni/conf", "cni/bin", *(f"volumes/{n}" for n in range(VOLUMES))):
            (state / folder).mkdir(parents=True, exist_ok=True)
        for number in range(VOLUMES):
            self.volume(number).chmod(0o777)
        for name in ("ptp", "loopback", "host-local", "portmap"):
            shutil.copyfile(self.binary(name), state / "cni/bin" / name)
            (state / "cni/bin" / name).chmod(0o755)
        (state / "resolv.conf").write_text("", encoding="utf-8")
        write_document(state / "cni/conf/10-node.conflist", configs.cni(ipv6=sandbox.ipv6))
        self._say("starting the container runtime, the kubelet, the proxy and the policy enforcer")
        containerd = self._boot_containerd()
        images = [
            write_static_image(self.binary("pause"), PAUSE_IMAGE, state / "pause.tar"),
            write_static_image(self.binary("coredns"), DNS_IMAGE, state / "coredns.tar"),
        ]
        wait_until(self._runtime_answers, _SECONDS, what="the container runtime", watch=[containerd])
        for image in images:
            self.import_image(image)
            image.unlink()
        self._boot_kubelet()
        proxy = layout.config / "kube-proxy.yaml"
        write_document(proxy, configs.kube_proxy(self._component_kubeconfig("kube-proxy"), ipv6=sandbox.ipv6))
        self._spawn("kube-proxy", [str(self.binary("kube-proxy")), f"--config={proxy}", "--v=1"])
        ready = state / "enforcer.state"
        self._spawn(
            "enforcer",
            [
                "env", f"PYTHONPATH={Path(__file__).parents[1]}", sys.executable, "-m", "node.enforcer",
                "--kubeconfig", str(layout.kubeconfig), "--ready-file", str(ready),
            ],
        )  # fmt: skip
        self._nodes.append(configs.NODE_NAME)

    def _boot_containerd(self) -> Process:
        state = self.layout.home / "sandbox" / "state"
        (state / "containerd.toml").write_text(
            configs.containerd(find("runc") or "runc", PAUSE_IMAGE), encoding="utf-8"
        )
        # The shim is looked for beside containerd.
        folder = self.layout.bin
        for name in ("containerd", "containerd-shim-runc-v2", "ctr"):
            (folder / name).unlink(missing_ok=True)
            os.symlink(self.binary(name), folder / name)
        path = f"{folder}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        config = str(INSIDE / "containerd.toml")
        return self._spawn("containerd", ["env", f"PATH={path}", str(folder / "containerd"), "--config", config])

    def _boot_kubelet(self) -> None:
        layout, at = self.layout, self.sandbox.addresses
        authority = Authority(layout.pki, "cluster-ca")
        user = f"system:node:{configs.NODE_NAME}"
        client = authority.client("kubelet", user, ["system:nodes"])
        serving = authority.server("kubelet-serving", [configs.NODE_NAME, at.node])
        kubeconfig = write_kubeconfig(layout.config / "kubelet.kubeconfig", self.server, self.cluster_ca, client=client)
        config = write_document(
            layout.config / "kubelet.yaml", configs.kubelet(serving, self.cluster_ca, self.sandbox.group.name)
        )
        addresses = ",".join([at.node, *([at.node6] if self.sandbox.ipv6 else [])])
        path = f"PATH={os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        self._spawn(
            "kubelet",
            [
                "env", path, str(self.binary("kubelet")),
                f"--config={config}", f"--kubeconfig={kubeconfig}", f"--hostname-override={configs.NODE_NAME}",
                f"--node-ip={addresses}", f"--root-dir={INSIDE / 'kubelet'}", f"--cert-dir={INSIDE / 'kubelet/pki'}",
                "--v=2",
            ],
        )  # fmt: skip

    def _finish_boot(self) -> None:
        self.apply(*configs.dns(DNS_IMAGE), *configs.storage(VOLUMES))
        self._await_enforcer(_ENFORCING)
        if not self._enforce:
            self.enforcing(False)
        self._say("waiting for the cluster's DNS, the first pod")
        self.kubectl(
            "rollout",
            "status",
            "deployment/coredns",
            "-n",
            "kube-system",
            f"--timeout={_SECONDS:.0f}s",
            timeout=_SECONDS + 10,
        )

    def _apiserver_flags(self, ports: flags.Ports, serving: KeyPair) -> list[str]:
        Authority(self.layout.pki, "cluster-ca").client("kubelet-client", "kube-apiserver-kubelet", ["system:masters"])
        binary = self.binary("kube-apiserver")
        return flags.apiserver(
            binary, self.layout, ports, serving, address=self.address, kubelet=True, ipv6=self.sandbox.ipv6
        )

    def _etcd_healthy(self, ports: flags.Ports) -> bool:
        url = f"http://127.0.0.1:{ports.etcd}/health"
        code = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=2)"
        return self.sandbox.run(sys.executable, "-c", code, check=False).returncode == 0

    def _command(self, argv: list[str]) -> list[str]:
        return self.sandbox.entering(argv)

    def _state(self) -> dict[str, Any]:
        if self._sandbox is None:
            return {}
        sandbox = self._sandbox
        return {"group": sandbox.group.name, "link": sandbox.addresses.link, "sandbox": sandbox.as_dict()}

    def _restore(self, document: Mapping[str, Any]) -> None:
        self._sandbox = Sandbox.from_dict(document["sandbox"]) if document.get("sandbox") else None

    def _end_processes(self) -> None:
        # The kubelet first: nothing is started again while the rest goes.
        stop_all([process for name, process in self._processes.items() if name in ("kubelet", "enforcer")], grace=3)
        others = {name: p for name, p in self._processes.items() if name not in ("sandbox", "containerd")}
        held, self._processes = self._processes, others
        super()._end_processes()
        self._processes = held
        if self._sandbox is not None:
            self._sandbox.destroy()
            shutil.rmtree(self.layout.home / "sandbox", ignore_errors=True)

    # --- looking ------------------------------------------------------------------------------------------------

    def _ctr(self) -> Sequence[str]:
        return [str(self.binary("ctr")), "--address", configs.SOCKET, "--namespace", "k8s.io"]

    def _runtime_answers(self) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            return self.sandbox.run(*self._ctr(), "plugins", "ls", "-q", check=False).returncode == 0
        return False

    def _await_enforcer(self, wanted: str) -> None:
        ready = self.layout.home / "sandbox" / "state" / "enforcer.state"
        wait_until(
            lambda: ready.is_file() and ready.read_text(encoding="utf-8").strip() == wanted,
            _SECONDS,
            what=f"the policy enforcer to say {wanted!r}",
            watch=[self._process("enforcer")],
        )


def temporary_directory() -> Path:
    """A folder for a node of a test's own, on the machine's disk."""
    return Path(tempfile.mkdtemp(prefix="mlprivacy-node-", dir=cache_dir()))


def running_in(directory: Path) -> NodeCluster:
    """The node that runs with its state in `directory`. Raises ControlPlaneError when none does."""
    return NodeCluster.attach(directory)


def stop_in(directory: Path) -> int:
    """End what runs with its state in `directory`, whole or not; returns how many processes were listed there."""
    return NodeCluster.stop_in(directory) if runs.run_of(flags.Layout(directory.resolve()).state) else 0
