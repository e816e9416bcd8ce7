"""The command ``mlprivacy-dataplane seal|accountant|gateway``: the entry point of the data plane's image.

Settings come from the environment (settings.py). Runs as PID 1: signals are handled, so that a pod ends at once.
Exit codes: 0 well, 1 failed (the reason is the container's termination message), 2 bad settings, 143 stopped early.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from mlprivacy import __version__
from mlprivacy.audit.chain import LogError
from mlprivacy.audit.record import RecordError
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


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one data-plane process and exits with its code."""
    parser = argparse.ArgumentParser(prog="mlprivacy-dataplane", description="Runs beside or before the user's code.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (description, _) in COMMANDS.items():
        commands.add_parser(name, help=description, description=description)
    command = parser.parse_args(argv).command
    settings = Settings(os.environ)
    outcome = asyncio.run(_run(COMMANDS[command][1](), settings))
    sys.stderr.write(outcome.sentence + "\n")
    if outcome.code:
        _terminate(settings.termination_log, outcome.sentence)
    sys.exit(outcome.code)


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
    except (LogError, RecordError) as error:
        return Outcome(1, str(error))
    except OSError as error:
        return Outcome(1, f"The process could not start or go on: {error}.")


def _terminate(path: Path, sentence: str) -> None:
    """Leaves the sentence where the kubelet looks for it, if it does: the file is the kubelet's to make."""
    with contextlib.suppress(OSError), path.open("r+") as file:
        file.write(sentence[:4000])


if __name__ == "__main__":
    main()
