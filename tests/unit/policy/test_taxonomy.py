"""The vocabularies: Fideslang's keys with their parents, DPV's IRIs, and what is told about a key that none has."""

from __future__ import annotations

import pytest
from builders import consent_scope, data_class, dataset, grant, grant_to, parsed, use

from mlprivacy.policy import taxonomy
from mlprivacy.policy.taxonomy import CALLED
from mlprivacy.policy.vocabulary import vocabulary_warnings


def told(raw: dict) -> dict[str, str]:
    return {w.path: w.message for w in vocabulary_warnings(parsed(raw).spec)}


@pytest.mark.parametrize("vocabulary", CALLED)
def test_every_parent_is_a_key_and_the_part_above_the_last_dot(vocabulary):
    known = taxonomy.terms(vocabulary)
    for key, term in known.items():
        assert term.parent == (key.rpartition(".")[0] or None)
        assert term.parent is None or term.parent in known
        assert term.replaced_by is None or term.replaced_by in known


def test_it_says_whose_it_is():
    source = taxonomy.source("fideslang")
    assert (source["creator"], source["license"]) == ("Ethyca, Inc.", "CC-BY-4.0")
    assert source["licenseUrl"].startswith("https://creativecommons.org/licenses/by/4.0/")
    assert "Only the keys" in source["changes"]
    assert taxonomy.source("dpv")["url"] == "https://w3id.org/dpv"


@pytest.mark.parametrize(
    ("vocabulary", "key"),
    [
        ("dataCategories", "user.health_and_medical.genetic"),
        ("dataCategories", "user.health_and_medical.xray"),
        ("dataCategories", "user.childrens"),
        ("dataUses", "train_ai_system"),
        ("dataUses", "train_ai_system.vision.xray"),
        ("dataSubjects", "patient"),
    ],
)
def test_a_key_and_what_lies_below_it_are_known(vocabulary, key):
    assert taxonomy.term_of(vocabulary, key)


def test_whatever_lies_below_the_root_is_not_known_for_that():
    assert taxonomy.term_of("dataCategories", "user.nonsense") is None


@pytest.mark.parametrize(
    "key", ["train_ai_systemX", "train_ai", "Train_ai_system", "train_ai_system.", "", ".", "х" * 99]
)
def test_what_merely_begins_alike_is_not(key):
    term = taxonomy.term_of("dataUses", key)
    assert term is None or key.startswith(term.key + ".")


@pytest.mark.parametrize(
    ("vocabulary", "key", "near"),
    [
        ("dataCategories", "user.helth", "user.health_and_medical"),
        ("dataCategories", "user.child", "user.childrens"),
        ("dataUses", "train_ai_sytem", "train_ai_system"),
        ("dataSubjects", "pacient", "patient"),
        ("dataUses", "xyzzy", None),
    ],
)
def test_the_nearest_key_is_offered(vocabulary, key, near):
    assert taxonomy.nearest(vocabulary, key) == near


def test_dpv_names_the_bases_that_rules_and_examples_use():
    assert taxonomy.legal_iri("eu-gdpr:A6-1-a") == "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"
    assert taxonomy.legal_iri("eu-gdpr:A9-2-h") == "https://w3id.org/dpv/legal/eu/gdpr#A9-2-h"
    assert taxonomy.legal_iri("eu-gdpr:A46") is None, "DPV has no such term, and none is invented"
    assert taxonomy.consent_iri("ConsentWithdrawn") == "https://w3id.org/dpv#ConsentWithdrawn"
    assert taxonomy.consent_iri("Nonsense") is None


class TestWarnings:
    def test_what_every_vocabulary_has_is_no_news(self):
        for raw in (data_class(), dataset(), consent_scope(), grant()):
            assert told(raw) == {}

    def test_each_field_is_looked_at(self):
        assert (
            "did you mean user.health_and_medical?" in told(data_class(categories=["user.helth"]))["spec.categories[0]"]
        )
        odd = dataset(
            subjects={"column": "patient_id", "kind": "pacient", "atLeast": 10},
            uses=[use(purpose="train_ai_sytem", legalBasis="eu-gdpr:A6-1-g", condition="eu-gdpr:A9-2-z")],
        )
        assert set(told(odd)) == {
            "spec.subjects.kind",
            "spec.uses[0].purpose",
            "spec.uses[0].legalBasis",
            "spec.uses[0].condition",
        }
        assert told(odd)["spec.uses[0].legalBasis"].startswith("eu-gdpr:A6-1-g is no term of DPV 2.2; did you mean")
        assert "spec.purposes[0]" in told(consent_scope(purposes=["provide_diagnosis"]))
        assert "spec.to[0].purposes[0]" in told(grant(to=[grant_to(purposes=["provide_diagnosis"])]))

    def test_a_key_of_ones_own_counts_and_is_told(self):
        said = told(consent_scope(purposes=["provide_diagnosis"]))["spec.purposes[0]"]
        assert said == "provide_diagnosis is no data use of Fideslang; it counts as a key of your own"

    def test_a_key_of_ones_own_below_a_known_one_is_no_news(self):
        assert told(consent_scope(purposes=["train_ai_system.vision.xray"])) == {}
        assert told(consent_scope(purposes=["essential.service.triage"])) == {}, "no kin of essential.service.upgrades"
        assert told(data_class(categories=["user.health_and_medical.xray"])) == {}

    def test_a_misspelt_key_beside_a_known_one_is(self):
        assert "user.contact.email" in told(data_class(categories=["user.contact.emial"]))["spec.categories[0]"]

    def test_a_deprecated_key_names_its_successor(self):
        said = told(consent_scope(purposes=["personalize.profiling"]))["spec.purposes[0]"]
        assert "is deprecated in Fideslang since 2.1.1; write personalize.content.profiling" in said

    def test_another_law_has_no_terms_here_and_is_left_alone(self):
        assert told(dataset(uses=[use(legalBasis="br-lgpd:A7-1")])) == {}
