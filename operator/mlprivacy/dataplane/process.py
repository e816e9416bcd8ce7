"""One data-plane process from its arguments to its exit code: settings from the environment, signals, the last words.

Exit codes: 0 well, 1 failed (the reason is the container's termination message), 2 bad settings, 3 and 4 the seal's
(audit/seal.py), 143 stopped early. Every import here is time in which a pod does not start: see test_imports.py.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from mlprivacy import __version__
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.settings import Settings, SettingsError

Run = Callable[[Settings, asyncio.Event], Awaitable[Outcome]]


def _seal() -> Run:
    from mlprivacy.dataplane.seal import run  # noqa: PLC0415 - each process loads its own part only

    return run


def _accountant() -> Run:
    from mlprivacy.dataplane.accountant import run  # noqa: PLC0415

    return run


def _gateway() -> Run:
    from mlprivacy.dataplane.gateway import run  # noqa: PLC0415

    return run


COMMANDS: dict[str, tuple[str, Callable[[], Run]]] = {
    "seal": ("wait until a forbidden address is seen to be out of reach (first init container)", _seal),
    "accountant": ("record the trainer's steps (native sidecar of training)", _accountant),
    "gateway": ("answer the model's clients (native sidecar of inference)", _gateway),
}


def run(argv: Sequence[str]) -> int:
    """Runs the command that ``argv`` names; the exit code. Raises SystemExit for help, version and bad usage."""
    command = argv[0] if len(argv) == 1 and argv[0] in COMMANDS else _parse(argv)
    settings = Settings(os.environ)
    outcome = asyncio.run(_run(COMMANDS[command][1](), settings))
    with contextlib.suppress(OSError):
        sys.stderr.write(outcome.sentence + "\n")
    if outcome.code:
        _terminate(settings.termination_log, outcome.sentence)
    return outcome.code


def _parse(argv: Sequence[str]) -> str:
    """What people type. Pods give one argument and never come here: argparse costs a tenth of the start."""
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="mlprivacy-dataplane", description="Runs beside or before the user's code.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (description, _) in COMMANDS.items():
        commands.add_parser(name, help=description, description=description)
    return str(parser.parse_args(argv).command)


async def _run(run: Run, settings: Settings) -> Outcome:
    """Runs with SIGTERM and SIGINT as the stop; every expected error becomes a sentence."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        return await run(settings, stop)
    except SettingsError as error:
        return Outcome(2, str(error))
    except OSError as error:
        return Outcome(1, f"The process could not start or go on: {error}.")


def _terminate(path: Path, sentence: str) -> None:
    """Leaves the sentence where the kubelet looks for it: a file that it mounts, writable whatever the root is."""
    with contextlib.suppress(OSError), path.open("r+") as file:
        file.write(sentence[:4000])
