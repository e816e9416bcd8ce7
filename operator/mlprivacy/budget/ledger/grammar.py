r"""How a source's address is spelled: one way for each place, and whatever else could name it is refused.

What readers disagree about is not guessed at: a version after ``?``, a comma between two addresses, ``+(…)``, ``\``.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import unquote

_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+?)\.?(?::([0-9]{0,8}))?")
_ABFS: Final = re.compile(r"([a-z0-9$](?:[a-z0-9-]*[a-z0-9])?)@([a-z0-9.-]+?)\.?")
_ESCAPES: Final = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_EXTENDED: Final = re.compile(r"[@+!?*]\(")
_ALTERNATIVES: Final = re.compile(r"\{([^{}\[\]/]*)\}")
_BRACKETS: Final = re.compile(rf"{_ALTERNATIVES.pattern}|\[(?![!^]\])[^{{}}\[\]/,]+\]")
_MEANING: Final = frozenset("/\\.*?#,[]{}%")  # characters that an escape must not hide


class SpellingError(ValueError):
    """An address that could name data in a way that can not be compared; a sentence: what, where, what to write."""


def authority(scheme: str, text: str, namespace: str) -> str:
    """The bucket, host, ``container@account`` or ``namespace/claim`` in its one form.

    Args:
        scheme: s3, gs, abfs, https or pvc.
        text: what stands between ``://`` and the path.
        namespace: of the Dataset; a claim is one of it.

    Raises:
        SpellingError: when it is not spelled so.
    """
    text = text.lower()
    if scheme == "https":
        return _host(text)
    if scheme == "abfs":
        return _account(text)
    if scheme == "pvc":
        if _NAME.fullmatch(text) is None:
            raise SpellingError(f"the claim {text[:80]!r} is no name; write pvc://CLAIM/path")
        return f"{namespace}/{text}"
    if _BUCKET.fullmatch(text) is None:
        raise SpellingError(
            f"{text[:80]!r} is no name of a bucket; write {scheme}://BUCKET/path, with letters, digits, '-', '_' and "
            "'.' in it: no user, port, wildcard or dot at the end"
        )
    return text


def _host(text: str) -> str:
    if "@" in text:
        # Not repeated, since it may hold a password.
        raise SpellingError("the https address names a user before '@'; leave that out, and use secretRef")
    found = _HOST.fullmatch(text)
    port = int(found[2]) if found is not None and found[2] else 443
    if found is None or not 0 < port < 65536:
        raise SpellingError(f"{text[:80]!r} is no host; write https://HOST/path or https://HOST:PORT/path")
    host = _literal(found[1]) or found[1]
    if not host.startswith("[") and _NAME.fullmatch(host) is None:
        raise SpellingError(f"the host {host[:80]!r} is no DNS name; write https://HOST/path")
    return host if port == 443 else f"{host}:{port}"


def _literal(host: str) -> str | None:
    """An address in its one form; None for a name. ``127.1`` and ``0x7f.0.0.1`` are neither."""
    last = host.rpartition(".")[2]
    if not host.startswith("[") and re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last) is None:
        return None
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise SpellingError(
            f"the host {host[:80]!r} is no IP address; write it as 192.0.2.1 or [2001:db8::1]"
        ) from None
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped) if found.ipv4_mapped is not None else f"[{found.compressed}]"
    return str(found)


def _account(text: str) -> str:
    found = _ABFS.fullmatch(text)
    if found is None or _NAME.fullmatch(found[2]) is None:
        raise SpellingError(
            f"{text[:80]!r} is no container of an account; write abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/path, "
            "without a port"
        )
    # One account has several hosts: of both protocols, of its replica, and of a private link.
    account, *rest = found[2].split(".")
    rest = [label for label in rest if label != "privatelink"]
    if rest and rest[0] == "blob":
        rest[0] = "dfs"
    return f"{found[1]}@{'.'.join([account.removesuffix('-secondary'), *rest])}"


def segments(scheme: str, path: str) -> tuple[str, ...]:
    """The names of a path, without empty ones and ``.``.

    Escapes of https are read, as its servers read them. Readers of the other schemes may read them or take them as they
    stand, so that ``*`` stands for them.

    Args:
        scheme: as of :func:`authority`.
        path: what follows the authority; of https without query and fragment.

    Raises:
        SpellingError: when it climbs, or could be read in more than one way.
    """
    plain = unquote(path)
    where = f"the path {path[:80]!r}"
    if any(part == ".." for part in re.split(r"[/\\]", plain)):
        raise SpellingError(f"{where} climbs with '..'; write where the data is")
    _escapes(path, where)
    _characters(plain, where)
    _brackets(plain, where)
    text = plain if scheme == "https" else _ESCAPES.sub("*", path)
    return tuple(part for part in text.split("/") if part not in ("", "."))


def _escapes(path: str, where: str) -> None:
    if "%" in _ESCAPES.sub("", path):
        raise SpellingError(f"{where} has a '%' that is no escape; name the data without it, or write '*' for it")
    for found in _ESCAPES.findall(path):
        try:
            text = unquote(found, errors="strict")
        except UnicodeDecodeError:
            raise SpellingError(f"{where} has the escape {found[:32]}, which is no UTF-8; write '*' for it") from None
        if _MEANING & set(text):
            raise SpellingError(f"{where} has the escape {found[:32]} of a character with a meaning; write it plainly")


def _characters(plain: str, where: str) -> None:
    if any(unicodedata.category(char).startswith("C") for char in plain):
        raise SpellingError(f"{where} has a character that can not be seen; write '*' for it")
    if not unicodedata.is_normalized("NFC", plain):
        raise SpellingError(f"{where} has letters in a form other than Unicode's NFC; write '*' for them")
    extended = _EXTENDED.search(plain)
    if extended is not None:
        raise SpellingError(f"{where} has a pattern {extended[0]}…); write '*' for it, or {{one,two}}")
    for mark, instead in (
        ("\\", "write names without it, and '/' between them"),
        ("#", "leave it and what follows out"),
        ("?", "write '*' for any text, and leave a version out"),
        ("::", "write the address of the data alone"),
    ):
        if mark in plain:
            raise SpellingError(f"{where} has a {mark!r}, which readers take in different ways; {instead}")


def _brackets(plain: str, where: str) -> None:
    for inner in _ALTERNATIVES.findall(plain):
        if ".." in inner or any(not option.strip(".") for option in inner.split(",")):
            raise SpellingError(
                f"{where} has {{{inner[:32]}}}, with an alternative that is no name; write each as a name"
            )
    rest = _BRACKETS.sub("", plain)
    if set("[]{}") & set(rest):
        raise SpellingError(
            f"{where} has brackets that do not close, are empty, or hold '/', other brackets, or ',' in '[]'; write "
            "'*' for them"
        )
    if "," in rest:
        raise SpellingError(
            f"{where} has a ',' outside of {{}}; have one Dataset for each address, or write {{one,two}}"
        )
