"""The fact store's copies of budgets and ledgers: what is kept of an entry, what is told, what holds decisions."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from ledger_world import NOON, promise, reserve

from mlprivacy.budget.ledger.entry import Entry, Head, link, stamp
from mlprivacy.budget.ledger.transitions import Register, Transition
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.factstore_changes import touched_by
from mlprivacy.policy.model import Dependency

GROUP = "/apis/mlprivacy.dev/v1alpha1"
DOMAIN = "clinic-patients"
SPEC = {
    "subjectDomain": DOMAIN,
    "identities": ["urn:clinic:visits"],
    "epsilon": 10,
    "delta": 1e-8,
    "unit": "User",
    "blocks": {"by": "Subject", "buckets": 8},
}
JOB = {"kind": "TrainingJob", "metadata": {"name": "job", "namespace": "team"}, "spec": {}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def chain(*entries: tuple[Transition, ...]) -> list[Entry]:
    head, made = Head.none(DOMAIN), []
    for number, transitions in enumerate(entries):
        made.append(link(head, transitions, stamp(NOON + timedelta(seconds=number)), "tests"))
        head = made[-1].head
    return made


async def put(api, entry: Entry) -> None:
    await api.put(f"{GROUP}/ledgerentries/{entry.name}", {"spec": dict(entry.spec)})


@pytest.fixture
async def store(api, client: KubeClient) -> AsyncIterator[FactStore]:
    found = FactStore(client, backoff=(0.01, 0.05))
    found.start()
    assert await found.wait_synced(20)
    yield found
    await found.stop()


async def test_an_entry_takes_no_room_for_what_it_spends(store: FactStore, api, eventually) -> None:
    first, second = chain((promise(), Register("urn:clinic:visits", "s3://clinic/visits")), (reserve(1),))
    for entry in (first, second):
        await put(api, entry)
    informer = store.informers["LedgerEntry"]
    await eventually(lambda: len(informer) == 2)

    assert informer.get(None, second.name) == {"kind": "LedgerEntry", "metadata": {"name": second.name}}
    (registered,) = store.registrations()
    assert (registered.domain, registered.identity, registered.source) == (
        DOMAIN,
        "urn:clinic:visits",
        "s3://clinic/visits",
    )
    assert (await store.gather(JOB, NOW)).registered == (registered,)


async def test_budgets_are_facts_and_their_status_ages_nothing(store: FactStore, api, eventually) -> None:
    told: list[Dependency] = []
    store.on_change(lambda what, _old, _new: told.append(what))
    assert store.budgets() == ()
    await api.put(f"{GROUP}/privacybudgets/patients", {"spec": SPEC})
    await eventually(lambda: told)
    version, (found,) = store.version, store.budgets()
    assert found.spec is not None
    assert found.spec.epsilon == 10
    assert (await store.gather(JOB, NOW)).budgets == (found,)

    await api.put(f"{GROUP}/privacybudgets/patients", {"spec": SPEC, "status": {"usedPercent": 4}})
    await eventually(lambda: len(told) == 2)

    assert told == [Dependency("PrivacyBudget", "", "patients")] * 2
    assert store.version == version
    assert store.budgets()[0] is found


async def test_who_promised_and_who_approved_is_never_of_an_older_version(store: FactStore, api, eventually) -> None:
    """The ledger takes both names from there."""
    await api.put(f"{GROUP}/privacybudgets/patients", {"spec": SPEC})
    await eventually(store.budgets)
    noted = {"annotations": {"mlprivacy.dev/approved-by": "olga"}}
    await api.put(f"{GROUP}/privacybudgets/patients", {"spec": SPEC, "metadata": noted})
    await eventually(lambda: "annotations" in store.budgets()[0].raw["metadata"])


async def test_what_a_new_object_must_go_together_with_is_all_there(store: FactStore, api, eventually) -> None:
    (first,) = chain((promise(), Register("urn:clinic:visits", "s3://clinic/visits")))
    await put(api, first)
    await api.put(f"{GROUP}/privacybudgets/patients", {"spec": SPEC})
    dataset = {
        "identity": "urn:x:y",
        "source": {"uri": "s3://x/y"},
        "subjects": {"atLeast": 7},
        "columns": [],
        "uses": [],
    }
    await api.put(f"{GROUP}/namespaces/team/datasets/own", {"spec": dataset})
    await eventually(lambda: store.held().holdings and store.registrations() and store.budgets())

    held = store.held()
    assert held.domains() == {"urn:clinic:visits": DOMAIN}
    assert held.forms[DOMAIN].unit == "User"
    assert [tuple(one) for one in held.holdings] == [("team", "own", "urn:x:y", "s3://x/y", 7)]

    await api.remove(f"{GROUP}/namespaces/team/datasets/own")
    await eventually(lambda: not store.held().holdings)


@pytest.mark.parametrize("plural", ["privacybudgets", "ledgerentries"])
async def test_without_either_definition_nothing_is_known_for_sure(client: KubeClient, api, plural: str) -> None:
    """A ledger that can not be read might hold any dataset: decisions wait, as for every other kind."""
    api.missing.add(f"{GROUP}/{plural}")
    store = FactStore(client, backoff=(0.01, 0.05))
    store.start()

    assert not await store.wait_synced(0.5)
    assert any(plural in text for text in store.problems())
    await store.stop()


def test_registrations_concern_whoever_rests_on_all_budgets() -> None:
    changed = Dependency("Registrations", "", "*")
    assert set(touched_by(changed)) == {changed, Dependency("PrivacyBudget", "", "*")}
