"""The DataClasses that ship: readable, of Fideslang's words, and told from those that somebody changed."""

from __future__ import annotations

import copy

import pytest
from builders import parsed

from mlprivacy.api.base import parse_spec
from mlprivacy.api.data_class import KIND
from mlprivacy.policy import taxonomy
from mlprivacy.policy.classes import default_classes, spec_digest, still_ours
from mlprivacy.policy.vocabulary import vocabulary_warnings

USUAL = {
    *("direct-identifier", "demographic", "contact", "financial", "health", "biometric", "genetic", "location"),
    *("behavioural", "child"),
}


def named(name: str) -> dict:
    return copy.deepcopy(dict(next(c for c in default_classes() if c["metadata"]["name"] == name)))


def test_the_usual_ones_are_there():
    names = [c["metadata"]["name"] for c in default_classes()]
    assert set(names) >= USUAL
    assert names == sorted(set(names))


@pytest.mark.parametrize("raw", default_classes(), ids=lambda c: c["metadata"]["name"])
def test_a_class_that_ships(raw):
    read = parse_spec(KIND, raw)
    assert (read.errors, read.unknown) == ((), ())
    assert vocabulary_warnings(read.spec) == ()
    assert all(key in taxonomy.terms("dataCategories") for key in read.spec.categories)
    assert still_ours(raw)


def test_special_categories_need_differential_privacy():
    special = [c for c in default_classes() if parsed(c).spec.special_category]
    assert {"health", "genetic", "biometric", "origin-and-belief"} == {c["metadata"]["name"] for c in special}
    assert all(parsed(c).spec.differential_privacy.required for c in special)


class TestStillOurs:
    def test_defaults_that_the_api_server_writes_are_no_change(self):
        raw = named("contact")
        raw["spec"] |= {"specialCategory": False, "network": {"egress": "Sealed", "rdma": "Deny"}}
        assert still_ours(raw)

    @pytest.mark.parametrize(
        "change",
        [
            {"identifiers": "Keep"},
            {"sensitivity": "Restricted"},
            {"categories": ["user.contact", "user.name"]},
            {"retention": {"maxDays": 30}},
            {"identifiers": None},
            {"somethingNew": 1},
            {"sensitivity": "Total"},
        ],
    )
    def test_an_edit_is(self, change):
        raw = named("contact")
        raw["spec"] |= change
        assert not still_ours(raw)

    def test_one_without_our_mark_is_not_ours_even_if_equal(self):
        raw = named("contact")
        del raw["metadata"]["annotations"]
        assert not still_ours(raw)
        assert not still_ours({})
        assert not still_ours({"metadata": {"annotations": {"mlprivacy.dev/default-digest": ""}}, "spec": {"x": 1}})

    def test_the_digest_does_not_depend_on_order(self):
        raw = named("health")
        turned = {**raw, "spec": dict(reversed(raw["spec"].items()))}
        assert spec_digest(raw) == spec_digest(turned) != ""
