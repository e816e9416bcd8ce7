"""What the tests of the ledger on a real API server share: the definitions, a client, a collector, the database."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane import Cluster, ControlPlane
from mlprivacy.api.names import GROUP
from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.collector import CollectorConfig, Listening, run_collector
from mlprivacy.audit.ledgerclient import LedgerClient
from mlprivacy.audit.tls import FileTLS, client_context
from mlprivacy.budget.ledger.append import Ledger
from mlprivacy.controller.budgets.keeping import Keeping
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.ledgerlog import ApiLedgerLog

ROOT = Path(__file__).resolve().parents[3]
_UNIT = str(ROOT / "tests" / "unit")
if _UNIT not in sys.path:
    sys.path.append(_UNIT)

from pki import Authority  # noqa: E402 - the folder is put on the path first

DEFINITION = ROOT / "crds" / f"{GROUP}_ledgerentries.yaml"


@dataclass
class Desk:
    """One domain's ledger and its lock."""

    ledger: Ledger
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Office:
    """The ledgers of one API server and one collector, and controllers that come and go."""

    client: KubeClient
    ledgers: LedgerClient
    directory: Path
    log: ApiLedgerLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = ApiLedgerLog(self.client)

    def ledger(self, domain: str, writer: str = "one") -> Ledger:
        """A process that knows nothing yet."""
        return Ledger(self.log, domain, writer, lambda: datetime.now(UTC))

    @contextlib.asynccontextmanager
    async def controller(
        self, domain: str, *, every: int = 1000, now: Callable[[], datetime] | None = None
    ) -> AsyncIterator[tuple[Keeping, Desk]]:
        """A controller that knows nothing yet."""
        desk = Desk(self.ledger(domain))
        keeping = Keeping(self.log, self.ledgers, lambda: [desk], checkpoint_every=every, now=now, pause=0.05)
        try:
            yield keeping, desk
        finally:
            await keeping.stop()


class Database:
    """The etcd of a control plane: changed past the API server, copied, and put back as it was."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._copy = control_plane.scratch() / f"etcd-{uuid.uuid4().hex[:8]}"

    def entry(self, name: str) -> dict[str, Any]:
        """An entry as it is stored."""
        found = self._ask("range", {"key": _key(name)})
        value: dict[str, Any] = json.loads(base64.b64decode(found["kvs"][0]["value"]))
        return value

    def put(self, name: str, entry: dict[str, Any]) -> None:
        """Store it so."""
        value = base64.b64encode(json.dumps(entry).encode()).decode()
        self._ask("put", {"key": _key(name), "value": value})

    def delete(self, name: str) -> None:
        """It is gone."""
        assert self._ask("deleterange", {"key": _key(name)})["deleted"] == "1"

    def copy(self) -> None:
        """A copy of everything, taken while nothing runs."""
        with self._stopped() as data:
            shutil.copytree(data, self._copy)

    def restore(self) -> None:
        """Everything as it was when it was copied."""
        with self._stopped() as data:
            shutil.rmtree(data)
            shutil.copytree(self._copy, data)

    def _ask(self, what: str, body: dict[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control_plane._port('etcd')}/v3/kv/{what}", data=json.dumps(body).encode()
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.loads(answer.read())

    @contextlib.contextmanager
    def _stopped(self) -> Iterator[Path]:
        control_plane = self._control_plane
        etcd = control_plane._process("etcd")
        control_plane.stop_apiserver()
        etcd.stop(grace=10)
        yield control_plane.layout.etcd_data
        etcd.start(control_plane._child_environment(), control_plane.layout.home)
        control_plane._save()
        control_plane.start_apiserver()


def _key(name: str) -> str:
    return base64.b64encode(f"/registry/{GROUP}/ledgerentries/{name}".encode()).decode()


def put_definition(cluster: Cluster) -> None:
    """The definition of ledger entries, served."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITION))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/ledgerentries.{GROUP}")


@contextlib.asynccontextmanager
async def collector(directory: Path) -> AsyncIterator[LedgerClient]:
    """A collector that serves with its state in ``directory``, and the controller's client of it."""
    pki = Authority(directory / "pki")
    served, mine = pki.issue("collector-server"), pki.issue("controller")
    config = CollectorConfig(
        directory=directory / "log",
        tls=FileTLS(served.cert, served.key, served.ca),
        host="127.0.0.1",
        port=0,
        health_host="127.0.0.1",
        health_port=0,
    )
    stop = asyncio.Event()
    listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_collector(config, stop, listening=listening))
    await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    context = client_context(mine.cert, mine.key, mine.ca)
    try:
        async with CollectorClient(f"https://127.0.0.1:{listening.result().port}", context) as client:
            yield LedgerClient(client)
    finally:
        stop.set()
        await task


@contextlib.asynccontextmanager
async def open_office(cluster: Cluster, directory: Path) -> AsyncIterator[Office]:
    """On this cluster, with its collector's state in ``directory``."""
    async with await KubeClient.connect(str(cluster.kubeconfig)) as client, collector(directory) as ledgers:
        yield Office(client, ledgers, directory / "log")


@pytest.fixture(scope="session")
def served(cluster: Cluster) -> Cluster:
    """The shared cluster, with ledger entries."""
    put_definition(cluster)
    return cluster


@pytest.fixture
async def office(served: Cluster, tmp_path: Path) -> AsyncIterator[Office]:
    """On the shared cluster."""
    async with open_office(served, tmp_path) as made:
        yield made


@pytest.fixture
async def own_office(private_cluster: ControlPlane, tmp_path: Path) -> AsyncIterator[Office]:
    """On a cluster of this module's own."""
    put_definition(private_cluster)
    async with open_office(private_cluster, tmp_path) as made:
        yield made


@pytest.fixture
def install(private_cluster: ControlPlane) -> Callable[[], None]:
    """Installs the definition on that cluster again."""
    return lambda: put_definition(private_cluster)


@pytest.fixture
def database(private_cluster: ControlPlane) -> Database:
    """The database of that cluster."""
    return Database(private_cluster)


@pytest.fixture
def domain() -> str:
    """A subject domain of the test's own."""
    return f"patients-{uuid.uuid4().hex[:10]}"
