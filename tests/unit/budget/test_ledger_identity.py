"""The same data under another address or identity has no budget of its own."""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatchcase
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlprivacy.budget.ledger.identity import Claim, conflicts, normalise, overlap, parse

SAME = [
    ("s3://clinic/visits/", "S3://clinic//visits/./"),
    ("https://data.clinic.example/visits?token=1", "https://DATA.clinic.example:443/visits#top"),
    ("https://clinic.example/vis%69ts", "https://clinic.example/visits"),
    ("https://clinic.example:0443/visits", "https://clinic.example.:/visits"),
    ("https://clinic.example.:443/visits", "https://clinic.example/visits"),
    ("https://clinic.example:08443/visits", "https://clinic.example:8443/visits"),
    ("https://[2001:DB8:0::1]/visits", "https://[2001:db8::1]:443/visits"),
    ("https://[::ffff:192.0.2.1]/visits", "https://192.0.2.1/visits"),
    ("abfs://v@clinic.blob.core.windows.net/a", "abfs://v@clinic.dfs.core.windows.net/a"),
    ("abfs://v@clinic-secondary.dfs.core.windows.net/a", "abfs://v@clinic.privatelink.blob.core.windows.net/a"),
    ("pvc://mlp-sealed-visits/data", "pvc://mlp-sealed-visits//data/"),
    ("abfs://visits@clinic.dfs.example/a", "abfs://Visits@CLINIC.dfs.example./a"),
]
OVERLAPPING = [
    ("s3://clinic/visits", "s3://clinic/visits/2026/a.parquet"),
    ("s3://clinic", "s3://clinic/visits"),
    ("s3://clinic/visits/*.parquet", "s3://clinic/visits/2026.parquet"),
    ("s3://clinic/visits/*", "s3://clinic/visits/a/b"),
    ("s3://clinic/*/a.csv", "s3://clinic/visits/*.csv"),
    ("s3://clinic/v**", "s3://clinic/visits/2026"),
    ("s3://clinic/v**/2026", "s3://clinic/v/i/s/2026"),
    # A reader may take the escape as it stands, or the brackets.
    ("s3://clinic/vis%69ts", "s3://clinic/visits"),
    ("s3://clinic/vis%69ts", "s3://clinic/vis*69ts"),
    ("s3://clinic/day=00%3A00", "s3://clinic/day=00*A00"),
    ("s3://clinic/a[1].csv", "s3://clinic/a*1[!x].csv"),
    ("s3://clinic/**/a.csv", "s3://clinic/visits/2026"),
    ("s3://clinic/v[a-z]sits", "s3://clinic/visits"),
    ("s3://clinic/{visits,letters}", "s3://clinic/letters"),
    ("s3://clinic/20*6", "s3://clinic/*26"),
    ("s3://clinic/vis", "s3://clinic/visits/"),  # a store without folders lists what begins so
    ("gs://clinic/visits/2026.parqu", "gs://clinic/visits/*.parquet"),
    ("s3://clinic/visits", "s3://clinic/visits-archive"),
    ("s3://clinic/visits/", "s3://clinic/visits"),
]
APART = [
    ("s3://clinic/visits/", "s3://clinic/visits-archive"),
    ("abfs://visits@clinic.dfs.example/a", "abfs://visits@clinic.dfs.example/a-2"),
    ("s3://clinic/visits/*.parquet", "s3://clinic/visits/*.csv"),
    ("s3://clinic/visits", "gs://clinic/visits"),
    ("s3://clinic/visits", "s3://clinic-2/visits"),
    ("https://a.example:8443/visits", "https://a.example/visits"),
    ("s3://clinic/v**", "s3://clinic/letters/2026"),
    ("abfs://visits@clinic.dfs.example/a", "abfs://visits@other.dfs.example/a"),
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


# Each of them some reader takes for s3://weeks/visits/train or the host weeks.example; all are refused.
HIDDEN = [
    "s3://weeks/visits/train?versionId=3",
    "s3://weeks/visits/tr?in",
    "s3://weeks/visits#v1",
    "s3://weeks?versions/visits",
    "s3://weeks/{visits,x/y}/train",
    "s3://weeks/{visits,{x,y}}/train",
    "s3://weeks/{visits,/train",
    "s3://weeks/{[v]isits,x}/train",
    "s3://weeks/[{v}w]isits/train",
    "s3://weeks/[v/w]isits/train",
    "s3://weeks/[]v]isits/train",
    "s3://weeks/[!]v]isits/train",
    "s3://weeks/[[:alpha:]]isits/train",
    "s3://weeks/x/{..,y}/visits/train",
    "s3://weeks/x/.{.,y}/visits/train",
    "s3://weeks/{,x}/visits/train",
    "s3://weeks/vis\\its/train",
    "s3://k@weeks/visits",
    "s3://k:s@weeks/visits",
    "s3://weeks:443/visits",
    "s3://weeks./visits",
    "s3://{weeks,foo}/visits",
    "s3://we*ks/visits",
    "s3://[w]eeks/visits",
    "s3://w%65eks/visits",
    "gs://weeks:443/visits",
    "s3://weeks/visit+(s)/train",
    "s3://weeks/@(visits)/train",
    "s3://weeks/!(x)/train",
    "s3://weeks/*(visits)/train",
    "s3://x/y,s3://weeks/visits/train",
    "s3://weeks/x,visits",
    "s3://x/y::s3://weeks/visits",
    "s3://weeks/vis%2569ts/train",
    "s3://weeks/vis%%369ts/train",
    "s3://weeks/visits%2Ftrain",
    "s3://weeks/x/%2E/visits",
    "s3://weeks/%7Bvisits,x%7D",
    "s3://weeks/visits%00/train",
    "s3://weeks/visits\n/train",
    "s3://weeks/visits\u200b/train",
    "s3://weeks/cafe\u0301/train",
    "s3://weeks/%ff/train",
    "https://user:pass@weeks.example/visits",
    "https://weeks%2Eexample/visits",
    "https://weeks.example..:443/visits",
    "https://weeks.example:https/visits",
    "https://weeks.example:65979/visits",
    "https://weeks.example\\@x/visits",
    "https://weeks.example/vis%2569ts",
    "https://weeks.example/visits%3Fversion=3",
    "https://weeks.example/cafe%CC%81",
    "https://127.1/visits",
    "https://0x7f000001/visits",
    "https://192.0.2.01/visits",
    "https://[fe80::1%25eth0]/visits",
    "abfs://visits@weeks.dfs.core.windows.net:443/a",
    "abfs://visits/a",
    "abfs://x@visits@weeks.dfs.core.windows.net/a",
    "pvc://mlp-sealed-*/visits",
    "pvc://mlp-sealed-visits:1/a",
]


@pytest.mark.parametrize("uri", HIDDEN)
def test_a_spelling_that_could_hide_data_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"; (write|leave|name|have)|climbs") as refusal:
        normalise(uri, "weeks")
    assert "pass" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://weeks/visits?versionId=3",
        "s3://weeks/visits#v1",
        "s3://weeks/{visits,x/y}/train",
        "s3://weeks/vis\\its/train",
        "s3://weeks/visit+(s)/train",
        "s3://weeks:443/visits",
        "s3://k@weeks/visits",
        "s3://weeks./visits",
    ],
)
def test_what_an_earlier_version_registered_still_stands_for_its_data(text: str) -> None:
    assert overlap(parse(text), normalise("s3://weeks/visits/train", "weeks"))


