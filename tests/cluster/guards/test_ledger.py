"""Threats 15 and 39: entries of the ledger are the operator's alone, with every process of ours dead."""

import json
import uuid
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.entry import Entry, Head, link, stamp
from mlprivacy.budget.ledger.transitions import Open, Promise, Register, Retire
from mlprivacy.budget.ledger.units import capacity_units, decimal
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.controller.budgets.recovery import Recovery, Restored
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden
from mlprivacy.kube.ledgerlog import ApiLedgerLog
from mlprivacy.kube.resources import SECRETS

ENTRIES = "ledgerentries.mlprivacy.dev"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
POLICY = "ledger"
WRITER = "mlprivacy-controller-0"
ORDERS = (2.0, 8.0, 32.0)

Object = dict[str, Any]


def first_of(domain: str, **metadata: Any) -> tuple[Object, Entry]:
    """The first entry of a domain's ledger, as the operator makes it."""
    promise = Promise(
        revision=1,
        orders=tuple(decimal(order) for order in ORDERS),
        epsilon="10",
        delta="0.001",
        unit="User",
        neighbours="AddOrRemoveOne",
        cut=Cut("Subject", None, 8),
        capacity=capacity_units(ORDERS, 10, 1e-3),
    )
    steps = (promise, Register(f"urn:guards:{domain}", f"s3://{domain}/rows"), Open((Range(0, 7),)))
    entry = link(Head.none(domain), steps, stamp(datetime.now(UTC)), WRITER)
    manifest = entry.manifest()
    manifest["metadata"] |= metadata
    return manifest, entry


class Vault:
    """A ledger of one entry, and everybody who might want it gone."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.domain = f"guard-{uuid.uuid4().hex[:10]}"
        self.manifest, self.entry = first_of(self.domain)
        self.bound: list[str] = []
        mark = self.domain
        for role in ("admin", "edit", "mlprivacy-privacy-officer", "mlprivacy-data-owner", "mlprivacy-policy-author"):
            self.bind(f"{role}-{mark}", role)
        world.cluster.kubectl(
            "create", "clusterrole", f"keeper-{mark}", "--verb=*", "--resource=ledgerentries.mlprivacy.dev/status,"
            "ledgerentries.mlprivacy.dev",
        )  # fmt: skip
        self.bind(f"keeper-{mark}", f"keeper-{mark}")
        world.allowed("create", "-f", "-", body=self.manifest, by=world.operator)
        for user in self.users:
            may = lambda user=user: world.may(user, "get", "namespaces" if "keeper" not in user else ENTRIES, "")  # noqa: E731
            if not user.startswith("mlprivacy-data-owner"):
                world.eventually(may, f"the rights of {user}")

    @property
    def users(self) -> list[str]:
        return list(self.bound)

    @property
    def keeper(self) -> str:
        """Somebody with every right on entries."""
        return self.bound[-1]

    def bind(self, user: str, role: str) -> None:
        self.world.cluster.kubectl("create", "clusterrolebinding", user, f"--clusterrole={role}", f"--user={user}")
        self.bound.append(user)

    def close(self) -> None:
        for name in self.bound:
            self.world.do("delete", "clusterrolebinding", name, by=None)
        self.world.do("delete", "clusterrole", self.keeper, by=None)


@pytest.fixture
def vault(world: Any) -> Iterator[Vault]:
    """Its entry stays, as entries do: it goes with the control plane."""
    made = Vault(world)
    yield made
    made.close()


def stored(vault: Vault) -> Object:
    found: Object = vault.world.get(ENTRIES, vault.entry.name)
    return found


def test_no_role_writes_entries(vault: Vault, world: Any) -> None:
    for user in vault.users[:-1]:
        for verb in ("create", "update", "patch", "delete", "deletecollection"):
            assert not world.may(user, verb, ENTRIES, ""), f"{user} may {verb}"
            assert not world.may(user, verb, f"{ENTRIES}/status", ""), f"{user} may {verb} the status"


# The last are the cluster's administrator, of the group system:masters, and built-in controllers that tidy up.
EVERYBODY = [
    "keeper",
    None,
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:mlprivacy-system:mlprivacy-admission",
    "system:serviceaccount:mlprivacy-system:mlprivacy-collector",
]


@pytest.mark.parametrize("who", EVERYBODY, ids=str)
def test_nobody_but_the_operator_makes_changes_or_deletes_one(vault: Vault, world: Any, who: str | None) -> None:
    user = vault.keeper if who == "keeper" else who
    groups = () if who in (None, "keeper") else ("system:masters",)  # so that what refuses is the guard, never RBAC
    before = stored(vault)
    forged, _ = first_of(f"{vault.domain}-more")
    entry = (ENTRIES, vault.entry.name)
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": str(uuid.uuid4())}
    attempts: list[tuple[tuple[str, ...], Any]] = [
        (("create", "-f", "-"), forged),
        (("delete", *entry, "--wait=false"), None),
        (("delete", *entry, "--cascade=foreground", "--wait=false"), None),
        (("delete", "--raw", "/apis/mlprivacy.dev/v1alpha1/ledgerentries"), None),
        (("label", *entry, "mine=yes"), None),
        (("annotate", *entry, "mine=yes"), None),
        (("patch", *entry, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": ["a.example/b"]}})), None),
        (("patch", *entry, "--type=merge", "-p", json.dumps({"metadata": {"ownerReferences": [owner]}})), None),
        (("patch", *entry, "--subresource=status", "--type=merge", "-p",
          json.dumps({"status": {"observedGeneration": 7}})), None),
    ]  # fmt: skip
    for args, body in attempts:
        world.refused(*args, body=body, by=user, groups=groups, policy=POLICY)
    changed = json.dumps({"spec": {"writer": "somebody"}})
    done = world.do("patch", *entry, "--type=merge", "-p", changed, by=user, groups=groups)
    assert done.returncode != 0
    assert "never changed" in done.stderr or POLICY in done.stderr
    assert stored(vault) == before


def test_the_operator_makes_and_prunes_entries_and_changes_none(vault: Vault, world: Any) -> None:
    entry = (ENTRIES, vault.entry.name)
    done = world.do("patch", *entry, "--type=merge", "-p", '{"spec": {"writer": "other"}}', by=world.operator)
    assert done.returncode != 0
    assert not world.may(world.operator, "patch", ENTRIES, "")
    assert not world.may(world.operator, "update", ENTRIES, "")
    for how in ("foreground", "orphan"):
        said = world.refused("delete", *entry, f"--cascade={how}", by=world.operator, policy=POLICY)
        assert "in the background" in said
    world.allowed("delete", *entry, by=world.operator)
    assert world.get(*entry) is None


def as_operator(world: Any, path: Path) -> Path:
    """A kubeconfig with which every request is judged as the controller's."""
    config = yaml.safe_load(Path(world.cluster.kubeconfig).read_text())
    config["users"][0]["user"] |= {"as": world.operator, "as-groups": ["system:serviceaccounts"]}
    path.write_text(json.dumps(config))
    return path


