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


def approval(by: str = OFFICER) -> str:
    return change({APPROVED: by}, approved=True)


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
        name = f"{role}-{user}-{self.mark}"
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
        self.patch(name, approval(), by=OFFICER)
        return name

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
    desk.patch(name, approval(), by=OFFICER)
    found = desk.get(name)
    assert found["spec"]["approved"] is True
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
    desk.refused(desk.ask(), approval(ENGINEER), by=ENGINEER)
    own = desk.ask(by=OFFICER)
    assert "another person" in desk.refused(own, approval(OFFICER), by=OFFICER)
    desk.refused(own, approval(SECOND), by=OFFICER)
    desk.patch(own, approval(SECOND), by=SECOND)


def test_who_has_no_verb_approves_nothing_and_revokes_nothing(desk: Desk) -> None:
    name = desk.ask()
    for by in (ENGINEER, COLLEAGUE):
        assert "verb approve" in desk.refused(name, approval(by), by=by)
    desk.patch(name, approval(), by=OFFICER)
    desk.refused(name, change({APPROVED: None}, approved=False), by=ENGINEER)


def test_the_approver_is_the_one_who_approves(desk: Desk) -> None:
    name = desk.ask()
    for noted in ({}, {APPROVED: SECOND}, {APPROVED: ""}, {APPROVED: "olga "}):
        desk.refused(name, change(noted, approved=True), by=OFFICER)
    desk.refused(name, change({APPROVED: OFFICER}), by=OFFICER)
    desk.patch(name, approval(), by=OFFICER)
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
    assert "known who asked" in desk.refused(name, approval(), by=OFFICER)
    both = change({ASKED: ENGINEER, APPROVED: OFFICER}, approved=True)
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
        desk.invalid(name, change({APPROVED: OFFICER}, approved=True, **more), by=OFFICER)
    desk.patch(name, approval(), by=OFFICER)


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
        desk.invalid(name, change({APPROVED: OFFICER}, approved=True, rule="minimisation"), by=by)


def test_it_is_revoked_by_whoever_may_approve_and_asked_for_anew(desk: Desk) -> None:
    name = desk.approved()
    desk.patch(name, change(approved=False), by=SECOND)  # the annotation may stay, or go
    desk.patch(name, change({APPROVED: None}), by=ENGINEER)
    desk.patch(name, change(expiresAt=LATER), by=ENGINEER)
    desk.refused(name, change({APPROVED: OFFICER}, approved=True), by=SECOND)
    desk.patch(name, approval(SECOND), by=SECOND)
    # An officer who asked may revoke as well: that is the safe direction.
    own = desk.ask(by=OFFICER)
    desk.patch(own, approval(SECOND), by=SECOND)
    desk.patch(own, change({APPROVED: None}, approved=False), by=OFFICER)


def test_the_stamp_of_a_former_approval_is_worth_nothing(desk: Desk) -> None:
    name = desk.approved()
    desk.patch(name, change(approved=False), by=SECOND)
    assert desk.get(name)["metadata"]["annotations"][APPROVED] == OFFICER
    desk.refused(name, change(approved=True), by=SECOND)
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
    body = change({APPROVED: "kubernetes-admin"}, approved=True)
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
    desk.patch(name, approval(), by=OFFICER)
    if end > UNTIL:
        desk.patch(name, change(expiresAt=UNTIL), by=ENGINEER)


def test_an_administrator_is_held_to_it_as_well(desk: Desk) -> None:
    name = desk.ask()
    desk.refused(name, approval("somebody"), by=None)
    desk.refused(name, change(reason="Mine."), by=None)