NAME = st.text("ab.-=[]%6", min_size=1, max_size=5).filter(lambda part: set(part) != {"."})
PARTS = st.lists(
    st.text("ab*.", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")), min_size=1, max_size=3
)


@given(PARTS)
def test_a_source_overlaps_with_itself_and_comes_back_from_its_text(parts: list[str]) -> None:
    source = normalise("s3://bucket/" + "/".join(parts), "clinic")
    assert overlap(source, source)
    assert parse(str(source)) == source


@given(st.text("ab*", min_size=1, max_size=6), st.text("ab", min_size=1, max_size=6))
def test_wildcards_meet_what_they_match(pattern: str, name: str) -> None:
    found = overlap(normalise(f"s3://b/{pattern}/x", ""), normalise(f"s3://b/{name}/x", ""))
    head, deep, _ = pattern.partition("**")
    assert found == fnmatchcase(name, f"{head}*" if deep else pattern)


GLOB = st.lists(
    st.sampled_from(["a", "b", "6", ".", "*", "**", "[ab]", "[!a]", "[6-9]", "{a,b}", "{a*,b6}", "%61"]),
    min_size=1,
    max_size=4,
).map("".join)


@given(st.lists(GLOB, min_size=1, max_size=3), st.lists(NAME, min_size=3, max_size=3), st.data())
def test_whatever_a_glob_finds_below_a_source_makes_them_overlap(
    globs: list[str], names: list[str], data: st.DataObject
) -> None:
    """A file's name is drawn so that the glob finds it, by each of the ways in which a reader may take it."""
    found = [data.draw(expansion(glob)) for glob in globs]
    below = data.draw(st.integers(1, len(found)))
    for other in ("/".join(found[:below]), "/".join(found), "/".join([*found, *names])):
        try:
            one, two = normalise("s3://b/" + "/".join(globs), ""), normalise(f"s3://b/{other}", "")
        except ValueError:
            continue  # refused: nobody trains on it
        assert overlap(one, two)
        assert overlap(two, one)


@st.composite
def expansion(draw: st.DrawFn, glob: str) -> str:
    """Some name that a segment stands for; wildcards, classes and escapes may be read, or taken as they stand."""
    pieces = {
        "**": ["", "a", "a/b", "**"],
        "*": ["", "a", "ba", "*"],
        "[ab]": ["a", "b", "[ab]"],
        "[!a]": ["b", "6", "[!a]"],
        "[6-9]": ["6", "7", "[6-9]"],
        "{a,b}": ["a", "b", "{a,b}"],
        "{a*,b6}": ["a", "ab", "b6"],
        "%61": ["a", "%61"],
    }
    split = re.findall(r"\*\*|\*|\[[^]]*\]|\{[^}]*\}|%61|.", glob)
    made = "".join(draw(st.sampled_from(pieces.get(piece, [piece]))) for piece in split)
    assume(all(part not in ("", ".", "..") for part in made.split("/")))
    return made


PLAIN = st.text("aBé 6-=", min_size=1, max_size=4).filter(lambda part: not part.startswith(" "))


@given(st.sampled_from(["s3", "gs", "https"]), st.lists(PLAIN, min_size=1, max_size=3), st.data())
def test_spellings_of_one_place_overlap(scheme: str, parts: list[str], data: st.DataObject) -> None:
    """Whatever is not refused: escapes of any characters, upper case, marks in the name of the bucket, more slashes."""

    def spelled() -> str:
        escaped = [
            "".join(quote(c, safe="") if data.draw(st.booleans()) and c != "-" else c for c in part) for part in parts
        ]
        name = data.draw(st.sampled_from(["weeks.example", "WEEKS.example", "weeks.example.", "weeks.example:443"]))
        end = data.draw(st.sampled_from(["", "/", "/*", "?v=1", "#v", "/**"]))
        return f"{scheme}://{name}/{data.draw(st.sampled_from(['/', '//', '/./'])).join(escaped)}{end}"

    found = []
    for uri in (spelled(), spelled()):
        with contextlib.suppress(ValueError):
            found.append(normalise(uri, ""))
    assert all(overlap(one, two) for one in found for two in found)


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
