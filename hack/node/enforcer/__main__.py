"""Command line of the enforcer: arguments, signals, exit codes.

SIGUSR1 switches enforcement off (the table is deleted), SIGUSR2 on again; SIGTERM and SIGINT delete the table and end.
Send them to the process once its ready file is there. Exit code 0 after SIGTERM, 2 when it can not work here.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.credentials import ConfigurationError
from node.enforcer.loop import Caches, Enforcer, ReadyFile, serve
from node.enforcer.nft import Nft, NftError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enforcer",
        description="Enforce NetworkPolicies with nftables in this network namespace. For tests, on one node.",
        epilog="SIGUSR1 switches enforcement off, SIGUSR2 on; SIGTERM deletes the table and ends.",
    )
    parser.add_argument("--kubeconfig", required=True, help="how to reach the API server")
    parser.add_argument(
        "--ready-file", required=True, type=Path, help="gets the word `enforcing` or `off`; absent until the first"
    )
    parser.add_argument(
        "--interval", type=_seconds, default=5.0, help="seconds between looks whether the table is still there"
    )
    parser.add_argument(
        "--debounce", type=_seconds, default=0.005, help="seconds to wait for more changes before a load"
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return seconds


async def _main(arguments: argparse.Namespace) -> None:
    ready = ReadyFile(arguments.ready_file)
    ready.remove()
    nft = Nft()
    await nft.check()
    async with await KubeClient.connect(arguments.kubeconfig) as client:
        caches = Caches(client)
        enforcer = Enforcer(nft, ready, caches.ruleset, interval=arguments.interval, debounce=arguments.debounce)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGUSR1, enforcer.switch, False)
        loop.add_signal_handler(signal.SIGUSR2, enforcer.switch, True)
        await serve(enforcer, caches, stopping)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; see the module."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="enforcer: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_main(arguments))
        except (ConfigurationError, NftError, OSError) as error:
            print(f"enforcer: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
