"""What the tests of the API share: the CRDs on the server, the examples, and raw requests with strict validation."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import Cluster
from mlprivacy.api.base import KindInfo
from mlprivacy.api.kinds import kind_named, modelled_kinds
from mlprivacy.api.names import API_VERSION, GROUP
from mlprivacy.api.schema.crd import crd

HERE = Path(__file__).parent
CRDS = HERE.parents[2] / "crds"


@dataclass(frozen=True)
class Answer:
    """What the API server said: an object, or why not."""

    accepted: bool
    text: str
    warnings: str

    @property
    def object(self) -> dict[str, Any]:
        """The object as stored."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True)
class Server:
    """Creates objects of our kinds by plain requests, as a client does that has no schema of its own."""

    cluster: Cluster
    namespace: str

    def create(self, manifest: dict[str, Any] | str, kind: str, *, validation: str = "Strict") -> Answer:
        """Dry-run create; nothing is stored. ``validation`` is the fieldValidation of the request."""
        where = self._folder(kind)
        body = manifest if isinstance(manifest, str) else json.dumps(manifest)
        query = f"dryRun=All&fieldValidation={validation}"
        done = self.cluster.kubectl("create", "--raw", f"{where}?{query}", "-f", "-", input=body, check=False)
        return Answer(done.returncode == 0, done.stdout if done.returncode == 0 else done.stderr, done.stderr)

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Really apply, server-side and strict; the object as stored."""
        args = ("apply", "--server-side", "--validate=strict", "-f", "-", "-o", "json")
        kind = known(manifest["kind"])
        scope = ("-n", self.namespace) if kind.namespaced else ()
        done = self.cluster.kubectl(*args, *scope, input=manifest)
        stored: dict[str, Any] = json.loads(done.stdout)
        return stored

    def _folder(self, kind: str) -> str:
        info = known(kind)
        scope = f"/namespaces/{self.namespace}" if info.namespaced else ""
        return f"/apis/{API_VERSION}{scope}/{info.plural}"


def known(kind: str) -> KindInfo[Any]:
    """The kind of this name; fails the test when there is none."""
    info = kind_named(kind)
    assert info is not None, f"no kind {kind}"
    return info


def read_examples(kind: str) -> list[dict[str, Any]]:
    """The minimal and the full example of a kind."""
    text = (HERE / "examples" / f"{kind.lower()}.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The cluster, with the CRDs of crds/ applied and established, and those of kinds that do not ship, if any."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    if further := [crd(kind) for kind in modelled_kinds() if not kind.served]:
        cluster.apply(*further)
    names = [f"crd/{kind.plural}.{GROUP}" for kind in modelled_kinds()]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    return cluster


@pytest.fixture(scope="module")
def server(crds: Cluster) -> Iterator[Server]:
    """A namespace of this module's own on the cluster with our CRDs."""
    name = f"api-{uuid.uuid4().hex[:10]}"
    crds.create_namespace(name)
    yield Server(crds, name)
    crds.delete_namespace(name)


@pytest.fixture(scope="session")
def example() -> Callable[..., dict[str, Any]]:
    """``example(kind)`` is the minimal example of a kind, ``example(kind, full=True)`` the full one."""

    def read(kind: str, *, full: bool = False) -> dict[str, Any]:
        return read_examples(kind)[1 if full else 0]

    return read
