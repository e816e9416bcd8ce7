"""What single entries say of datasets: the same as the folded ledger, also once entries gave way to a checkpoint."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import DOMAIN, NOON, promise, reserve

from mlprivacy.api.names import API_VERSION
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.checkpoint import parts_of
from mlprivacy.budget.ledger.entry import Entry, Head, link, stamp
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.registrations import Book, Form, Registration, reduced
from mlprivacy.budget.ledger.transitions import Open, Register, Transition

FIRST = (promise(), Register("urn:clinic:visits", "s3://clinic/visits"), Open((Range(0, 7),)))
VISITS = Registration(DOMAIN, "urn:clinic:visits", "s3://clinic/visits")


def chain(*entries: tuple[Transition, ...], domain: str = DOMAIN) -> list[Entry]:
    """Entries one after the other."""
    head, made = Head.none(domain), []
    for number, transitions in enumerate(entries):
        made.append(link(head, transitions, stamp(NOON + timedelta(seconds=number)), "tests"))
        head = made[-1].head
    return made


def with_checkpoint(entries: list[Entry], size: int) -> list[Entry]:
    """The parts of the state after these entries, in as many entries."""
    fold = Fold(DOMAIN)
    for entry in entries:
        fold.take(entry)
    assert fold.state is not None
    head, made = fold.head, []
    for part in parts_of(fold.state, size):
        made.append(link(head, (part,), stamp(NOON + timedelta(minutes=1)), "tests"))
        head = made[-1].head
    return made


def test_an_entry_that_is_not_about_datasets_keeps_its_name_alone() -> None:
    _, spends = chain(FIRST, (reserve(1),))
    assert reduced(spends.manifest()) == {"kind": "LedgerEntry", "metadata": {"name": spends.name}}


def test_registrations_are_read_off_an_entry() -> None:
    entries = chain(FIRST, (Register("urn:clinic:labs"),))
    book = Book()
    assert [book.take(None, reduced(entry.manifest())) for entry in entries] == [True, True]
    assert book.registrations == (Registration(DOMAIN, "urn:clinic:labs"), VISITS)
    assert book.forms == {DOMAIN: Form("User", Cut("Subject", None, 8))}


@pytest.mark.parametrize("size", [400, 48_000])
def test_a_checkpoint_says_the_same_as_the_entries_it_stands_for(size: int) -> None:
    """However the state falls into parts; so pruning the entries changes nothing."""
    entries = chain(
        FIRST, (reserve(1),), (Register("urn:clinic:labs"),), (Register("urn:clinic:visits", "gs://b/visits"),)
    )
    parts = with_checkpoint(entries, size)
    assert (len(parts) > 2) is (size == 400)
    book = Book()
    for entry in entries:
        book.take(None, reduced(entry.manifest()))
    before, form = book.registrations, book.forms
    assert len(before) == 3
    for part in parts:
        assert not book.take(None, reduced(part.manifest()))
    for entry in entries:
        assert not book.take(reduced(entry.manifest()), None)
    assert book.registrations is before, "the same object until they change"
    assert book.forms == form


def test_what_goes_with_the_last_entry_that_says_it_is_told() -> None:
    """Nothing prunes so; a ledger that somebody emptied in etcd shows."""
    (entry,) = chain(FIRST)
    book = Book()
    book.take(None, reduced(entry.manifest()))
    assert book.take(reduced(entry.manifest()), None)
    assert book.registrations == ()
    assert book.forms == {}


def test_a_source_that_becomes_known_takes_the_place_of_none() -> None:
    book = Book()
    for entry in chain(
        (promise(), Register("urn:clinic:visits")), (Register("urn:clinic:visits", "s3://clinic/visits"),)
    ):
        book.take(None, reduced(entry.manifest()))
    assert book.registrations == (VISITS,)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {"transitions": 3},
        {"transitions": [None, {"type": "Register"}, {"type": "Register", "register": {"identity": 4}}]},
        {"transitions": [{"type": "Checkpoint", "checkpoint": {"state": '{"identity":'}}]},
        {"transitions": [{"type": "Checkpoint", "checkpoint": {"state": 7}}]},
        {"transitions": [{"type": "Checkpoint", "checkpoint": {"state": '{"identity":"a","is":"tomorrow"}'}}]},
    ],
    ids=str,
)
def test_an_entry_out_of_shape_registers_nothing(spec: object) -> None:
    entry = {"apiVersion": API_VERSION, "kind": "LedgerEntry", "metadata": {"name": "x-1"}, "spec": spec}
    assert reduced(entry) == {"kind": "LedgerEntry", "metadata": {"name": "x-1"}}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "s3://x/1", "s3://x/2"])), max_size=12))
def test_the_book_says_what_the_fold_says(registers: list[tuple[str, str]]) -> None:
    steps = [Register(f"urn:clinic:{name}", source or None) for name, source in registers]
    fold, book = Fold(DOMAIN), Book()
    taken: set[tuple[str, str | None]] = set()
    head = Head.none(DOMAIN)
    for number, step in enumerate([promise(), *steps]):
        if isinstance(step, Register) and (step.identity, step.source) in taken:
            continue  # the ledger takes nothing twice
        entry = link(head, (step,), stamp(NOON + timedelta(seconds=number)), "tests")
        head = entry.head
        fold.take(entry)
        book.take(None, reduced(entry.manifest()))
        if isinstance(step, Register):
            taken.add((step.identity, step.source))
    assert fold.state is not None
    said = {
        (identity, source) for identity, sources in fold.state.identities.items() for source in (sources or (None,))
    }
    assert {(one.identity, one.source) for one in book.registrations} == said
