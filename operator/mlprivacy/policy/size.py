"""How large the spec of a job may be. Larger ones are refused before anything of them is read. Pure."""

from __future__ import annotations

from typing import Any, Final

SPEC_MAX: Final = 128 << 10  # characters of JSON, roughly; the largest that people write has a few thousand
TOO_LARGE: Final = f"is larger than {SPEC_MAX >> 10} KiB; keep files and long lists in the image"


def too_large(spec: Any) -> bool:
    """True when the JSON of ``spec`` has more than SPEC_MAX characters.

    It stops counting there, and takes any depth: what an enormous spec costs is what the largest allowed one does.
    """
    size = 0
    waiting: list[Any] = [spec]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            size += len(value) + 3
        elif isinstance(value, dict):
            size += 2
            for key, inner in value.items():
                size += len(key) + 4 if isinstance(key, str) else 8
                waiting.append(inner)
                if size > SPEC_MAX:
                    return True
        elif isinstance(value, list):
            size += 2 + len(value)
            if size <= SPEC_MAX:
                waiting += value
        else:
            size += 5
        if size > SPEC_MAX:
            return True
    return False
