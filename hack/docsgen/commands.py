"""docs/reference/commands.md: the help of every command, as the program prints it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from docsgen.markdown import block, code, document, table
from docsgen.pages import DocsError
from mlprivacy.cli.main import COMMANDS, cli

_INTRO = """
`mlprivacy` and `kubectl mlprivacy` are the same program. Every option of a process (`admission`, `controller`,
`collector`) is also read from the environment variable that its help names.

Errors are one sentence on the standard error and exit code 2; `mlprivacy --debug COMMAND` shows where they come from.
"""
_WIDTH = 100


def page() -> str:
    """The page."""
    index = table(("Command", "What it does"), ((f"[{n}](#{n})", text) for n, (_, text) in COMMANDS.items()))
    # The settings of the program itself: click remembers the help option of the first context that asks for it.
    settings = {**cli.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = click.Context(cli, info_name="mlprivacy", **settings)
    parts = [index, "## mlprivacy", block(cli.get_help(context), "text")]
    for name in COMMANDS:
        parts += [f"## {name}", block(_help(name, context), "text")]
    return document("Commands", _INTRO, *parts)


def _help(name: str, parent: click.Context) -> str:
    try:
        command = cli.get_command(parent, name)
    except ModuleNotFoundError as error:
        raise DocsError(f"The command {code(name)} can not be loaded: {error}.") from error
    if command is None:
        raise DocsError(f"The command {code(name)} is listed and not there.")
    return "\n\n".join(_texts(command, parent, name))


def _texts(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    """The help of a command, then of each command that it has itself."""
    inner = click.Context(command, parent=parent, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield "\n".join(line.rstrip() for line in command.get_help(inner).splitlines())
    if isinstance(command, click.Group):
        for below in command.list_commands(inner):
            if (found := command.get_command(inner, below)) is not None:
                yield from _texts(found, inner, below)
