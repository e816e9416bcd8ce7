"""/mutate/stamp: the requester is whom the API server authenticated, and no patch is sent where nothing changes."""

import copy
from typing import Any

import pytest
from builders import exception

REQUESTED = "mlprivacy.dev/requested-by"
CHANGED = "mlprivacy.dev/last-changed-by"
CONTROLLER = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"
STAMP = "/mutate/stamp"


def with_annotations(obj: dict[str, Any], **annotations: str) -> dict[str, Any]:
    changed = copy.deepcopy(obj)
    changed["metadata"]["annotations"] = annotations
    return changed


def annotations(obj: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations", {})
    return found


async def test_a_new_object_carries_its_requester(world, apply_patch) -> None:
    job = world.job()

    answer = await world.ask(STAMP, job, user="alice")

    assert answer["allowed"]
    assert annotations(apply_patch(job, answer)) == {REQUESTED: "alice"}


@pytest.mark.parametrize(
    "given", [{REQUESTED: "bob"}, {REQUESTED: "bob", CHANGED: "bob"}, {CHANGED: "bob", "team": "x"}]
)
async def test_forged_stamps_are_overwritten(world, apply_patch, given) -> None:
    job = with_annotations(world.job(), **given)

    found = annotations(apply_patch(job, await world.ask(STAMP, job, user="mallory")))

    assert found[REQUESTED] == "mallory"
    assert CHANGED not in found
    assert found.get("team") == given.get("team")


async def test_an_object_that_is_stamped_already_gets_no_patch(world) -> None:
    job = with_annotations(world.job(), **{REQUESTED: "alice"})

    assert "patch" not in await world.ask(STAMP, job, user="alice")
    assert "patch" not in await world.ask(STAMP, job, job, user="bob"), "an update that changes nothing"


@pytest.mark.parametrize("then", [{REQUESTED: "mallory"}, {}, {REQUESTED: ""}])
async def test_an_update_keeps_the_requester_and_names_the_editor(world, apply_patch, then) -> None:
    old = with_annotations(world.job(), **{REQUESTED: "alice"})
    new = with_annotations(old, **then)
    new["spec"]["activeDeadlineSeconds"] = 60

    found = annotations(apply_patch(new, await world.ask(STAMP, new, old, user="mallory")))

    assert found == {REQUESTED: "alice", CHANGED: "mallory"}


async def test_a_stamp_alone_can_not_be_added_later(world, apply_patch) -> None:
    old = with_annotations(world.job(), note="made before there was a webhook")
    new = with_annotations(old, note="made before there was a webhook", **{REQUESTED: "mallory", CHANGED: "bob"})

    found = annotations(apply_patch(new, await world.ask(STAMP, new, old, user="mallory")))

    assert found == {"note": "made before there was a webhook"}


async def test_the_operators_finalizer_is_no_change_by_a_person(world, apply_patch) -> None:
    old = with_annotations(world.job(), **{REQUESTED: "alice", CHANGED: "bob"})
    new = copy.deepcopy(old)
    new["metadata"]["finalizers"] = ["mlprivacy.dev/teardown"]
    new["spec"]["suspend"] = True

    found = annotations(apply_patch(new, await world.ask(STAMP, new, old, user=CONTROLLER)))
    namesake = annotations(
        apply_patch(new, await world.ask(STAMP, new, old, user="system:serviceaccount:research:mlprivacy-controller"))
    )

    assert found == {REQUESTED: "alice", CHANGED: "bob"}
    assert namesake[CHANGED] == "system:serviceaccount:research:mlprivacy-controller"


async def test_annotations_that_are_null_are_stamped(world, apply_patch) -> None:
    job = world.job()
    job["metadata"]["annotations"] = None

    assert annotations(apply_patch(job, await world.ask(STAMP, job, user="alice"))) == {REQUESTED: "alice"}


async def test_stamping_needs_no_facts(world) -> None:
    world.fresh = "nothing has been read yet"

    assert (await world.ask(STAMP, world.job()))["allowed"]


async def test_other_kinds_are_not_stamped(world) -> None:
    pod = world.pod(world.job())

    assert not (await world.ask(STAMP, pod))["allowed"]


APPROVED = "mlprivacy.dev/approved-by"
REVOKED_BY, REVOKED_AT = "mlprivacy.dev/revoked-by", "mlprivacy.dev/revoked-at"


def asked_for(*, approved: bool = False, **annotations: str) -> dict[str, Any]:
    found = exception(approved=approved)
    found["metadata"]["annotations"] = annotations
    return found


@pytest.mark.parametrize("given", [{}, {APPROVED: "olga"}, {APPROVED: "olga", REQUESTED: "olga"}])
async def test_a_new_exception_carries_its_requester_and_no_approver(world, apply_patch, given) -> None:
    new = asked_for(**given)

    assert annotations(apply_patch(new, await world.ask(STAMP, new, user="erik"))) == {REQUESTED: "erik"}


@pytest.mark.parametrize("given", [{}, {APPROVED: "oscar"}])
async def test_who_approves_is_stamped_whatever_the_object_says(world, apply_patch, given) -> None:
    old = asked_for(**{REQUESTED: "erik"})
    new = asked_for(approved=True, **{REQUESTED: "erik"}, **given)

    found = annotations(apply_patch(new, await world.ask(STAMP, new, old, user="olga")))

    assert (found[REQUESTED], found[APPROVED]) == ("erik", "olga")


async def test_a_later_change_leaves_the_approver(world, apply_patch) -> None:
    old = asked_for(approved=True, **{REQUESTED: "erik", APPROVED: "olga"})
    new = asked_for(approved=True, **{REQUESTED: "erik", APPROVED: "oscar"})
    new["spec"]["expiresAt"] = "2026-06-02T00:00:00Z"

    assert annotations(apply_patch(new, await world.ask(STAMP, new, old, user="oscar")))[APPROVED] == "olga"


async def test_the_approver_goes_with_the_approval(world, apply_patch) -> None:
    stamps = {REQUESTED: "erik", APPROVED: "olga"}
    old, new = asked_for(approved=True, **stamps), asked_for(approved=False, **stamps)

    found = annotations(apply_patch(new, await world.ask(STAMP, new, old, user="oscar")))

    assert APPROVED not in found
    assert (found[REVOKED_BY], found[REVOKED_AT]) == ("oscar", "2026-06-01T00:00:00Z")


async def test_who_revoked_it_stays_until_it_is_approved_again(world, apply_patch) -> None:
    revoked = {REVOKED_BY: "oscar", REVOKED_AT: "2026-05-01T00:00:00Z"}
    old = asked_for(**{REQUESTED: "erik"}, **revoked)
    later, again = asked_for(**{REQUESTED: "erik"}), asked_for(approved=True, **{REQUESTED: "erik"}, **revoked)
    later["spec"]["reason"] = "Another one."

    kept = annotations(apply_patch(later, await world.ask(STAMP, later, old, user="erik")))
    gone = annotations(apply_patch(again, await world.ask(STAMP, again, old, user="olga")))

    assert {key: kept[key] for key in revoked} == revoked
    assert not revoked.keys() & gone.keys()


@pytest.mark.parametrize("key", ["mlprivacy.dev/revoked-by", "mlprivacy.dev/revoked-at"])
async def test_nobody_says_themselves_that_it_was_revoked(world, apply_patch, key) -> None:
    old, new = asked_for(**{REQUESTED: "erik"}), asked_for(**{REQUESTED: "erik", key: "olga"})

    assert key not in annotations(apply_patch(new, await world.ask(STAMP, new, old, user="erik")))


async def test_an_approval_of_before_the_stamps_gets_none(world, apply_patch) -> None:
    """Then nobody is known to have approved it, and it lets nothing pass."""
    old, new = asked_for(approved=True), asked_for(approved=True, **{APPROVED: "olga"})

    assert APPROVED not in annotations(apply_patch(new, await world.ask(STAMP, new, old, user="olga")))


async def test_other_kinds_know_no_approver(world, apply_patch) -> None:
    job = with_annotations(world.job(), **{APPROVED: "mine"})

    assert annotations(apply_patch(job, await world.ask(STAMP, job, user="alice")))[APPROVED] == "mine"
