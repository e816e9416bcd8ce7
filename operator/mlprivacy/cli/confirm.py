"""Asks before something is done that can not be taken back; where nobody can be asked, ``--yes`` has to say it."""

from __future__ import annotations

import sys

import click

from mlprivacy.cli.errors import CliError


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes.

    Raises:
        CliError: when there is no terminal, as in a script: an answer that was not meant for this question is none.
    """
    if not terminal():
        raise CliError("Nothing is sent: there is no terminal to ask on. Add --yes to do it without being asked.")
    return click.confirm(question)


def terminal() -> bool:
    """Whether somebody can type an answer."""
    return sys.stdin is not None and sys.stdin.isatty()
