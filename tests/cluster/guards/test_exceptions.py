"""Threat 13: an exception takes two people, one who asks and one who approves, with every process of ours dead.

No webhook stamps anything here: whoever writes has to write the annotations, and only the truth is let through.
"""

import copy
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

EXCEPTIONS = "policyexceptions.mlprivacy.dev"
ASKED, APPROVED = "mlprivacy.dev/requested-by", "mlprivacy.dev/approved-by"
ENGINEER, COLLEAGUE, OFFICER, SECOND = "mallory", "heidi", "olga", "oscar"
UNTIL, EARLIER, LATER = "2031-06-01T00:00:00Z", "2031-05-01T00:00:00Z", "2031-07-01T00:00:00Z"
POLICY = "exceptions"

Object = dict[str, Any]


def manifest(namespace: str, by: str = ENGINEER, **spec: Any) -> Object:
    base = {
        "rule": "dp-required",
        "workload": {"kind": "TrainingJob", "namespace": namespace, "name": "visits"},
        "reason": "The noise is added upstream.",
        "ticket": "PRIV-17",
        "expiresAt": UNTIL,
    }
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PolicyException",
        "metadata": {"name": f"guard-{uuid.uuid4().hex[:10]}", "annotations": {ASKED: by}},
        "spec": base | spec,
    }


def change(annotations: Object | None = None, **spec: Any) -> str:
    noted = {"metadata": {"annotations": annotations}} if annotations is not None else {}
    return json.dumps(noted | ({"spec": spec} if spec else {}))


def approval_of(looked_at: Object) -> Object:
    """What an approval says it is for: the object as its approver read it."""
    return {"uid": looked_at["metadata"]["uid"], "generation": looked_at["metadata"]["generation"]}


