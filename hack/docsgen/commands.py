"""docs/reference/commands.md: the help of every command, as the program prints it."""

from __future__ import annotations

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
    inner = click.Context(command, parent=parent, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    found = [command.get_help(inner)]
    if isinstance(command, click.Group):
        for sub in command.list_commands(inner):
            below = click.Context(
                command.commands[sub], parent=inner, info_name=sub, terminal_width=_WIDTH, max_content_width=_WIDTH
            )
            found.append(command.commands[sub].get_help(below))
    return "\n\n".join("\n".join(line.rstrip() for line in text.splitlines()) for text in found)
