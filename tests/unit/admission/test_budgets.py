"""PrivacyBudgets and Datasets under review: what refuses them, who is told what, and whose names are stamped."""

import copy
from typing import Any

import orjson
import pytest
from builders import budget

from mlprivacy.admission.changes import changed_event
from mlprivacy.admission.review import Answer, parse_review

KINDS, STAMP = "/validate/kinds", "/mutate/stamp"
REQUESTED, PROMISED, APPROVED, CHANGED = (
    f"mlprivacy.dev/{stamp}-by" for stamp in ("requested", "promised", "approved", "last-changed")
)
GIVEN = {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}

Object = dict[str, Any]


def copy_of_visits(uri: str, namespace: str = "research") -> Any:
    def made(world: Any) -> Object:
        found = copy.deepcopy(world.get("Dataset", "visits"))
        found["metadata"] = {"name": "copy", "namespace": namespace}
        found["spec"] |= {"identity": "urn:research:copy", "source": {"uri": uri, "format": "Parquet"}}
        return found

    return made


async def refused(world: Any, obj: Object, old: Object | None = None, **options: Any) -> str:
    answer = await world.ask(KINDS, obj, old, **options)
    assert not answer["allowed"]
    assert answer["status"]["code"] == 422
    return str(answer["status"]["message"])


# -- what refuses ------------------------------------------------------------------------------------------------------


async def test_a_budget_of_the_clinics_patients_is_let_in(world) -> None:
    both = budget(identities=["urn:clinic:visits", "urn:clinic:labs", "urn:clinic:none"])
    answer = await world.ask(KINDS, both)
    assert answer["allowed"]
    assert answer["warnings"] == ["spec.identities[2]: no Dataset has the identity urn:clinic:none (yet)"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"delta": 1e-4}, "spec.delta: 0.0001 is more than 1/(100 N) for N = 200,000"),
        ({"epsilon": 1e-6, "orders": [2]}, "spec.epsilon: "),
        ({"retired": ["bucket 1"]}, "spec.retired[0]: 'bucket 1' is no block"),
        ({"approval": {"epsilon": 10, "delta": 1e-8}}, "spec.approval: a budget is made without an approval"),
    ],
)
async def test_a_budget_that_can_never_be_kept_is_refused(world, spec, field) -> None:
    assert field in await refused(world, budget(**spec))


async def test_a_domain_has_one_budget_and_an_identity_one_domain(world) -> None:
    world.store(budget())
    assert "spec.subjectDomain: " in await refused(world, budget("second", subjectDomain="clinic-patients"))
    assert "spec.identities[0]: " in await refused(world, budget("second", subjectDomain="others"))


@pytest.mark.parametrize("uri", ["s3://CLINIC//visits/2026.parquet", "s3://clinic/%76isits/x.parquet", "s3://clinic"])
async def test_a_new_identity_over_budgeted_data_is_refused(world, uri) -> None:
    world.store(budget())
    message = await refused(world, copy_of_visits(uri)(world))
    assert "spec.source.uri: " in message
    assert "overlaps with data in the subject domain clinic-patients" in message
    assert "urn:clinic:visits" not in message
    told = await refused(world, copy_of_visits(uri)(world), trusted=False)
    assert "clinic-patients" not in told


async def test_a_budget_is_not_made_over_data_of_others(world) -> None:
    world.objects.append(copy_of_visits("s3://clinic/visits/2026.parquet")(world))
    assert "overlaps with that of urn:research:copy, without a budget" in await refused(world, budget())
    assert "urn:research:copy" not in await refused(world, budget(), trusted=False)


async def test_what_stands_is_not_judged_anew(world) -> None:
    dataset, standing = copy_of_visits("s3://clinic")(world), budget(delta=1e-4)
    changed, quota = copy.deepcopy(dataset), copy.deepcopy(standing)
    changed["spec"]["region"] = "eu-west"
    quota["spec"]["quotas"] = [{"namespace": "research", "share": 0.5}]
    world.store(budget("other", subjectDomain="clinic-all"))
    assert (await world.ask(KINDS, changed, dataset))["allowed"]
    world.objects = [o for o in world.objects if o["kind"] != "PrivacyBudget"]
    assert (await world.ask(KINDS, quota, standing))["allowed"]


async def test_nothing_is_decided_without_facts(world) -> None:
    world.fresh = "the ledgers have not been read yet"
    answer = await world.ask(KINDS, budget())
    assert (answer["allowed"], answer["status"]["code"]) == (False, 503)


async def test_who_asks_for_more_is_told_that_it_waits(world) -> None:
    old, new = budget(noticeVersion="1"), budget(noticeVersion="2", epsilon=12)
    answer = await world.ask(KINDS, new, old)
    assert answer["allowed"]
    assert any("until then the one before stays" in line for line in answer["warnings"])
    less = await world.ask(KINDS, budget(noticeVersion="1", epsilon=8), old)
    assert "warnings" not in less


# -- whose names -------------------------------------------------------------------------------------------------------


def stamped(obj: Object, **annotations: str) -> Object:
    found = copy.deepcopy(obj)
    found["metadata"]["annotations"] = annotations
    return found


async def after(world: Any, apply_patch: Any, new: Object, old: Object | None, user: str) -> dict[str, str]:
    return dict(apply_patch(new, await world.ask(STAMP, new, old, user=user))["metadata"].get("annotations", {}))