class Desk:
    """The namespace with the engineer's job, and who may do what to its exceptions."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.namespace = world.namespace()
        world.grant(self.namespace, "mlprivacy-ml-engineer", COLLEAGUE)
        self.mark = uuid.uuid4().hex[:6]
        self.bound: list[str] = []
        for role, users in (
            ("mlprivacy-exception-requester", (ENGINEER, COLLEAGUE)),
            ("mlprivacy-privacy-officer", (OFFICER, SECOND)),
        ):
            for user in users:
                self.bind(role, user)
        for user in (ENGINEER, COLLEAGUE, OFFICER, SECOND):
            world.eventually(lambda user=user: world.may(user, "create", EXCEPTIONS, ""), f"the rights of {user}")
        for user in (ENGINEER, COLLEAGUE):
            may = lambda user=user: world.may(user, "create", "trainingjobs.mlprivacy.dev", self.namespace)  # noqa: E731
            world.eventually(may, f"the rights of {user} in the namespace")
        self.made: list[str] = []

    def bind(self, role: str, user: str) -> None:
        name = f"{role}-{user.replace(':', '-')}-{self.mark}"
        self.world.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        self.bound.append(name)

    def ask(self, by: str = ENGINEER, **spec: Any) -> str:
        """A new exception, not approved; its name."""
        body = manifest(self.namespace, by, **spec)
        self.world.allowed("create", "-f", "-", body=body, by=by)
        self.made.append(body["metadata"]["name"])
        return self.made[-1]

    def approved(self) -> str:
        name = self.ask()
        self.patch(name, self.approval(name), by=OFFICER)
        return name

    def approval(self, name: str, by: str = OFFICER, annotations: Object | None = None, **spec: Any) -> str:
        """The approval of the exception as it is now, as `mlprivacy approve` sends it."""
        noted = {APPROVED: by} if annotations is None else annotations
        return change(noted, **({"approved": True, "approval": approval_of(self.get(name))} | spec))

    def patch(self, name: str, body: str, by: str | None) -> None:
        self.world.allowed("patch", EXCEPTIONS, name, "--type=merge", "-p", body, by=by)

    def refused(self, name: str, body: str, by: str | None, policy: str = POLICY) -> str:
        return str(self.world.refused("patch", EXCEPTIONS, name, "--type=merge", "-p", body, by=by, policy=policy))

    def invalid(self, name: str, body: str, by: str | None) -> str:
        """Refused by the definition of the kind."""
        done = self.world.do("patch", EXCEPTIONS, name, "--type=merge", "-p", body, by=by)
        assert done.returncode != 0
        assert "is invalid" in done.stderr, done.stderr
        return str(done.stderr)

    def get(self, name: str) -> Object:
        found: Object = self.world.get(EXCEPTIONS, name)
        return found

    def close(self) -> None:
        for name in self.made:
            self.world.do("delete", EXCEPTIONS, name, "--ignore-not-found", by=None)
        for name in self.bound:
            self.world.do("delete", "clusterrolebinding", name, by=None)


@pytest.fixture
def desk(world: Any) -> Iterator[Desk]:
    made = Desk(world)
    yield made
    made.close()


def test_the_stock_roles_reach_no_exception(world: Any) -> None:
    """Not even bound in the whole cluster: nothing of ours is aggregated into them."""
    for role in ("edit", "admin", "view"):
        user, name = f"everywhere-{role}", f"everywhere-{role}-{uuid.uuid4().hex[:6]}"
        world.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        try:
            world.eventually(lambda user=user: world.may(user, "get", "services"), f"{role} in force")
            for verb in ("get", "create", "update", "patch", "delete", "approve"):
                assert not world.may(user, verb, EXCEPTIONS, ""), f"{role} may {verb}"
        finally:
            world.cluster.kubectl("delete", "clusterrolebinding", name)


def test_whoever_declares_the_job_asks_and_an_officer_approves(desk: Desk) -> None:
    name = desk.ask()
    assert desk.get(name)["spec"]["approved"] is False
    looked_at = approval_of(desk.get(name))
    desk.patch(name, desk.approval(name), by=OFFICER)
    found = desk.get(name)
    assert found["spec"]["approved"] is True
    assert found["spec"]["approval"] == looked_at
    assert found["metadata"]["annotations"][APPROVED] == OFFICER


def test_nobody_makes_an_approved_one(desk: Desk) -> None:
    for by in (ENGINEER, OFFICER, None):
        truth = manifest(desk.namespace, by or "kubernetes-admin", approved=True)
        if by is None:
            del truth["metadata"]["annotations"]
        forged = copy.deepcopy(truth)
        forged["metadata"].setdefault("annotations", {})[APPROVED] = SECOND
        for body in (truth, forged):
            desk.world.refused("create", "-f", "-", body=body, by=by, policy=f"{POLICY}|requester")


def test_nobody_approves_what_they_asked_for(desk: Desk) -> None:
    mine = desk.ask()
    desk.refused(mine, desk.approval(mine, ENGINEER), by=ENGINEER)
    own = desk.ask(by=OFFICER)
    assert "another person" in desk.refused(own, desk.approval(own, OFFICER), by=OFFICER)
    desk.refused(own, desk.approval(own, SECOND), by=OFFICER)
    desk.patch(own, desk.approval(own, SECOND), by=SECOND)


def test_who_has_no_verb_approves_nothing_and_revokes_nothing(desk: Desk) -> None:
    name = desk.ask()
    for by in (ENGINEER, COLLEAGUE):
        assert "verb approve" in desk.refused(name, desk.approval(name, by), by=by)
    desk.patch(name, desk.approval(name), by=OFFICER)
    desk.refused(name, change({APPROVED: None}, approved=False), by=ENGINEER)


def test_the_approver_is_the_one_who_approves(desk: Desk) -> None:
    name = desk.ask()
    for noted in ({}, {APPROVED: SECOND}, {APPROVED: ""}, {APPROVED: "olga "}):
        desk.refused(name, desk.approval(name, annotations=noted), by=OFFICER)
    desk.refused(name, change({APPROVED: OFFICER}), by=OFFICER)
    desk.patch(name, desk.approval(name), by=OFFICER)
    for noted in (SECOND, None, ""):
        for by in (SECOND, OFFICER, None):
            desk.refused(name, change({APPROVED: noted}), by=by)


def test_without_a_stamp_of_who_asked_it_is_not_made(desk: Desk, world: Any) -> None:
    body = manifest(desk.namespace)
    del body["metadata"]["annotations"]
    world.refused("create", "-f", "-", body=body, by=ENGINEER, policy="requester")


def test_without_a_stamp_of_who_asked_it_is_not_approved(unshared: Any) -> None:
    """One from a time without guards: they are taken away for its making."""
    world, names = unshared, ("mlprivacy-requester", "mlprivacy-exceptions")
    desk = Desk(world)
    body, probe = manifest(desk.namespace), manifest(desk.namespace, ENGINEER + "2")
    del body["metadata"]["annotations"]
    kept = [world.get("validatingadmissionpolicybindings", name) for name in names]
    world.cluster.kubectl("delete", "validatingadmissionpolicybindings", *names)
    dry = ("create", "--dry-run=server", "-f", "-")
    world.eventually(lambda: world.do(*dry, body=probe, by=ENGINEER).returncode == 0, "no guard on duty")
    world.allowed("create", "-f", "-", body=body, by=ENGINEER)
    for one in kept:
        for key in ("uid", "resourceVersion", "creationTimestamp", "generation"):
            one["metadata"].pop(key, None)
    world.cluster.kubectl("create", "-f", "-", input=kept)
    early = manifest(desk.namespace, approved=True)
    for again in (probe, early):
        world.eventually(lambda again=again: world.do(*dry, body=again, by=ENGINEER).returncode != 0, "guards on duty")
    name = body["metadata"]["name"]
    assert "known who asked" in desk.refused(name, desk.approval(name), by=OFFICER)
    both = desk.approval(name, annotations={ASKED: ENGINEER, APPROVED: OFFICER})
    desk.refused(name, both, by=OFFICER, policy="requester|exceptions")
    desk.refused(name, change({ASKED: ENGINEER}), by=None, policy="requester")
    world.refused("delete", EXCEPTIONS, name, by=ENGINEER, policy=POLICY)
    world.allowed("delete", EXCEPTIONS, name, by=OFFICER)


def test_asking_is_for_ones_own_jobs(desk: Desk, world: Any) -> None:
    """The requester's role is for the whole cluster; what may be asked for is bounded by who may create the job."""
    other = world.namespace()
    world.grant(desk.namespace, "mlprivacy-data-owner", COLLEAGUE)
    body = manifest(other, COLLEAGUE)
    assert "may create the job" in world.refused("create", "-f", "-", body=body, by=COLLEAGUE, policy=POLICY)
    foreign = manifest(other, COLLEAGUE, workload={"kind": "InferenceJob", "namespace": other, "name": "api"})
    world.refused("create", "-f", "-", body=foreign, by=COLLEAGUE, policy=POLICY)
    desk.ask(by=COLLEAGUE)


