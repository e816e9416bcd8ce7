"""Threat 15: a promise is made larger by two people, and a budget's status is the operator's, with ours all dead.

No webhook stamps anything here: whoever writes has to write the annotations, and only the truth is let through.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

BUDGETS = "privacybudgets.mlprivacy.dev"
REQUESTED, PROMISED, APPROVED = (f"mlprivacy.dev/{stamp}-by" for stamp in ("requested", "promised", "approved"))
AUTHOR, OFFICER, SECOND = "anna", "olga", "oscar"
POLICY = "budgets"

Object = dict[str, Any]


def manifest(by: str, name: str = "", **spec: Any) -> Object:
    name = name or f"guard-{uuid.uuid4().hex[:10]}"
    base = {
        "subjectDomain": name,
        "identities": [f"urn:guards:{name}"],
        "epsilon": 10,
        "delta": 1e-8,
        "noticeVersion": "1",
        "unit": "User",
        "blocks": {"by": "SubjectCohort", "period": "Week"},
    }
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyBudget",
        "metadata": {"name": name, "annotations": {REQUESTED: by, PROMISED: by}},
        "spec": base | spec,
    }


def change(annotations: Object | None = None, **spec: Any) -> str:
    noted = {"metadata": {"annotations": annotations}} if annotations is not None else {}
    return json.dumps(noted | ({"spec": spec} if spec else {}))


def larger(by: str, epsilon: float = 12, notice: str = "2", **annotations: str | None) -> str:
    """A new promise with its stamps as they have to be."""
    return change({PROMISED: by, APPROVED: None} | annotations, epsilon=epsilon, noticeVersion=notice)


def approval(epsilon: float = 12, notice: str = "2") -> Object:
    return {"epsilon": epsilon, "delta": 1e-8, "noticeVersion": notice}


class Office:
    """Two officers, and an author who writes budgets and may not approve."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.mark = uuid.uuid4().hex[:6]
        self.made: list[str] = []
        self.bound: list[str] = []
        self.author_role = f"budget-author-{self.mark}"
        verbs = "--verb=get,list,create,update,patch,delete,deletecollection"
        world.cluster.kubectl("create", "clusterrole", self.author_role, verbs,
                              f"--resource={BUDGETS},{BUDGETS}/status")  # fmt: skip
        self.bind(self.author_role, AUTHOR)
        for user in (OFFICER, SECOND):
            self.bind("mlprivacy-privacy-officer", user)
        for user in (AUTHOR, OFFICER, SECOND):
            world.eventually(lambda user=user: world.may(user, "create", BUDGETS, ""), f"the rights of {user}")

    def bind(self, role: str, user: str) -> None:
        name = f"{role}-{user.replace(':', '-')}-{self.mark}"
        self.world.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        self.bound.append(name)

    def make(self, by: str = AUTHOR, **spec: Any) -> str:
        body = manifest(by, **spec)
        self.world.allowed("create", "-f", "-", body=body, by=by)
        self.made.append(body["metadata"]["name"])
        return self.made[-1]

    def in_force(self, name: str, epsilon: float) -> None:
        """What the operator says once the ledger has a promise of so much."""
        generation = self.world.get(BUDGETS, name)["metadata"]["generation"]
        promise = {"revision": 1, "epsilon": epsilon, "delta": 1e-8, "effectiveDelta": 1e-8, "orders": 3}
        status = {"observedGeneration": generation, "promise": promise}
        args = ("patch", BUDGETS, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        self.world.allowed(*args, by=self.world.operator, groups=("system:masters",))

    def raised(self) -> str:
        """A budget whose promise the author made larger, approved by an officer."""
        name = self.make()
        self.patch(name, larger(AUTHOR), by=AUTHOR)
        self.patch(name, change({APPROVED: OFFICER}, approval=approval()), by=OFFICER)
        return name

    def patch(self, name: str, body: str, by: str | None) -> None:
        self.world.allowed("patch", BUDGETS, name, "--type=merge", "-p", body, by=by)

    def refused(self, name: str, body: str, by: str | None, policy: str = POLICY) -> str:
        return str(self.world.refused("patch", BUDGETS, name, "--type=merge", "-p", body, by=by, policy=policy))

    def stamps(self, name: str) -> tuple[str | None, str | None]:
        found = self.world.get(BUDGETS, name)["metadata"]["annotations"]
        return found.get(PROMISED), found.get(APPROVED)

    def close(self) -> None:
        for name in self.made:
            self.world.do("delete", BUDGETS, name, "--ignore-not-found", by=None)
        for name in self.bound:
            self.world.do("delete", "clusterrolebinding", name, by=None)
        self.world.do("delete", "clusterrole", self.author_role, by=None)


@pytest.fixture
def office(world: Any) -> Iterator[Office]:
    made = Office(world)
    yield made
    made.close()


def test_the_stock_roles_reach_no_budget(world: Any) -> None:
    for role in ("edit", "admin", "view"):
        user, name = f"stock-{role}", f"stock-{role}-{uuid.uuid4().hex[:6]}"
        world.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        try:
            world.eventually(lambda user=user: world.may(user, "get", "services"), f"{role} in force")
            for verb in ("get", "create", "update", "patch", "delete", "deletecollection", "approve"):
                assert not world.may(user, verb, BUDGETS, ""), f"{role} may {verb}"
                assert not world.may(user, verb, f"{BUDGETS}/status", ""), f"{role} may {verb} the status"
        finally:
            world.cluster.kubectl("delete", "clusterrolebinding", name)


def test_one_asks_for_more_and_another_approves(office: Office) -> None:
    name = office.raised()
    assert office.stamps(name) == (AUTHOR, OFFICER)


def test_nobody_makes_an_approved_one(office: Office, world: Any) -> None:
    for noted in ({}, {APPROVED: OFFICER}):
        body = manifest(OFFICER, approval={"epsilon": 10, "delta": 1e-8, "noticeVersion": "1"})
        body["metadata"]["annotations"] |= noted
        assert "without an approval" in world.refused("create", "-f", "-", body=body, by=OFFICER, policy=POLICY)
    body = manifest(OFFICER)
    body["metadata"]["annotations"][APPROVED] = SECOND
    world.refused("create", "-f", "-", body=body, by=OFFICER, policy=POLICY)


@pytest.mark.parametrize("stamp", [None, "", SECOND], ids=str)
def test_who_promised_is_not_forged_when_it_is_made(office: Office, world: Any, stamp: str | None) -> None:
    body = manifest(AUTHOR)
    body["metadata"]["annotations"][PROMISED] = stamp
    if stamp is None:
        del body["metadata"]["annotations"][PROMISED]
    world.refused("create", "-f", "-", body=body, by=AUTHOR, policy=POLICY)


def test_who_asked_does_not_approve(office: Office) -> None:
    name = office.make(OFFICER)
    office.patch(name, larger(OFFICER), by=OFFICER)
    approved = change({APPROVED: OFFICER}, approval=approval())
    assert "another person" in office.refused(name, approved, by=OFFICER)
    for forged in ({APPROVED: SECOND}, {APPROVED: OFFICER, PROMISED: SECOND}, {APPROVED: None}):
        office.refused(name, change(forged, approval=approval()), by=OFFICER)
    office.patch(name, change({APPROVED: SECOND}, approval=approval()), by=SECOND)
    # Once that is in force, whoever asks for more is who asked, whoever made the budget.
    office.in_force(name, 12)
    office.patch(name, larger(SECOND, 14, "3"), by=SECOND)
    office.refused(name, change({APPROVED: SECOND}, approval=approval(14, "3")), by=SECOND)
    office.patch(name, change({APPROVED: OFFICER}, approval=approval(14, "3")), by=OFFICER)


def test_whoever_had_a_hand_in_it_does_not_approve(office: Office) -> None:
    """An officer raises epsilon, an unwitting colleague edits the notice: neither approves."""
    name = office.make(AUTHOR)
    office.in_force(name, 10)
    office.patch(name, larger(OFFICER, 20, "3"), by=OFFICER)
    for forged in (SECOND, OFFICER, f"{SECOND},{OFFICER}", f"{OFFICER},{SECOND},x", f"{OFFICER},"):
        office.refused(name, larger(forged, 20, "3b"), by=SECOND)
    both = f"{OFFICER},{SECOND}"
    office.patch(name, larger(both, 20, "3b"), by=SECOND)
    for user in (OFFICER, SECOND):
        assert "another person" in office.refused(name, change({APPROVED: user}, approval=approval(20, "3b")), by=user)
    # A status that is behind forgets nobody; less in one number is no less.
    office.refused(name, larger(SECOND, 19, "3c"), by=SECOND)
    office.refused(name, change({PROMISED: SECOND, APPROVED: None}, delta=1e-9, noticeVersion="3c"), by=SECOND)
    office.in_force(name, 10)
    office.refused(name, larger(SECOND, 19, "3c"), by=SECOND)
    office.patch(name, larger(SECOND, 10, "3d"), by=SECOND)
    office.in_force(name, 10)
    office.patch(name, larger(SECOND, 20, "4"), by=SECOND)
    office.patch(name, change({APPROVED: OFFICER}, approval=approval(20, "4")), by=OFFICER)
    assert office.stamps(name) == (SECOND, OFFICER)


def test_approving_takes_the_verb_and_a_person(office: Office, world: Any) -> None:
    name = office.make(OFFICER)
    office.patch(name, larger(OFFICER), by=OFFICER)
    assert "privacy-officer" in office.refused(name, change({APPROVED: AUTHOR}, approval=approval()), by=AUTHOR)
    account = f"system:serviceaccount:{world.common}:default"
    office.bind("mlprivacy-privacy-officer", account)
    world.eventually(lambda: world.may(account, "approve", BUDGETS, ""), "the rights of the account")
    assert "ServiceAccount" in office.refused(name, change({APPROVED: account}, approval=approval()), by=account)


def test_what_a_service_account_asked_for_is_asked_for_anew_by_a_person(office: Office, world: Any) -> None:
    """Whoever may use the account and the verb would be two people."""
    account = f"system:serviceaccount:{world.common}:default"
    office.bind(office.author_role, account)
    world.eventually(lambda: world.may(account, "create", BUDGETS, ""), "the rights of the account")
    name = office.make(account)
    office.patch(name, larger(account), by=account)
    assert "a person asked" in office.refused(name, change({APPROVED: OFFICER}, approval=approval()), by=OFFICER)
    office.patch(name, larger(f"{account},{AUTHOR}", 12, "3"), by=AUTHOR)
    assert "a person asked" in office.refused(name, change({APPROVED: OFFICER}, approval=approval(12, "3")), by=OFFICER)
    office.in_force(name, 10)
    office.patch(name, larger(AUTHOR, 10, "4"), by=AUTHOR)
    office.in_force(name, 10)
    office.patch(name, larger(AUTHOR, 12, "5"), by=AUTHOR)
    office.patch(name, change({APPROVED: OFFICER}, approval=approval(12, "5")), by=OFFICER)


def test_approving_changes_nothing_else(office: Office, world: Any) -> None:
    """Nor is anything approved but what is asked for: the definition of the kind says both."""
    name = office.make()
    office.patch(name, larger(AUTHOR), by=AUTHOR)
    for body in (
        change({APPROVED: OFFICER, PROMISED: OFFICER}, epsilon=20, noticeVersion="3", approval=approval(20, "3")),
        change({APPROVED: OFFICER}, approval=approval(20)),
        change({APPROVED: OFFICER}, approval=approval(12, "1")),
    ):
        done = world.do("patch", BUDGETS, name, "--type=merge", "-p", body, by=OFFICER)
        assert "is invalid" in done.stderr, done.stderr


def test_the_stamps_stay_what_they_are(office: Office) -> None:
    name = office.raised()
    for noted in ({APPROVED: SECOND}, {APPROVED: None}, {PROMISED: SECOND}, {PROMISED: None}, {APPROVED: ""}):
        for by in (AUTHOR, OFFICER, SECOND, None):
            office.refused(name, change(noted), by=by)
            office.refused(name, change(noted, quotas=[{"namespace": "research", "share": 0.5}]), by=by)
    office.patch(name, change(quotas=[{"namespace": "research", "share": 0.5}]), by=AUTHOR)
    assert office.stamps(name) == (AUTHOR, OFFICER)


def test_an_approval_is_for_one_promise(office: Office) -> None:
    """Asking for more leaves the former approval behind in the spec; it counts no more, also when one asks again."""
    name = office.raised()
    office.refused(name, change({PROMISED: AUTHOR}, epsilon=14, noticeVersion="3"), by=AUTHOR)  # keeps approved-by
    office.patch(name, larger(AUTHOR, 8, "2"), by=AUTHOR)
    office.refused(name, change({PROMISED: AUTHOR, APPROVED: OFFICER}, epsilon=12, noticeVersion="4"), by=AUTHOR)
    office.patch(name, larger(AUTHOR, 12, "4"), by=AUTHOR)
    assert office.stamps(name) == (AUTHOR, None)
    office.refused(name, change({APPROVED: OFFICER}), by=OFFICER)
    office.patch(name, change({APPROVED: OFFICER}, approval=approval(12, "4")), by=OFFICER)


def test_an_approval_is_withdrawn_with_its_stamp(office: Office) -> None:
    name = office.raised()
    office.refused(name, change(approval=None), by=SECOND)
    office.patch(name, change({APPROVED: None}, approval=None), by=SECOND)
    assert office.stamps(name) == (AUTHOR, None)


def test_its_status_is_the_operators(office: Office, world: Any) -> None:
    name = office.make()
    body = json.dumps({"status": {"usedPercent": 0}})
    args = ("patch", BUDGETS, name, "--subresource=status", "--type=merge", "-p", body)
    for by in (AUTHOR, None):
        assert "status" in world.refused(*args, by=by, policy=POLICY)
    # kubectl reads the subresource first, which the operator itself never does.
    world.allowed(*args, by=world.operator, groups=("system:masters",))
    assert world.may(world.operator, "patch", f"{BUDGETS}/status", "")


def test_made_anew_it_carries_no_approval_over(office: Office, world: Any) -> None:
    name = office.raised()
    body = world.get(BUDGETS, name)
    world.allowed("delete", BUDGETS, name, by=AUTHOR)
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        body["metadata"].pop(key, None)
    body["metadata"]["annotations"] |= {REQUESTED: AUTHOR, PROMISED: AUTHOR}
    world.refused("create", "-f", "-", body=body, by=AUTHOR, policy=POLICY)
    del body["spec"]["approval"]
    world.refused("create", "-f", "-", body=body, by=AUTHOR, policy=POLICY)
    del body["metadata"]["annotations"][APPROVED]
    world.allowed("create", "-f", "-", body=body, by=AUTHOR)
    assert office.stamps(name) == (AUTHOR, None)


def test_it_is_deleted_by_who_promised_or_may_approve(office: Office, world: Any) -> None:
    mine, theirs = office.make(), office.make(OFFICER)
    world.refused("delete", BUDGETS, theirs, by=AUTHOR, policy=POLICY)
    world.allowed("delete", BUDGETS, mine, by=AUTHOR)
    world.refused("delete", "--raw", "/apis/mlprivacy.dev/v1alpha1/privacybudgets", by=AUTHOR, policy=POLICY)
    assert world.get(BUDGETS, theirs) is not None
    third = office.make()
    world.allowed("delete", BUDGETS, third, "--cascade=foreground", by=SECOND)
    world.gone(BUDGETS, third)


def test_nothing_keeps_it_and_nobody_elses_going_deletes_it(office: Office) -> None:
    name = office.make()
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": str(uuid.uuid4())}
    for kept in ({"finalizers": ["a.example/b"]}, {"ownerReferences": [owner]}):
        for by in (AUTHOR, OFFICER, None):
            assert "finalizers" in office.refused(name, json.dumps({"metadata": kept}), by=by)
