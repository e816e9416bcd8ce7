"""What the process commands share: flags with their environment variables, addresses, logging, signals, the loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mlprivacy.cli.errors import CliError

NAMESPACE: Final = "mlprivacy-system"
_IN_CLUSTER_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
F = TypeVar("F", bound=Callable[..., Any])
Main = Callable[[asyncio.Event], Awaitable[None]]


class ProcessFailed(click.ClickException):
    """The process could not go on and should be started again: exit code 1."""

    exit_code = 1


def flag(name: str, *parameter: str, **options: Any) -> Callable[[F], F]:
    """An option that is also read from ``MLPRIVACY_<FLAG>``."""
    variable = "MLPRIVACY_" + name.lstrip("-").replace("-", "_").upper()
    return click.option(name, *parameter, envvar=variable, show_envvar=True, show_default=True, **options)


def own_namespace() -> str:
    """The namespace this process runs in; ``mlprivacy-system`` outside a cluster."""
    try:
        return _IN_CLUSTER_NAMESPACE.read_text(encoding="utf-8").strip() or NAMESPACE
    except OSError:
        return NAMESPACE


def common(function: F) -> F:
    """The flags that every process has."""
    for decorate in (
        flag("--log-format", type=click.Choice(["json", "text"]), default="json"),
        flag(
            "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", help="Log level."
        ),
        flag("--namespace", default=own_namespace, help="The operator's namespace; the pod's own unless given."),
        flag("--kubeconfig", help="Path of a kubeconfig; the pod's own account unless given."),
    ):
        function = decorate(function)
    return function


if TYPE_CHECKING:
    _AddressType = click.ParamType[tuple[str, int]]
else:
    _AddressType = click.ParamType  # takes no type argument before click 8.5


class Address(_AddressType):
    """``HOST:PORT``; an empty host is every address, IPv6 stands in brackets."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Host and port. Fails with a sentence."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in bare) != (host != bare):
            self.fail(f"{value!r} is not HOST:PORT, such as 0.0.0.0:8443 or [::]:8443.", param, ctx)
        return bare or "0.0.0.0", int(port)


@dataclass(frozen=True)
class Logging:
    """How a process logs, always to standard error."""

    level: str = "info"
    format: str = "json"

    def start(self) -> None:
        """Set the root logger up; what other packages say is kept to warnings."""
        from mlprivacy.admission.logs import log_as_json  # noqa: PLC0415

        level = logging.getLevelNamesMapping()[self.level.upper()]
        if self.format == "json":
            log_as_json(level)
        else:
            shape = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
            logging.basicConfig(level=level, stream=sys.stderr, format=shape, force=True)
        for noisy in ("kopf", "asyncio", "aiohttp.access"):
            logging.getLogger(noisy).setLevel(max(logging.WARNING, level))


def run(main: Main, how: Logging) -> None:
    """Run ``main`` until SIGTERM or SIGINT sets its event; the second signal ends the process at once.

    Raises:
        CliError: when there is no way to the API server, or a flag does not fit.
        ProcessFailed: when the process could not go on; whoever started it starts it again.
    """
    how.start()
    from mlprivacy.kube.credentials import ConfigurationError  # noqa: PLC0415
    from mlprivacy.kube.errors import ApiError  # noqa: PLC0415

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signal(main))
    except (ConfigurationError, ValueError) as error:
        raise CliError(_sentence(error)) from error
    except (ApiError, OSError, RuntimeError) as error:
        raise ProcessFailed(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signal(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        logging.getLogger("mlprivacy").info("%s: stopping", number.name)
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    await main(stop)
