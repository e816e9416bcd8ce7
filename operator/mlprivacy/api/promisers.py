"""Who had a hand in a promise: the names in `mlprivacy.dev/promised-by`, in the order in which they came. Pure.

A comma stands between two names; a name's own comma and per cent sign are written as %2C and %25. An empty name is
somebody who is not known. The guard of budgets reads and writes the same text.
"""

from __future__ import annotations

from typing import Final

SERVICE_ACCOUNT: Final = "system:serviceaccount:"


def written(user: str) -> str:
    """A user's name as it stands in the list."""
    return user.replace("%", "%25").replace(",", "%2C")


def with_promiser(text: str, user: str) -> str:
    """The list with the user in it; an empty list stays in it as somebody who is not known."""
    return text if written(user) in text.split(",") else f"{text},{written(user)}"


def may_approve(promised_by: str | None, user: str | None) -> bool:
    """Whether everybody who promised is known, and the user is none of them."""
    if not promised_by or not user:
        return False
    names = promised_by.split(",")
    return all(names) and written(user) not in names


def asked_by_people(promised_by: str) -> bool:
    """Whether everybody is known and none is a ServiceAccount, which may stand for whoever approves."""
    return all(name and not name.startswith(SERVICE_ACCOUNT) for name in promised_by.split(","))


def people(promised_by: str) -> str:
    """Their names, to be read."""
    names = [name.replace("%2C", ",").replace("%25", "%") for name in promised_by.split(",")]
    return " and ".join(name or "somebody who is not known" for name in names)