async def test_the_operator_writes_again_what_was_lost_with_the_rights_that_it_has(
    vault: Vault, world: Any, tmp_path: Path
) -> None:
    """A ledger that is gone, and the collector's export of it."""
    following = link(vault.entry.head, [Retire((Range(7, 7),), "Owner")], stamp(datetime.now(UTC)), WRITER)
    world.allowed("delete", ENTRIES, vault.entry.name, by=world.operator)
    path = as_operator(world, tmp_path / "kubeconfig")

    async def export() -> AsyncGenerator[bytes, None]:
        for entry in (vault.entry, following):
            yield export_line(entry)

    async with await KubeClient.connect(str(path)) as client:
        recovery = Recovery(ApiLedgerLog(client), export, [following.head])
        await recovery.run()
        with pytest.raises(Forbidden):  # it is that account indeed
            await client.get(SECRETS, "none", "kube-system")
    assert recovery.restored == Restored(vault.domain, 1, following.head)
    assert world.get(ENTRIES, vault.entry.name)["spec"]["hash"] == vault.entry.hash
    assert world.get(ENTRIES, following.name)["spec"]["hash"] == following.hash


def test_an_entry_has_neither_finalizers_nor_owners(world: Any) -> None:
    """Else the garbage collector, or whoever never takes a finalizer off, would decide when one goes."""
    domain = f"guard-{uuid.uuid4().hex[:10]}"
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": str(uuid.uuid4())}
    for kept in ({"finalizers": ["a.example/b"]}, {"ownerReferences": [owner]}):
        body, _ = first_of(domain, **kept)
        world.refused("create", "-f", "-", body=body, by=world.operator, policy=POLICY)


def test_a_name_is_made_once(vault: Vault, world: Any) -> None:
    done = world.do("create", "-f", "-", body=vault.manifest, by=world.operator)
    assert "AlreadyExists" in done.stderr


@pytest.mark.xdist_group("definitions")
def test_the_definitions_stay_for_whoever_may_not_weaken(vault: Vault, world: Any) -> None:
    """Deleting one would delete its objects past every policy: for every right on definitions that is not enough."""
    name = f"definer-{uuid.uuid4().hex[:6]}"
    world.cluster.kubectl("create", "clusterrole", name, "--verb=*", f"--resource={DEFINITIONS}")
    world.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--user={name}")
    try:
        world.eventually(
            lambda: world.may(name, "delete", DEFINITIONS, ""),
            f"the rights of {name}",
        )
        for crd in (ENTRIES, "privacybudgets.mlprivacy.dev"):
            world.refused("delete", "crd", crd, by=name, policy="definitions")
            world.refused("label", "crd", crd, "mine=yes", by=name, policy="definitions")
    finally:
        world.cluster.kubectl("delete", "clusterrolebinding", name)
        world.cluster.kubectl("delete", "clusterrole", name)
    assert stored(vault)["spec"]["hash"] == vault.entry.hash
