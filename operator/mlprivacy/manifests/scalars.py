"""What a plain YAML scalar means to kubectl: the rules of the YAML reader behind it (YAML 1.1 without its worst).

Source: go.yaml.in/yaml/v2 `resolve.go` as sigs.k8s.io/yaml v1.6.0 uses it, then JSON as apimachinery reads it. Compared
with the real kubectl by tests/unit/cli/test_yamlload_kubectl.py.
"""

from __future__ import annotations

import math
import re
from typing import Final

Scalar = str | int | float | bool | None

_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_SPECIAL: Final = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOT_FLOAT: Final = re.compile(r"\.[0-9]+([eE][-+]?[0-9]+)?")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
    r"([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?)?"
)
_BASES: Final = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_INT64: Final = 2**63


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar. A date, ``1:30`` and a number too large for a float stay strings."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text in _SPECIAL:
        return _SPECIAL[text]
    first = text[0]
    if first == ".":
        return _float(text) if _DOT_FLOAT.fullmatch(text) else text
    if first in "+-0123456789" and not _DATE.fullmatch(text):
        return _number(text.replace("_", ""), text)
    return text


def _number(plain: str, text: str) -> Scalar:
    found = _INTEGER.fullmatch(plain)
    if found is not None:
        group = next(name for name in _BASES if found[name] is not None)
        if len(found[group]) <= 64:  # a longer one is past 64 bits in any base, bar leading zeros
            value = int(found[group], _BASES[group]) * (-1 if found["sign"] == "-" else 1)
            # Unsigned 64 bits are read without a sign only.
            if -_INT64 <= value < (2 * _INT64 if not found["sign"] else _INT64):
                return as_json_number(value)
    if _FLOAT.fullmatch(plain):
        value_or_text = _float(plain)
        return text if isinstance(value_or_text, str) else value_or_text
    return text


def _float(plain: str) -> float | int | str:
    value = float(plain)
    return plain if math.isinf(value) else as_json_number(value)


def as_json_number(value: float) -> int | float:
    """The number after the way through JSON: 5.0 becomes 5, and what does not fit 64 bits becomes a float."""
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else float(value)
    if value.is_integer() and abs(value) < _INT64:
        return int(value)
    return value


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with one of the tags of JSON's types, such as ``!!float 1``.

    Raises:
        ValueError: with a sentence when the text is not of that type, or the tag is not one of them.
    """
    if tag == "!!str":
        return text
    value = resolve(text)
    fits: dict[str, tuple[type, ...]] = {
        "!!int": (int,),
        "!!float": (int, float),
        "!!bool": (bool,),
        "!!null": (type(None),),
    }
    if tag not in fits:
        raise ValueError(f"the tag {tag} is not accepted; write plain strings, numbers, lists and maps")
    if not isinstance(value, fits[tag]) or (isinstance(value, bool) and tag != "!!bool"):
        raise ValueError(f"{text[:40]!r} can not be read as {tag}; remove the tag or mend the value")
    return value
