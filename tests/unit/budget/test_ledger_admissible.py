"""What a PrivacyBudget and a Dataset have to go together with; who is told what. Accounting statement 14."""

from typing import Any

import pytest
from builders import dataset

from mlprivacy.api.base import parse_spec
from mlprivacy.api.dataset import KIND as DATASET
from mlprivacy.api.privacy_budget import KIND as BUDGET
from mlprivacy.budget.ledger.admissible import Held, Holding, budget_problems, dataset_problems, holding_of
from mlprivacy.budget.ledger.blocks import Cut
from mlprivacy.budget.ledger.registrations import Form, Registration

VISITS = Holding("clinic", "visits", "urn:clinic:visits", "s3://clinic/visits/*.parquet", 200_000)
SPEC = {
    "subjectDomain": "clinic-patients",
    "identities": ["urn:clinic:visits"],
    "epsilon": 10,
    "delta": 1e-8,
    "unit": "User",
    "blocks": {"by": "SubjectCohort", "period": "Week"},
}


def budget(name: str = "patients", **spec: Any) -> Any:
    raw = {"kind": "PrivacyBudget", "metadata": {"name": name}, "spec": SPEC | spec}
    parsed = parse_spec(BUDGET, raw)
    assert not parsed.errors
    return parsed


def problems(
    held: Held, name: str = "patients", before: Any = None, trusted: bool = True, **spec: Any
) -> dict[str, str]:
    found = budget_problems(name, budget(name, **spec).spec, held, before=before and before.spec, trusted=trusted)
    return {error.path: error.message for error in found}


def refused(held: Held, uri: str, identity: str = "urn:shop:copy", namespace: str = "shop", **more: Any) -> list[str]:
    source = {"uri": uri, "format": "Parquet"}
    parsed = parse_spec(DATASET, dataset(identity=identity, source=source))
    assert parsed.spec is not None
    return [error.message for error in dataset_problems(namespace, "copy", parsed.spec, held, **more)]


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_a_budget_of_its_own_people_is_let_in() -> None:
    others = Holding("shop", "orders", "urn:shop:orders", "s3://shop/orders", 10)
    assert (
        problems(Held((budget("other", subjectDomain="shop", identities=["urn:shop:orders"]),), (), [VISITS, others]))
        == {}
    )


def test_delta_is_held_to_the_largest_of_its_datasets() -> None:
    few = Holding("clinic", "labs", "urn:clinic:labs", "s3://clinic/labs", 100)
    both = ["urn:clinic:visits", "urn:clinic:labs"]
    found = problems(Held((), (), [few, VISITS]), identities=both, delta=1e-7)
    assert "N = 200,000" in found["spec.delta"]
    assert problems(Held((), (), [few]), identities=both, delta=1e-7) == {}, "what has no bound bounds nothing"


def test_a_domain_has_one_budget() -> None:
    held = Held((budget("first"),))
    assert "clinic-patients has a PrivacyBudget already, first" in problems(held)["spec.subjectDomain"]
    assert problems(held, name="first") == {}, "the one that is there may be changed"


@pytest.mark.parametrize(
    "held",
    [
        Held((budget("other", subjectDomain="shop"),)),
        Held((), (Registration("shop", "urn:clinic:visits"),)),
        Held((), (Registration("shop", "urn:clinic:visits", "s3://elsewhere/x"),)),
    ],
    ids=["live", "registered", "registered with its source"],
)
def test_an_identity_belongs_to_one_domain(held: Held) -> None:
    assert "belongs to the subject domain shop" in problems(held)["spec.identities[0]"]


OVERLAPS = [
    Held((), (Registration("shop", "urn:shop:all", "s3://clinic/visits"),), [VISITS]),
    Held((budget("other", subjectDomain="shop", identities=["urn:shop:all"]),), (),
         [VISITS, Holding("shop", "all", "urn:shop:all", "s3://clinic/**", 9)]),
]  # fmt: skip


@pytest.mark.parametrize("held", OVERLAPS, ids=["registered", "live"])
def test_its_sources_overlap_with_no_other_domains(held: Held) -> None:
    sentence = problems(held)["spec.identities[0]"]
    assert "the source of urn:clinic:visits overlaps with that of urn:shop:all, in the subject domain shop" in sentence
    assert "s3://" not in sentence, "where data lies is for those to know who may read the Dataset"


def test_its_sources_overlap_with_no_dataset_that_has_no_budget() -> None:
    copy = Holding("shop", "copy", "urn:shop:copy", "S3://Clinic//visits/./2026.parquet", 9)
    held = Held((), (), [VISITS, copy])
    assert "of urn:shop:copy, without a budget" in problems(held)["spec.identities[0]"]
    assert problems(held, identities=["urn:clinic:visits", "urn:shop:copy"]) == {}, "the remedy that the sentence names"


def test_a_stranger_is_told_of_no_other_object() -> None:
    for held in (*OVERLAPS, Held((budget("secret", subjectDomain="shop"),)), Held((budget("secret"),))):
        told = " ".join(problems(held, trusted=False).values())
        assert told
        assert "shop" not in told
        assert "secret" not in told


@pytest.mark.parametrize("label", ["2026-W60", "bucket 7", "2026-03"])
def test_only_blocks_of_the_partition_are_retired(label: str) -> None:
    assert "is no block" in problems(Held(), retired=["2026-W10", label])["spec.retired[1]"]
    assert "is no block" in problems(Held(), retired=["2026-W10", f"2026-W01..{label}"])["spec.retired[1]"]
    assert problems(Held(), retired=["2026-W10"]) == {}


