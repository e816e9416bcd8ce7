"""Whether two sources can hold the same data: normalised addresses, compared segment by segment with their wildcards.

Errs on the side of "can". What it can not see are aliases of storage: a bucket behind two host names, a gateway that
serves S3 over https, a symbolic link on a volume (docs/threat-model.md states it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mlprivacy.budget.ledger import grammar

_URI: Final = re.compile(r"(s3|gs|abfs|https|pvc)://([^/?#]*)(.*)", re.DOTALL)
_ODD: Final = re.compile(r"[?#\\,%{\[]|[@+!*]\(")
_WILD: Final = frozenset("*?[{")
_ANY: Final = "\0"  # in a parsed segment: any text, the empty one included
_ONE: Final = "\1"  # any one character
_KEYED: Final = frozenset({"s3", "gs"})  # stores without folders: readers list what begins with an address


@dataclass(frozen=True, slots=True)
class Source:
    """A normalised address: ``authority`` is the bucket, host or namespace/claim, ``segments`` the path below it."""

    scheme: str
    authority: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}/{'/'.join(self.segments)}"


def normalise(uri: str, namespace: str) -> Source:
    """The source's address in one form: case of scheme and host, default port, escapes, empty and ``.`` segments.

    An address of s3 or gs that ends with ``/`` ends with ``/*`` here: it is a folder, and no name begins like it.
    Query and fragment of an https address are left out, since a token or a version in it names the same data. What is
    not spelled as :mod:`~mlprivacy.budget.ledger.grammar` says is refused, since it could name data that it hides.

    Args:
        uri: as in spec.source.uri of a Dataset.
        namespace: of the Dataset; a claim is one of it.

    Raises:
        ValueError: when it is no address of a source, climbs with ``..``, or could be read in more than one way.
    """
    found = _URI.fullmatch(_lower_scheme(uri))
    if found is None or not found[2]:
        raise ValueError(
            f"{uri[:80]!r} is no source; it begins with s3://, gs://, abfs://, https:// or pvc:// and a name"
        )
    scheme, authority, path = found[1], found[2], found[3]
    if scheme == "https":
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    segments = grammar.segments(scheme, path)
    if scheme in _KEYED and segments and path.endswith(("/", "/.")):
        segments = (*segments, "*")
    return Source(scheme, grammar.authority(scheme, authority, namespace), segments)


def _lower_scheme(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme.lower()}://{rest}"


def parse(text: str) -> Source:
    """A source from its normalised text, as the ledger registers it. Raises ValueError when it is none.

    A text of an earlier version, from before there was a grammar, is taken for more than it says: what could be read in
    more than one way stands for all that begins like it.
    """
    scheme, mark, rest = text.partition("://")
    parts = rest.split("/")
    names = 2 if scheme == "pvc" else 1
    if not mark or len(parts) < names + 1:
        raise ValueError(f"{text[:80]!r} is no normalised source")
    path = tuple(part for part in parts[names:] if part)
    return Source(scheme, _registered(scheme, "/".join(parts[:names])), _widened(scheme, path))


def _registered(scheme: str, authority: str) -> str:
    if scheme == "pvc":
        return authority
    if scheme in ("s3", "gs"):
        authority = authority.rpartition("@")[2].partition(":")[0].rstrip(".")
    try:
        return grammar.authority(scheme, authority, "")
    except grammar.SpellingError:
        return authority


def _widened(scheme: str, path: tuple[str, ...]) -> tuple[str, ...]:
    try:
        grammar.segments(scheme, "/".join(path))
    except grammar.SpellingError:
        for index, part in enumerate(path):
            odd = _ODD.search(part)
            if odd is not None:
                return (*path[:index], f"{part[: odd.start()]}*")
    return path


def overlap(one: Source, two: Source) -> bool:
    """Whether some file can belong to both. A path stands for itself and for all that lies below it.

    ``*``, ``?``, ``[…]`` and ``{…}`` match within a segment, ``**`` any number of segments. In s3 and gs a path stands
    for all whose names begin like it, too: ``visits`` for ``visits-2025``.
    """
    if (one.scheme, one.authority) != (two.scheme, two.authority):
        return False
    mine, others = _reach(one), _reach(two)
    if any("**" in part for part in (*mine, *others)):
        return _deep(mine, others)
    # The shorter stands for all below it, so that only as many segments matter as it has.
    return all(_meet(a, b) for a, b in zip(mine, others, strict=False))


def _reach(source: Source) -> tuple[str, ...]:
    """The segments, the last one with all that begins like it where readers take an address so."""
    path = source.segments
    if source.scheme not in _KEYED or not path or _WILD & set(path[-1]):
        return path
    return (*path[:-1], f"{path[-1]}*")


def _deep(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """With ``**``: up to the first of it they must meet; what follows may be anywhere, so it can.

    Some readers let it cross ``/`` within a name, too: ``v**s`` is ``visits`` and ``v/i/s``.
    """
    for a, b in zip(one, two, strict=False):
        if "**" in a or "**" in b:
            return _meet(_head(a), _head(b))
        if not _meet(a, b):
            return False
    return True


def _head(segment: str) -> str:
    before, mark, _ = segment.partition("**")
    return f"{before}*" if mark else segment


def _meet(one: str, two: str) -> bool:
    """Whether a name can match both patterns."""
    if one == two:
        return True
    if not (_WILD & set(one)) and not (_WILD & set(two)):
        return False
    a, b = _pattern(one), _pattern(two)
    # reachable[j]: some text matches a[:i] and b[:j].
    reachable = [True] + [False] * len(b)
    for j, char in enumerate(b):
        reachable[j + 1] = reachable[j] and char == _ANY
    for char in a:
        row = [reachable[0] and char == _ANY] + [False] * len(b)
        for j, other in enumerate(b):
            if _ANY in (char, other):
                row[j + 1] = reachable[j + 1] or row[j]  # it stands for nothing, or for one character more
            else:
                row[j + 1] = reachable[j] and (char == other or _ONE in (char, other))
        reachable = row
    return reachable[-1]


def _pattern(segment: str) -> list[str]:
    """The characters of a segment; a class and alternatives are any text: rather too much.

    A class is not one character, since a reader that knows no classes takes its brackets as they stand.
    """
    found: list[str] = []
    index = 0
    while index < len(segment):
        char = segment[index]
        if char == "*":
            found.append(_ANY)
        elif char == "?":
            found.append(_ONE)
        elif char in "[{":
            found.append(_ANY)
            close = segment.find("]" if char == "[" else "}", index + 1)
            index = close if close > 0 else len(segment)
        else:
            found.append(char)
        index += 1
    return found


@dataclass(frozen=True, slots=True)
class Claim:
    """A dataset's source, and the subject domain that accounts for it; None for one without a budget."""

    identity: str
    source: Source
    domain: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two claims over the same data that would be accounted for apart."""

    mine: Claim
    other: Claim

    def __str__(self) -> str:
        where = f"the subject domain {self.other.domain}" if self.other.domain else "a dataset without a budget"
        return (
            f"{self.mine.source} overlaps with {self.other.source} of {self.other.identity}, in {where}: the same "
            "people's data has one budget"
        )


def conflicts(mine: Claim, others: Iterable[Claim]) -> list[Conflict]:
    """The claims that stand against ``mine``: the same identity or an overlapping source, in another domain or in none.

    Two datasets without a budget never conflict. Claims of one domain do not either: they spend from the same ledger.
    """
    return [
        Conflict(mine, other)
        for other in others
        if other.domain != mine.domain and (other.identity == mine.identity or overlap(mine.source, other.source))
    ]
