"""The same data under another address or identity has no budget of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.ledger.identity import Claim, conflicts, normalise, overlap, parse

SAME = [
    ("s3://clinic/visits/", "S3://clinic//visits/./"),
    ("https://data.clinic.example/visits?token=1", "https://user:pass@DATA.clinic.example:443/visits#top"),
    ("s3://clinic/vis%69ts", "s3://clinic/visits"),
    ("pvc://mlp-sealed-visits/data", "pvc://mlp-sealed-visits//data/"),
    ("abfs://visits@clinic.dfs.example/a", "abfs://Visits@CLINIC.dfs.example./a"),
]
OVERLAPPING = [
    ("s3://clinic/visits", "s3://clinic/visits/2026/a.parquet"),
    ("s3://clinic", "s3://clinic/visits"),
    ("s3://clinic/visits/*.parquet", "s3://clinic/visits/2026.parquet"),
    ("s3://clinic/visits/*", "s3://clinic/visits/a/b"),
    ("s3://clinic/*/a.csv", "s3://clinic/visits/?.csv"),
    ("s3://clinic/**/a.csv", "s3://clinic/visits/2026"),
    ("s3://clinic/v[a-z]sits", "s3://clinic/visits"),
    ("s3://clinic/{visits,letters}", "s3://clinic/letters"),
    ("s3://clinic/20*6", "s3://clinic/*26"),
]
APART = [
    ("s3://clinic/visits", "s3://clinic/visits-archive"),
    ("s3://clinic/visits/*.parquet", "s3://clinic/visits/2026.csv"),
    ("s3://clinic/visits", "gs://clinic/visits"),
    ("s3://clinic/visits", "s3://clinic-2/visits"),
    ("https://a.example:8443/visits", "https://a.example/visits"),
    ("s3://clinic/a?c", "s3://clinic/abbc"),
    ("s3://clinic/Visits", "s3://clinic/visits"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_one_address_has_one_form(one: str, two: str) -> None:
    assert normalise(one, "clinic") == normalise(two, "clinic")


@pytest.mark.parametrize(("one", "two"), OVERLAPPING)
def test_sources_that_can_hold_the_same_data(one: str, two: str) -> None:
    assert overlap(normalise(one, "clinic"), normalise(two, "clinic"))
    assert overlap(normalise(two, "clinic"), normalise(one, "clinic"))


@pytest.mark.parametrize(("one", "two"), APART)
def test_sources_that_can_not(one: str, two: str) -> None:
    assert not overlap(normalise(one, "clinic"), normalise(two, "clinic"))


def test_a_claim_is_one_of_its_namespace() -> None:
    uri = "pvc://mlp-sealed-visits/data"
    assert not overlap(normalise(uri, "clinic"), normalise(uri, "research"))


@pytest.mark.parametrize("uri", ["s3://", "ftp://a/b", "visits", "s3://clinic/a/../b", "s3://clinic/a/%2e%2e/b"])
def test_what_is_no_source_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"is no source|climbs"):
        normalise(uri, "clinic")


PARTS = st.lists(st.text("ab*?.", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")), max_size=3)


@given(PARTS)
def test_a_source_overlaps_with_itself_and_comes_back_from_its_text(parts: list[str]) -> None:
    source = normalise("s3://bucket/" + "/".join(parts), "clinic")
    assert overlap(source, source)
    assert parse(str(source)) == source


@given(st.text("ab*?", min_size=1, max_size=6), st.text("ab", min_size=1, max_size=6))
def test_wildcards_meet_what_they_match(pattern: str, name: str) -> None:
    def matches(rest: str, text: str) -> bool:
        if not rest:
            return not text
        if rest[0] == "*":
            return any(matches(rest[1:], text[index:]) for index in range(len(text) + 1))
        return bool(text) and rest[0] in ("?", text[0]) and matches(rest[1:], text[1:])

    found = overlap(normalise(f"s3://b/{pattern}/x", ""), normalise(f"s3://b/{name}/x", ""))
    assert found == (pattern == "**" or matches(pattern, name))


def claim(identity: str, uri: str, domain: str | None) -> Claim:
    return Claim(identity, normalise(uri, "clinic"), domain)


def test_only_what_is_accounted_apart_conflicts() -> None:
    visits = claim("urn:clinic:visits", "s3://clinic/visits", "patients")
    renamed = claim("urn:clinic:fresh", "s3://clinic/visits/2026", "others")
    found = conflicts(renamed, [visits])
    assert [conflict.other for conflict in found] == [visits]
    assert "the same people's data has one budget" in str(found[0])
    assert conflicts(claim("urn:clinic:more", "s3://clinic/visits", "patients"), [visits]) == []
    assert conflicts(claim("urn:clinic:free", "s3://clinic/visits", None), [visits]) != []
    assert conflicts(claim("urn:clinic:visits", "s3://elsewhere/x", "others"), [visits]) != []
    assert conflicts(claim("urn:a:b", "s3://x/y", None), [claim("urn:a:c", "s3://x/y", None)]) == []
