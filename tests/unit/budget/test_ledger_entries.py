"""Entries edited, removed, put in another order or created anew are found, and the entry is named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import DOMAIN, NOON, bind, chain, commit, job, promise, release, reserve

from mlprivacy.api.base import Assurance, parse_spec
from mlprivacy.api.ledger_entry import KIND
from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name, genesis, link, parse_entry, stamp
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.transitions import (
    Checkpoint,
    Commit,
    Open,
    Register,
    Release,
    Reserve,
    Retire,
    Taint,
    TransitionError,
    parse_transition,
    transition_body,
)

EXAMPLE = Path(__file__).parents[2] / "cluster" / "api" / "examples" / "ledgerentry.yaml"
ENTRIES = chain(
    reserve(1), bind(1), commit(1, "Planned", pod_uid="pod-1", curve=(1, 2, 3), ended=True), reserve(2), release(2)
)
ONE_OF_EACH = [
    promise(notice_version="2026-03", asked_by="ada", approved_by="grace"),
    Register("urn:clinic:visits", "s3://clinic/visits/*.parquet"),
    Open((Range(0, 3), Range(5, 7))),
    Reserve(job(), 1, (Range(0, 0),), (1, 2, 3), Assurance.ATTESTED, "sha256:" + "0" * 64),
    bind(1),
    Commit("uid-1", 1, "NoisyOutputs", "pod-1", (0, 1, 2), ended=True),
    Release("uid-1", 2, "NeverStarted"),
    Taint(job(), (Range(3, 4),), "Warn"),
    Retire((Range(3, 4),), "Erasure"),
    Checkpoint(4, 1, 1, '{"is":"state"}'),
]


def names_what_is_wrong(entries: list[tuple[str, Any]]) -> str:
    with pytest.raises(ChainError) as caught:
        fold(DOMAIN, [parse_entry(name, spec) for name, spec in entries])
    return caught.value.entry


def stored() -> list[tuple[str, Any]]:
    return [(entry.name, copy.deepcopy(dict(entry.spec))) for entry in ENTRIES]


def test_a_good_chain_is_folded() -> None:
    assert fold(DOMAIN, [parse_entry(name, spec) for name, spec in stored()]).head == ENTRIES[-1].head


@given(st.integers(0, len(ENTRIES) - 1), st.sampled_from(["writer", "time", "previous", "transitions", "sequence"]))
def test_an_edited_entry_is_named(index: int, field: str) -> None:
    entries = stored()
    spec = entries[index][1]
    spec[field] = {
        "writer": "mallory",
        "time": "2020-01-01T00:00:00.000000Z",
        "previous": "0" * 64,
        "transitions": [transition_body(bind(9))],
        "sequence": spec["sequence"] + 1,
    }[field]
    assert names_what_is_wrong(entries) == ENTRIES[index].name


def test_an_entry_that_was_edited_with_its_hash_does_not_lead_to_the_next() -> None:
    entries = stored()
    forged = link(ENTRIES[0].head, [reserve(1, 0.01)], ENTRIES[1].time, "test")
    entries[1] = (forged.name, dict(forged.spec))
    with pytest.raises(ChainError, match="does not follow") as caught:
        fold(DOMAIN, [parse_entry(*one) for one in entries])
    assert caught.value.entry == ENTRIES[2].name
    assert ENTRIES[1].name in caught.value.why


@given(st.integers(1, len(ENTRIES) - 2))
def test_a_removed_entry_is_named(index: int) -> None:
    entries = stored()
    del entries[index]
    assert names_what_is_wrong(entries) == ENTRIES[index].name


def test_entries_in_another_order_are_named() -> None:
    entries = stored()
    entries[2], entries[3] = entries[3], entries[2]
    assert names_what_is_wrong(entries) == ENTRIES[2].name


def test_an_entry_that_is_there_twice_is_named() -> None:
    entries = stored()
    entries.insert(3, entries[2])
    assert names_what_is_wrong(entries) == ENTRIES[2].name


def test_a_pruned_name_that_was_created_anew_is_named() -> None:
    """A writer that slept wrote entry 2 again, where entries 1 to 3 were pruned."""
    again = link(ENTRIES[0].head, [reserve(7)], stamp(NOON), "sleeper")
    entries = [(again.name, dict(again.spec)), *stored()[3:]]
    assert names_what_is_wrong(entries) == ENTRIES[2].name


def test_an_entry_under_another_name_or_of_another_domain_is_named() -> None:
    entries = stored()
    entries[2] = (f"{entries[2][0]}0", entries[2][1])
    assert names_what_is_wrong(entries) == entries[2][0]
    other = chain(domain="others")[0]
    with pytest.raises(ChainError, match="belongs to others"):
        fold(DOMAIN, [other])


def test_a_transition_of_a_newer_version_is_an_error_and_not_skipped() -> None:
    with pytest.raises(TransitionError, match=r"'Refund'.*does not know; upgrade"):
        parse_transition({"type": "Refund", "refund": {}})
    body = transition_body(bind(1))
    body["bind"]["nodeUID"] = "n"
    with pytest.raises(TransitionError, match="nodeUID"):
        parse_transition(body)


def test_a_step_that_was_not_allowed_is_an_error_when_it_is_read() -> None:
    over = link(ENTRIES[-1].head, [reserve(3, 2.0)], stamp(NOON), "test")
    with pytest.raises(ChainError, match="has no room"):
        fold(DOMAIN, [*ENTRIES, over])


@pytest.mark.parametrize("step", ONE_OF_EACH, ids=lambda step: step.TYPE)
def test_every_step_comes_back_from_json_and_is_an_object_of_the_kind(step: Any) -> None:
    body = transition_body(step)
    assert parse_transition(copy.deepcopy(body)) == step
    entry = link(Head.none(DOMAIN), [step], stamp(NOON), "test")
    parsed = parse_spec(KIND, entry.manifest())
    assert (parsed.errors, parsed.unknown) == ((), ())
    assert parse_entry(entry.name, entry.spec) == entry


def test_a_full_entry_is_small() -> None:
    """16 reservations, which is the most, at 28 orders."""
    orders = tuple(range(28))
    step = Reserve(job(), 1, (Range(0, 9999),), tuple(10**12 + order for order in orders), Assurance.GATED)
    one = link(Head.none(DOMAIN), [step], stamp(NOON), "mlprivacy-controller-0")
    assert len(str(one.spec)) < 1500
    with pytest.raises(ValueError, match="1 to 16 transitions"):
        link(Head.none(DOMAIN), [step] * 17, stamp(NOON), "mlprivacy-controller-0")


def test_names_begin_with_the_hash_of_the_domain_and_end_with_the_number() -> None:
    assert entry_name(DOMAIN, 12) == f"{ENTRIES[0].spec['domain']}-12"
    assert ENTRIES[0].previous == genesis(DOMAIN) != genesis("others")


def test_the_example_of_the_api_is_a_chain() -> None:
    documents = list(yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8")))
    entries: list[Entry] = [parse_entry(one["metadata"]["name"], one["spec"]) for one in documents]
    assert fold("clinic-patients", entries).head.sequence == 2