def test_before_the_approval_only_who_asked_changes_it(desk: Desk) -> None:
    name = desk.ask()
    desk.patch(name, change(reason="Another reason.", expiresAt=LATER), by=ENGINEER)
    for by in (COLLEAGUE, OFFICER, None):
        desk.refused(name, change(expiresAt=EARLIER), by=by)


def test_approving_changes_nothing_else(desk: Desk) -> None:
    name = desk.ask()
    for more in ({"expiresAt": LATER}, {"expiresAt": EARLIER}, {"reason": "Mine."}, {"ticket": "PRIV-18"}):
        desk.invalid(name, desk.approval(name, **more), by=OFFICER)
    desk.patch(name, desk.approval(name), by=OFFICER)


def test_what_was_approved_only_ends_earlier(desk: Desk) -> None:
    name = desk.approved()
    for by in (ENGINEER, OFFICER, None):
        for spec in (
            {"reason": "Mine."},
            {"ticket": "PRIV-18"},
            {"expiresAt": LATER},
            {"expiresAt": "2031-06-01T00:00:01Z"},
        ):
            assert "invalid" in desk.invalid(name, change(**spec), by=by)
    desk.refused(name, change(expiresAt=EARLIER), by=COLLEAGUE)
    desk.patch(name, change(expiresAt="2031-06-01T02:00:00+02:00"), by=OFFICER)  # the same moment in another zone
    desk.patch(name, change(expiresAt=EARLIER), by=ENGINEER)
    desk.patch(name, change(expiresAt="2031-04-01T00:00:00Z"), by=SECOND)


def test_rule_and_workload_never_change(desk: Desk) -> None:
    for name, by in ((desk.ask(), ENGINEER), (desk.approved(), OFFICER)):
        assert "spec.rule" in desk.invalid(name, change(rule="minimisation"), by=by)
        assert "spec.workload" in desk.invalid(name, change(workload={"name": "other"}), by=by)
        desk.invalid(name, desk.approval(name, rule="minimisation"), by=by)


