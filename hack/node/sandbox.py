"""The namespaces of one test node: network and mounts of its own, so that nothing of it is left when it ends.

The machine sees one veth and one cgroup. Pods, services, rules, bind mounts and everything below /run, /var and the
sysctls of the network live in the namespaces and go with their last process.
"""

import json
import os
import random
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from controlplane.cgroups import ControlGroup
from controlplane.flags import SERVICE_CIDR, SERVICE_CIDR6
from controlplane.processes import ControlPlaneError, Process, wait_until

INSIDE: Final = Path("/run/node")  # where the node's state folder is seen in its mount namespace
METADATA_ADDRESS: Final = "169.254.169.254"
_SYSCTLS: Final = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/dad_transmits": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
}


# Its arguments: the folder, where its part `state` is to be seen, and the program that holds the namespaces.
_SCRIPT: Final = """set -e
mount --make-rprivate / && mount --make-rshared /
mkdir -p "$1/state" "$1/var" "$1/var.work"
exec 9< "$1/state"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$2" && mount --bind /proc/self/fd/9 "$2" && exec 9<&-
mount -t overlay -o "lowerdir=/var,upperdir=$1/var,workdir=$1/var.work" overlay /var
exec "$3"
"""


@dataclass(frozen=True)
class Addresses:
    """Addresses of the link between the machine and its node: documentation ranges, routed nowhere."""

    link: str  # the machine's end of the veth
    machine: str
    node: str
    machine6: str
    node6: str

    @classmethod
    def free(cls) -> Self:
        """A /30 of 192.0.2.0/24 that no interface of this machine has. Raises ControlPlaneError."""
        done = subprocess.run(["ip", "-j", "addr"], capture_output=True, text=True, check=True)
        taken = {a["local"] for link in json.loads(done.stdout) for a in link.get("addr_info", [])}
        for block in random.sample(range(63), 63):
            machine, node = f"192.0.2.{4 * block + 1}", f"192.0.2.{4 * block + 2}"
            if machine not in taken and node not in taken:
                return cls(f"mlpnode{block}", machine, node, f"fd00:192:0:{block}::1", f"fd00:192:0:{block}::2")
        raise ControlPlaneError("All of 192.0.2.0/24 is in use on this machine; stop another node with `node down`.")


class Sandbox:
    """Makes the namespaces, runs commands in them, and takes them away."""

    def __init__(self, directory: Path, addresses: Addresses, group: ControlGroup, holder: Process | None = None):
        self.directory = directory
        self.addresses = addresses
        self.group = group
        self.holder = holder

    @property
    def ipv6(self) -> bool:
        """Whether the kernel has IPv6."""
        return Path("/proc/net/if_inet6").exists()

    def create(self, pause: Path, log: Path) -> Process:
        """Make everything; returns the process that holds the namespaces. Raises ControlPlaneError."""
        self.group.create()
        unshare = ["unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", "-c", _SCRIPT, "sh"]
        argv = self.group.entering([*unshare, str(self.directory), str(INSIDE), str(pause)])
        self.holder = Process("sandbox", argv, log)
        self.holder.start()
        wait_until(self._held, 20, what="the node's namespaces", watch=[self.holder])
        self._connect()
        return self.holder

    def entering(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` in the namespaces and the cgroup, under the same pid."""
        return self.group.entering([*self._nsenter(), *argv])

    def run(self, *argv: str, check: bool = True, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a short command inside. Raises ControlPlaneError with what it printed."""
        done = subprocess.run(
            self.entering(list(argv)),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise ControlPlaneError(
                f"`{' '.join(argv)}` in the node ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done

    def destroy(self) -> int:
        """End everything in it; returns how many processes that were."""
        ended = self.group.destroy() if self.group.exists() else 0
        # The veth goes with the namespace, which the kernel takes away a moment after its last process.
        deadline = time.monotonic() + 10
        while Path(f"/sys/class/net/{self.addresses.link}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        if Path(f"/sys/class/net/{self.addresses.link}").exists():
            subprocess.run(["ip", "link", "delete", self.addresses.link], capture_output=True, check=False)
        return ended

    def as_dict(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "addresses": asdict(self.addresses),
            "group": self.group.name,
            "holder": self.holder.as_dict() if self.holder else None,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Sandbox":
        holder = Process.from_dict(data["holder"]) if data["holder"] else None
        return cls(Path(data["directory"]), Addresses(**data["addresses"]), ControlGroup(data["group"]), holder)

    def _nsenter(self) -> list[str]:
        if self.holder is None:
            raise ControlPlaneError("The node's namespaces have not been made.")
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def _held(self) -> bool:
        """Whether the holder has come to its last step: it is the pause program then."""
        try:
            return os.readlink(f"/proc/{self.holder.pid}/exe").endswith("/pause") if self.holder else False
        except OSError:
            return False

    def _connect(self) -> None:
        at, pid = self.addresses, str(self.holder.pid if self.holder else 0)
        outside = [
            ["ip", "link", "add", at.link, "type", "veth", "peer", "name", "node0", "netns", pid],
            ["ip", "addr", "add", f"{at.machine}/30", "dev", at.link],
            ["ip", "link", "set", at.link, "up"],
        ]
        if self.ipv6:
            outside.append(["ip", "-6", "addr", "add", f"{at.machine6}/64", "dev", at.link, "nodad"])
        for command in outside:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ControlPlaneError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
        for name, value in _SYSCTLS.items():
            if self.ipv6 or "ipv6" not in name:
                self.run("/bin/sh", "-c", f"echo {value} > /proc/sys/{name}")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"{at.node}/30", "dev", "node0")
        self.run("ip", "link", "set", "node0", "up")
        self.run("ip", "addr", "add", f"{METADATA_ADDRESS}/32", "dev", "lo")
        # Services are translated after a route was found for them. There is no other way out of the node.
        self.run("ip", "route", "add", SERVICE_CIDR, "dev", "node0", "src", at.node)
        if self.ipv6:
            self.run("ip", "-6", "addr", "add", f"{at.node6}/64", "dev", "node0", "nodad")
            self.run("ip", "-6", "route", "add", SERVICE_CIDR6, "dev", "node0", "src", at.node6)
