"""The errors of the command line: sentences for people, with the exit code that goes with them."""

from __future__ import annotations

import click

EXIT_ALLOWED = 0
EXIT_REFUSED = 1
EXIT_BAD_INPUT = 2
EXIT_HELD = 3


class CliError(click.ClickException):
    """Something the command can not do: printed as ``Error: sentence``, exit code 2."""

    exit_code = EXIT_BAD_INPUT