def test_a_range_of_blocks_is_retired_by_one_entry_and_may_overlap_another() -> None:
    assert problems(Held(), retired=["2025-W01..2025-W26", "2025-W10", "2025-W20..2031-W01"]) == {}
    backwards = problems(Held(), retired=["2025-W26..2025-W01"])["spec.retired[0]"]
    assert backwards == (
        "'2025-W26..2025-W01' is no range: 2025-W01 comes before 2025-W26; write the earlier one first"
    )
    buckets = {"by": "Subject", "buckets": 8}
    assert problems(Held(), blocks=buckets, retired=["bucket 0..bucket 7"]) == {}
    beyond = problems(Held(), blocks=buckets, retired=["bucket 1", "bucket 7..bucket 8"])["spec.retired[1]"]
    assert beyond == "bucket 8 is none: the last is bucket 7"


def test_what_a_ledger_counts_is_not_made_otherwise() -> None:
    held = Held(forms={"clinic-patients": Form("Event", Cut("Subject", None, 8))})
    found = problems(held)
    assert "the unit Event" in found["spec.unit"]
    assert "by Subject, buckets 8" in found["spec.blocks"]
    assert problems(Held(forms={"clinic-patients": Form("User", Cut("SubjectCohort", "Week"))})) == {}


def test_it_is_made_without_an_approval() -> None:
    given = {"epsilon": 10, "delta": 1e-8}
    assert "without an approval" in problems(Held(), approval=given)["spec.approval"]
    assert problems(Held(), approval=given, before=budget()) == {}


def test_a_change_is_judged_and_not_what_was_there() -> None:
    """A dataset that grew must not keep a quota from being set."""
    many = VISITS._replace(at_least=10**9)
    before = budget()
    held = Held((before,), (), [many])
    quota = {"namespace": "research", "share": 0.5}
    assert problems(held, before=before, quotas=[quota]) == {}
    assert "N = 1,000,000,000" in problems(held, before=before, delta=1e-7)["spec.delta"]
    assert "is no block" in problems(held, before=before, retired=["x"])["spec.retired[0]"]


# -- datasets ----------------------------------------------------------------------------------------------------------

KEPT = Held(
    (budget(),), (Registration("clinic-patients", "urn:clinic:visits", "s3://clinic/visits/*.parquet"),), [VISITS]
)
GONE = Held((), KEPT.registrations, [])  # the budget and the dataset were deleted

ALIASES = [
    "s3://clinic/visits/2026.parquet",
    "s3://CLINIC/visits//./2026.parquet",
    "s3://clinic/%76isits/*.parquet",
    "s3://clinic/**",
    "s3://clinic/vis*ts/[0-9].parquet",
    "s3://clinic",
]


@pytest.mark.parametrize("uri", ALIASES)
@pytest.mark.parametrize("held", [KEPT, GONE], ids=["live", "deleted"])
def test_a_new_identity_over_the_same_data_is_refused(held: Held, uri: str) -> None:
    (sentence,) = refused(held, uri)
    assert "overlaps with data in the subject domain clinic-patients: the same people's data has one budget" in sentence
    assert "urn:clinic:visits" not in sentence


def test_other_data_is_free() -> None:
    for uri in ("s3://clinic/labs", "s3://clinic2/visits/1.parquet", "gs://clinic/visits/1.parquet"):
        assert refused(KEPT, uri) == []


def test_the_same_identity_is_free_to_lie_elsewhere_and_to_come_back() -> None:
    assert refused(GONE, "s3://clinic/visits/*.parquet", "urn:clinic:visits", "clinic") == []
    assert refused(KEPT, "s3://clinic/visits/2026.parquet", "urn:clinic:visits", "research") == []


def test_of_a_dataset_of_ones_own_namespace_everything_is_told() -> None:
    (sentence,) = refused(Held(KEPT.budgets, (), [VISITS]), ALIASES[0], namespace="clinic")
    assert "urn:clinic:visits" in sentence
    assert "s3://clinic/visits/*.parquet" in sentence


def test_a_budgeted_dataset_over_one_without_a_budget_is_refused() -> None:
    plain = Holding("shop", "copy", "urn:shop:copy", "s3://x/rows", 9)
    (sentence,) = refused(Held(KEPT.budgets, (), [plain]), "s3://x/rows/1", "urn:clinic:visits", "clinic")
    assert "overlaps with data without a budget" in sentence
    assert "shop" not in sentence


def test_without_any_budget_datasets_are_free() -> None:
    assert refused(Held((), (), [VISITS]), ALIASES[0]) == []


def test_a_stranger_learns_not_even_the_domain() -> None:
    (sentence,) = refused(KEPT, ALIASES[0], trusted=False)
    assert "clinic-patients" not in sentence


def test_an_escaped_climb_is_refused_wherever_it_leads() -> None:
    (sentence,) = refused(Held(), "s3://shop/a/%2e%2e/%2e%2e/clinic")
    assert "climbs" in sentence


def test_a_standing_conflict_keeps_no_field_from_being_changed() -> None:
    source = {"uri": ALIASES[0], "format": "Parquet"}
    before = parse_spec(DATASET, dataset(identity="urn:shop:copy", source=source)).spec
    assert refused(KEPT, ALIASES[0], before=before) == []


@pytest.mark.parametrize("spec", [None, [], {}, {"identity": 4}, {"identity": "a", "source": []}], ids=str)
def test_a_dataset_out_of_shape_is_none(spec: Any) -> None:
    assert holding_of({"metadata": {"name": "x", "namespace": "y"}, "spec": spec}) is None
