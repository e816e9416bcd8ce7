"""The options of a command that asks a cluster: which kubeconfig, which context of it, and as whom."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Access:
    """The way to a cluster. ``user`` and ``groups`` are whom to act as; the caller needs the verb impersonate."""

    kubeconfig: str | None = None
    context: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()


_OPTIONS = (
    click.option("--kubeconfig", envvar="MLPRIVACY_KUBECONFIG", help="Path of the kubeconfig."),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig to use."),
    click.option("--as", "user", metavar="USER", help="Ask as this user, as kubectl does; needs the verb impersonate."),
    click.option("--as-group", "groups", multiple=True, metavar="GROUP", help="With --as: a group of it. Repeatable."),
)


def access_options(command: F) -> F:
    """Adds the options; the command takes what they say as ``access``."""

    @functools.wraps(command)
    def wrapped(
        *args: Any, kubeconfig: str | None, context: str | None, user: str | None, groups: tuple[str, ...], **rest: Any
    ) -> Any:
        if groups and not user:
            raise click.UsageError("--as-group needs --as.")
        return command(*args, access=Access(kubeconfig, context, user, groups), **rest)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
