"""The command ``mlprivacy`` (also ``kubectl mlprivacy``): finds the subcommand and loads nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

import click

from mlprivacy.cli.errors import EXIT_BAD_INPUT

# Name -> module and the line of --help; written here so that --help imports no command.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "check": ("check", "Decide on the jobs in files, as the operator would."),
    "test": ("testing", "Run policy fixtures and compare the decisions with what they expect."),
    "rules": ("rules", "List the rules, or say all about one."),
    "explain": ("explain", "Say what was decided on a job and why, or what a rule is for."),
    "scan": ("scan", "List the jobs of a cluster: what was decided, and what Enforce would make of it."),
    "approve": ("approve", "Show a PolicyException and approve what was shown."),
    "revoke": ("revoke", "Take the approval of a PolicyException back."),
    "policy": ("policy", "Compare policies and packs: which jobs they decide otherwise, and why."),
    "budget": ("budget", "Privacy budgets: what is left, who waits; approve, retire, export the ledger, simulate."),
    "plan": ("plan", "Say what a DP job costs, or what it may be to cost no more; what is left of a budget."),
    "verify": ("verify", "Recompute an audit log or a ledger and name the first bad record."),
    "doctor": ("doctor", "Look an installation over and say what to do."),
    "strip-finalizers": ("strip_finalizers", "Take our finalizer off all our objects, before an uninstall."),
    "version": ("version", "Print the version."),
    "completion": ("completion", "Print the shell's completion script."),
    "admission": ("admission", "Run the admission server (a process of the chart)."),
    "controller": ("controller", "Run the controller (a process of the chart)."),
    "collector": ("collector", "Run the audit collector (a process of the chart)."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mlprivacy.cli.{COMMANDS[cmd_name][0]}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is no command")
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of --help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Privacy policy for machine-learning workloads on Kubernetes."""
    ctx.obj = {"debug": debug}


def program_name(argv0: str) -> str:
    """``kubectl mlprivacy`` when kubectl runs us as its plug-in, else ``mlprivacy``."""
    return "kubectl mlprivacy" if PurePath(argv0).name.startswith("kubectl-mlprivacy") else "mlprivacy"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Every error is a sentence with exit code 2; ``--debug`` shows the traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments[:1] or os.environ.get("MLPRIVACY_DEBUG") == "1"
    try:
        code = cli.main(
            args=arguments,
            prog_name=program_name(sys.argv[0]),
            complete_var="_MLPRIVACY_COMPLETE",
            standalone_mode=False,
        )
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        if debug:
            raise
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read us has gone (`| head`); the interpreter must not complain about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        click.echo(f"Error: {sentence_of(error)} Run `mlprivacy --debug ...` to see where.", err=True)
        sys.exit(EXIT_BAD_INPUT)
    sys.exit(code if isinstance(code, int) else 0)


def sentence_of(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    known = isinstance(error, (OSError, ValueError)) or type(error).__module__.startswith("mlprivacy.")
    return f"{text.rstrip('.')}." if known else f"Something unexpected happened ({type(error).__name__}: {text})."


if __name__ == "__main__":
    main()