def test_it_is_revoked_by_whoever_may_approve_and_asked_for_anew(desk: Desk) -> None:
    name = desk.approved()
    desk.patch(name, change(approved=False), by=SECOND)  # the annotation may stay, or go
    desk.patch(name, change({APPROVED: None}), by=ENGINEER)
    desk.patch(name, change(expiresAt=LATER), by=ENGINEER)
    desk.refused(name, desk.approval(name, OFFICER), by=SECOND)
    desk.patch(name, desk.approval(name, SECOND), by=SECOND)
    # An officer who asked may revoke as well: that is the safe direction.
    own = desk.ask(by=OFFICER)
    desk.patch(own, desk.approval(own, SECOND), by=SECOND)
    desk.patch(own, change({APPROVED: None}, approved=False), by=OFFICER)


def test_the_stamp_of_a_former_approval_is_worth_nothing(desk: Desk) -> None:
    name = desk.approved()
    desk.patch(name, change(approved=False), by=SECOND)
    assert desk.get(name)["metadata"]["annotations"][APPROVED] == OFFICER
    desk.refused(name, desk.approval(name, annotations={}), by=SECOND)
    own = desk.ask(by=OFFICER)
    desk.refused(own, change({APPROVED: SECOND}), by=OFFICER)


def test_it_is_deleted_by_who_asked_or_who_may_approve(desk: Desk, world: Any) -> None:
    first, second = desk.approved(), desk.ask()
    for name in (first, second):
        world.refused("delete", EXCEPTIONS, name, by=COLLEAGUE, policy=POLICY)
    world.allowed("delete", EXCEPTIONS, first, by=ENGINEER)
    world.allowed("delete", EXCEPTIONS, second, by=SECOND)


def test_a_subresource_is_no_way_around(desk: Desk, world: Any) -> None:
    """Even an administrator's write of the status leaves spec and stamps as they are."""
    name = desk.ask()
    body = desk.approval(name, "kubernetes-admin")
    world.do("patch", EXCEPTIONS, name, "--subresource=status", "--type=merge", "-p", body, by=None)
    found = desk.get(name)
    assert found["spec"]["approved"] is False
    assert APPROVED not in found["metadata"]["annotations"]
    for user in (ENGINEER, OFFICER):
        assert not world.may(user, "patch", f"{EXCEPTIONS}/status", "")


@pytest.mark.parametrize(
    "end",
    [
        "2031-02-30T00:00:00Z",
        "2031-06-01T00:00:00",
        "2031-06-01",
        "tomorrow",
        "2031-06-01T00:00:00+15:00",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_moment_that_is_none_is_refused(desk: Desk, world: Any, end: str) -> None:
    done = world.do("create", "-f", "-", body=manifest(desk.namespace, expiresAt=end), by=ENGINEER)
    assert done.returncode != 0
    assert "spec.expiresAt" in done.stderr


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "1000-01-01T00:00:00Z"])
def test_an_absurd_moment_is_stored_and_changes_nothing_in_the_guards(desk: Desk, end: str) -> None:
    name = desk.ask(expiresAt=end)
    desk.patch(name, desk.approval(name), by=OFFICER)
    if end > UNTIL:
        desk.patch(name, change(expiresAt=UNTIL), by=ENGINEER)


def test_an_administrator_is_held_to_it_as_well(desk: Desk) -> None:
    name = desk.ask()
    desk.refused(name, desk.approval(name, "somebody"), by=None)
    desk.refused(name, change(reason="Mine."), by=None)


# -- what was looked at is what is approved ----------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, {}, {"generation": 9}, {"uid": "somebody-else"}], ids=str)
def test_an_approval_that_does_not_name_what_was_looked_at_is_refused_and_says_how(desk: Desk, named: Any) -> None:
    name = desk.ask()
    given = {} if named is None else {"approval": approval_of(desk.get(name)) | named if named else {}}
    body = change({APPROVED: OFFICER}, approved=True, **given)
    if named == {}:
        desk.invalid(name, body, by=OFFICER)  # the definition asks for both fields
    else:
        assert "mlprivacy approve" in desk.refused(name, body, by=OFFICER)


