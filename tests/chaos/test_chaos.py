"""Processes killed and frozen at random under load, a full disk, a certificate that is not valid. After each: nothing
governed ran unchecked, the audit log verifies, the cluster is usable.

The seed is printed and can be given again: CHAOS_SEED. CHAOS_SECONDS bounds the random part (90).
"""

import base64
import contextlib
import json
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.processes import ControlPlaneError
from mlprivacy.api import names
from node import configs
from node.cluster import VOLUMES, NodeCluster
from node.operator import NAMESPACE
from node.world import World, condition, eventually

pytestmark = pytest.mark.timeout(900)
SECONDS = float(os.environ.get("CHAOS_SECONDS", "90"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
PATIENCE = 180.0
WORK = "import time\nprint('training', flush=True)\ntime.sleep(10)\n"
OURS = ("admission", "controller", "collector")
SIDECARS = ("accountant", "seal")
NODE = ("kubelet", "kube-apiserver")


def pids_of(node: NodeCluster, word: str) -> list[int]:
    """Processes of the operator or of a governed pod whose first argument is this command of ours."""
    found = []
    for pid in node.sandbox.group.pids():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            program = next((part for part in command if b"/mlprivacy" in part), None)
            if program is not None and word.encode() == command[command.index(program) + 1]:
                found.append(pid)
    return found


class Load:
    """Lawful and unlawful jobs, one of each after the other, until stopped; what is refused is no matter."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.created = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            lawful = self.world.training_job(WORK, f"lawful-{number}", ttlSecondsAfterFinished=5)
            unlawful = self.world.training_job(WORK, f"unlawful-{number}", purpose="marketing")
            for job in (lawful, unlawful):
                done = self.world.cluster.kubectl("create", "-f", "-", "--request-timeout=10s", input=job, check=False)
                self.created += done.returncode == 0
            self._stop.wait(3)


class Watcher:
    """Looks at every governed pod while the chaos goes on: none may run its program without what has to come first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wrong: list[str] = []
        self.sealed: set[str] = set()

    def look(self) -> None:
        pods = self.world.cluster.kubectl("get", "pods", "-n", self.world.namespace, "-o", "json", check=False)
        if pods.returncode:
            return
        for pod in json.loads(pods.stdout)["items"]:
            name, status = pod["metadata"]["name"], pod["status"]
            if "unlawful" in name:
                self.wrong.append(f"{name} is there")
            started = [c for c in status.get("containerStatuses", []) if c["state"].keys() & {"running", "terminated"}]
            if not started:
                continue
            first = next((s for s in status.get("initContainerStatuses", []) if s["name"] == names.CONTAINER_SEAL), {})
            if first.get("state", {}).get("terminated", {}).get("exitCode") == 0:
                self.sealed.add(name)
            else:
                self.wrong.append(f"{name} runs, and its seal is {first.get('state')}")


def usable(world: World) -> None:
    """The API server answers, the node is Ready, an ungoverned namespace takes pods, the operator decides."""
    cluster = world.cluster
    eventually(
        lambda: cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0, "the API server", PATIENCE
    )

    def node_ready() -> bool:
        done = cluster.kubectl("get", "nodes", "-o", "json", check=False)
        return done.returncode == 0 and condition(json.loads(done.stdout)["items"][0], "Ready").get("status") == "True"

    eventually(node_ready, "the node Ready", PATIENCE)
    pod = world.plain_pod("print('hello')", f"probe-{time.monotonic_ns()}")
    pod["metadata"]["namespace"] = "default"
    done = cluster.kubectl("create", "-f", "-", "--dry-run=server", input=pod, check=False)
    assert done.returncode == 0, done.stderr
    world.operator.wait_ready(seconds=int(PATIENCE))
    job = world.training_job(WORK, "probe")

    def decides() -> bool:
        return cluster.kubectl("create", "-f", "-", "--dry-run=server", input=job, check=False).returncode == 0

    eventually(decides, "admission to decide", PATIENCE)


def verifies(world: World) -> None:
    """The whole audit log, where it lies."""

    def verified() -> bool:
        done = world.cluster.kubectl(
            "exec",
            "mlprivacy-collector-0",
            "-n",
            NAMESPACE,
            "--",
            "mlprivacy",
            "verify",
            "/var/lib/mlprivacy",
            check=False,
        )
        if "problem" in done.stdout + done.stderr:
            assert "0 problems" in done.stdout, done.stdout + done.stderr
        return done.returncode == 0

    eventually(verified, "the collector to verify its log", PATIENCE)


def test_kills_and_freezes_at_random(node: NodeCluster, world: World) -> None:
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:.0f}")
    chance = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    watcher, done = Watcher(world), []
    with Load(world) as load:
        world.governed_pod()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            victim = chance.choice((*OURS, *SIDECARS, *NODE))
            freeze = chance.random() < 0.4
            hit = strike(node, victim, freeze=freeze, seconds=chance.uniform(2, 8), look=watcher.look)
            done.append(f"{'froze' if freeze else 'killed'} {victim} ({hit})")
            print(done[-1], flush=True)
            for _ in range(3):
                watcher.look()
                time.sleep(0.5)
        for name in NODE:
            if not node.process(name).alive():
                node.restart(name)
        usable(world)
        watcher.look()
    verifies(world)
    assert watcher.wrong == []
    assert load.created > 0
    world.apply(world.training_job(WORK, "after"))
    world.until("Completed", "True", look=lambda: world.job("after"), seconds=PATIENCE)
    assert watcher.sealed, "no governed pod was seen to run: the load proved nothing"


def strike(node: NodeCluster, victim: str, *, freeze: bool, seconds: float, look: Any) -> int:
    """SIGKILL, or SIGSTOP for some seconds; what is no pod's is started again. Returns how many processes were hit."""
    if victim in NODE:
        process = node.process(victim)
        if freeze:
            process.signal(signal.SIGSTOP)
            _wait(seconds, look if victim == "kubelet" else None)
            process.signal(signal.SIGCONT)
        else:
            process.signal(signal.SIGKILL)
            _wait(seconds, look if victim == "kubelet" else None)
            node.restart(victim)
        return 1
    pids = pids_of(node, victim)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP if freeze else signal.SIGKILL)
    if freeze:
        _wait(seconds, look)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    return len(pids)