@pytest.mark.parametrize("given", [{}, {PROMISED: "olga", APPROVED: "oscar"}])
async def test_who_makes_it_promises_it(world, apply_patch, given) -> None:
    found = await after(world, apply_patch, stamped(budget(), **given), None, "anna")
    assert found == {REQUESTED: "anna", PROMISED: "anna"}


STAMPS = {REQUESTED: "anna", PROMISED: "anna", APPROVED: "olga"}
ASKED = budget(epsilon=12, noticeVersion="2")
STANDING = budget(epsilon=12, noticeVersion="2", approval=GIVEN)


@pytest.mark.parametrize("field", [{"epsilon": 9}, {"delta": 1e-9}, {"noticeVersion": "3"}])
async def test_who_changes_the_promise_promises_it_and_no_approval_stands(world, apply_patch, field) -> None:
    old = in_force(stamped(STANDING, **STAMPS), epsilon=12)
    new = copy.deepcopy(old)
    new["spec"] |= field
    found = await after(world, apply_patch, new, old, "bert")
    assert found == {REQUESTED: "anna", PROMISED: "bert", CHANGED: "bert"}


def in_force(obj: Object, epsilon: float, observed: int = 4) -> Object:
    """The object in its fourth generation, and what its status says is promised."""
    found = copy.deepcopy(obj)
    found["metadata"]["generation"] = 4
    found["status"] = {"observedGeneration": observed, "promise": {"epsilon": epsilon, "delta": found["spec"]["delta"]}}
    return found


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([("anna", {"epsilon": 20, "noticeVersion": "3"})], "anna"),
        ([("anna", {"epsilon": 20, "noticeVersion": "3"}), ("bert", {"noticeVersion": "3b"})], "anna,bert"),
        ([("anna", {"epsilon": 20}), ("bert", {"epsilon": 14}), ("anna", {"epsilon": 15})], "anna,bert"),
        ([("anna", {"epsilon": 20}), ("bert", {"epsilon": 12}), ("carl", {"epsilon": 20})], "carl"),
        ([("anna", {"epsilon": 20}), ("bert", {"delta": 1e-9})], "anna,bert"),
        ([("b,c%", {"epsilon": 20}), ("anna", {"epsilon": 21})], "b%2Cc%25,anna"),
    ],
    ids=["alone", "a colleague's notice", "in turns", "back and anew", "one number less", "odd names"],
)
async def test_all_who_touched_what_is_asked_for_are_named(world, apply_patch, steps, names) -> None:
    found = in_force(stamped(STANDING, **STAMPS), epsilon=12)
    for user, spec in steps:
        new = copy.deepcopy(found)
        new["spec"] |= spec
        found["metadata"]["annotations"] = new["metadata"]["annotations"] = await after(
            world, apply_patch, new, found, user
        )
        found = new
    assert found["metadata"]["annotations"][PROMISED] == names


@pytest.mark.parametrize("observed", [None, 3], ids=["no status", "a status that lags"])
async def test_where_the_promise_in_force_is_not_known_nobody_is_forgotten(world, apply_patch, observed) -> None:
    old = stamped(STANDING, **STAMPS) if observed is None else in_force(stamped(STANDING, **STAMPS), 30, observed)
    new = copy.deepcopy(old)
    new["spec"]["noticeVersion"] = "3"
    assert (await after(world, apply_patch, new, old, "bert"))[PROMISED] == "anna,bert"
    del old["metadata"]["annotations"][PROMISED]
    assert (await after(world, apply_patch, new, old, "bert"))[PROMISED] == ",bert"


@pytest.mark.parametrize("forged", [{}, {APPROVED: "oscar"}, {PROMISED: "oscar"}])
async def test_who_writes_the_approval_approves(world, apply_patch, forged) -> None:
    old = stamped(ASKED, **{REQUESTED: "anna", PROMISED: "anna"})
    new = stamped(STANDING, **{REQUESTED: "anna", PROMISED: "anna"} | forged)
    found = await after(world, apply_patch, new, old, "olga")
    assert (found[PROMISED], found[APPROVED]) == ("anna", "olga")


async def test_another_change_leaves_both_names(world, apply_patch) -> None:
    new = stamped(STANDING, **STAMPS | {APPROVED: "mallory", PROMISED: "mallory"})
    new["spec"]["quotas"] = [{"namespace": "research", "share": 0.5}]
    found = await after(world, apply_patch, new, stamped(STANDING, **STAMPS), "mallory")
    assert found == STAMPS | {CHANGED: "mallory"}


async def test_the_approver_goes_with_the_approval(world, apply_patch) -> None:
    found = await after(world, apply_patch, stamped(ASKED, **STAMPS), stamped(STANDING, **STAMPS), "oscar")
    assert APPROVED not in found
    assert found[PROMISED] == "anna"


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (None, ASKED, "made"),
        (budget(noticeVersion="1"), ASKED, "promised"),
        (ASKED, STANDING, "approved"),
        (STANDING, ASKED, "approval withdrawn"),
        (ASKED, budget(epsilon=12, noticeVersion="2", retired=["2026-W10"]), "changed"),
    ],
)
async def test_the_record_says_what_was_done_about_the_promise(review_of, old, new, what) -> None:
    review = parse_review(orjson.dumps(review_of(new, old, user="olga")))
    event = changed_event(review, Answer(allowed=True, verdict="Allow"))
    assert (event.data["change"], event.data["by"]) == (what, "olga")
    assert event.data["promise"] == {"epsilon": 12, "delta": "1e-08", "noticeVersion": "2"}