def test_what_was_changed_since_the_look_is_not_approved(desk: Desk) -> None:
    name = desk.ask()
    looked_at = desk.approval(name)
    for edit in ({"expiresAt": LATER}, {"reason": "Another."}, {"covers": [{"path": "spec", "message": "all"}]}):
        desk.patch(name, change(**edit), by=ENGINEER)
        assert "looked at" in desk.refused(name, looked_at, by=OFFICER)
    desk.patch(name, desk.approval(name), by=OFFICER)


def test_what_was_made_anew_since_the_look_is_not_approved(desk: Desk, world: Any) -> None:
    body = manifest(desk.namespace)
    world.allowed("create", "-f", "-", body=body, by=ENGINEER)
    name = body["metadata"]["name"]
    looked_at = desk.approval(name)
    world.allowed("delete", EXCEPTIONS, name, by=ENGINEER)
    body["spec"]["expiresAt"] = LATER
    world.allowed("create", "-f", "-", body=body, by=ENGINEER)
    desk.made.append(name)
    desk.refused(name, looked_at, by=OFFICER)


def test_nobody_writes_the_approval_before_it_is_given(desk: Desk, world: Any) -> None:
    """Otherwise a plain `approved: true` would be bound to what the requester chose."""
    early = manifest(desk.namespace, approval={"uid": "x", "generation": 1})
    world.refused("create", "-f", "-", body=early, by=ENGINEER, policy=POLICY)
    name = desk.ask()
    ahead = approval_of(desk.get(name))
    ahead["generation"] += 1
    desk.refused(name, change(approval=ahead), by=ENGINEER)
    desk.patch(name, desk.approval(name), by=OFFICER)
    desk.refused(name, change(approval=ahead), by=ENGINEER)
    desk.refused(name, change(approval=None), by=OFFICER)


def test_an_approval_counts_once(desk: Desk) -> None:
    name = desk.ask()
    looked_at = desk.approval(name)
    desk.patch(name, looked_at, by=OFFICER)
    desk.patch(name, change(approved=False), by=SECOND)
    desk.refused(name, looked_at, by=OFFICER)
    desk.refused(name, change({APPROVED: SECOND}, approved=True), by=SECOND)
    desk.patch(name, desk.approval(name, SECOND), by=SECOND)


# -- metadata, and who is a person -------------------------------------------------------------------------------------


def test_nothing_keeps_an_exception_that_was_deleted(desk: Desk, world: Any) -> None:
    name = desk.approved()
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": desk.namespace, "uid": "a-uid"}
    for kept in ({"finalizers": ["example.org/mine"]}, {"ownerReferences": [owner]}):
        body = json.dumps({"metadata": kept})
        for by in (ENGINEER, OFFICER, None):
            assert "finalizers" in desk.refused(name, body, by=by)
        made = manifest(desk.namespace)
        made["metadata"] |= kept
        world.refused("create", "-f", "-", body=made, by=ENGINEER, policy=POLICY)
    world.allowed("delete", EXCEPTIONS, name, "--cascade=foreground", by=ENGINEER)
    world.gone(EXCEPTIONS, name)


def test_nobody_touches_the_metadata_of_anothers(desk: Desk) -> None:
    name = desk.ask()
    for noted in ({"annotations": {"note": "mine"}}, {"labels": {"team": "mine"}}):
        body = json.dumps({"metadata": noted})
        assert "labels and annotations" in desk.refused(name, body, by=COLLEAGUE)
        desk.patch(name, body, by=ENGINEER)
        desk.patch(
            name, json.dumps({"metadata": {key: dict.fromkeys(value) for key, value in noted.items()}}), by=OFFICER
        )


def test_a_service_account_neither_asks_nor_approves(desk: Desk, world: Any) -> None:
    """Whoever may use one would be two people."""
    account = f"system:serviceaccount:{desk.namespace}:default"
    for role in ("mlprivacy-exception-requester", "mlprivacy-privacy-officer"):
        desk.bind(role, account)
    world.grant(desk.namespace, "mlprivacy-ml-engineer", account)
    world.eventually(lambda: world.may(account, "approve", EXCEPTIONS, ""), "the rights of the account")
    said = world.refused("create", "-f", "-", body=manifest(desk.namespace, account), by=account, policy=POLICY)
    assert "ServiceAccount" in said
    name = desk.ask()
    assert "ServiceAccount" in desk.refused(name, desk.approval(name, account), by=account)
    desk.patch(name, desk.approval(name), by=OFFICER)
    desk.patch(name, change(approved=False), by=account)  # the safe direction