def _wait(seconds: float, look: Any) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if look is not None:
            look()
        time.sleep(0.5)


def test_a_full_audit_volume_stops_starts_and_loses_nothing(node: NodeCluster, world: World) -> None:
    usable(world)
    fill = "for v in {}; do for s in 64k 1; do dd if=/dev/zero of=$v/fill-$s bs=$s 2>/dev/null; done; done; true"
    volumes = " ".join(configs.volume_path(number) for number in range(VOLUMES))
    node.sandbox.run("/bin/sh", "-c", fill.format(volumes), timeout=120)
    held: list[str] = []

    def refused_a_start() -> bool:
        """Records still fit into the last page that the log has; sooner or later none does."""
        name = f"full-{len(held)}"
        held.append(name)
        world.apply(world.training_job(WORK, name))
        with contextlib.suppress(ControlPlaneError):
            world.until("ControlsReady", "False", "AuditUnavailable", look=lambda: world.job(name), seconds=10)
            return True
        return False

    try:
        eventually(refused_a_start, "a job without its receipt", PATIENCE)
        assert world.pods(f"{names.LABEL_TRAINING_JOB}={held[-1]}") == []
    finally:
        node.sandbox.run("/bin/sh", "-c", f"for v in {volumes}; do rm -f $v/fill-*; done")
    world.until("Completed", "True", look=lambda: world.job(held[-1]), seconds=PATIENCE)
    verifies(world)


@pytest.mark.parametrize("days", [(-3, -1), (1, 3)], ids=["expired", "not yet valid"])
def test_a_certificate_that_is_not_valid_is_replaced_and_opens_nothing(world: World, days: tuple[int, int]) -> None:
    usable(world)
    cluster = world.cluster
    secret = cluster.get("secrets", "mlprivacy-admission-tls", NAMESPACE)
    cluster.apply({**_plain(secret), "data": {**secret["data"], **_issued(cluster, days)}})
    unlawful = world.training_job(WORK, "unlawful-now", purpose="marketing")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert cluster.kubectl("create", "-f", "-", input=unlawful, check=False).returncode != 0
        time.sleep(1)

    def replaced() -> bool:
        now = cluster.get("secrets", "mlprivacy-admission-tls", NAMESPACE)
        return bool(now["data"]["tls.crt"] != _last["tls.crt"])

    eventually(replaced, "the controller to sign a new certificate", PATIENCE)
    usable(world)


_last: dict[str, str] = {}


def _plain(secret: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        key: secret["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in secret["metadata"]
    }
    return {"apiVersion": "v1", "kind": "Secret", "type": secret["type"], "metadata": metadata}


def _issued(cluster: Any, days: tuple[int, int]) -> dict[str, str]:
    """A certificate of our own authority for the webhook, valid between these days from now."""
    held = cluster.get("secrets", "mlprivacy-ca", NAMESPACE)["data"]
    authority = x509.load_pem_x509_certificate(base64.b64decode(held["tls.crt"]))
    signer = serialization.load_pem_private_key(base64.b64decode(held["tls.key"]), None)
    key = ec.generate_private_key(ec.SECP256R1())
    host, now = f"mlprivacy-admission.{NAMESPACE}.svc", datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _last["tls.crt"] = base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()
    return {**_last, "tls.key": base64.b64encode(pem).decode()}
