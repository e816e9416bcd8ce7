"""What the pod tells its data-plane containers: environment variables, read once, errors as sentences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mlprivacy.api import names

ENV_ATTEMPT: Final = names.ENV_ATTEMPT
ENV_CANARY: Final = names.ENV_CANARY
ENV_SEAL_KEY: Final = names.ENV_SEAL_KEY
ENV_SEAL_DEADLINE: Final = names.ENV_SEAL_DEADLINE
ENV_SOCKET: Final = "MLPRIVACY_SOCKET"  # the accountant's unix socket
ENV_LOG: Final = "MLPRIVACY_LOG"  # the folder of the sidecar's log
ENV_PEER_UID: Final = names.ENV_PEER_UID
ENV_GATEWAY_PORT: Final = names.ENV_GATEWAY_PORT
ENV_LISTEN: Final = "MLPRIVACY_LISTEN"  # the address to listen on; all of the pod's where not set
ENV_KEY: Final = "MLPRIVACY_KEY"  # the file of the pod's own key
ENV_TERMINATION_LOG: Final = "MLPRIVACY_TERMINATION_LOG"

DEFAULT_SEAL_DEADLINE: Final = 60.0
DEFAULT_SOCKET: Final = f"{names.MOUNT_RUN}/accountant.sock"
DEFAULT_KEY: Final = f"{names.MOUNT_KEY}/ed25519"
DEFAULT_TERMINATION_LOG: Final = "/dev/termination-log"


class SettingsError(Exception):
    """A setting is missing or wrong; the message is a sentence that names it."""


class Settings:
    """The environment, typed. Each property raises SettingsError when its variable is missing or wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def required(self, name: str) -> str:
        """The variable ``name``, which must be set and at most 4096 characters long."""
        value = self._environ.get(name, "")
        if not value or len(value) > 4096:
            raise SettingsError(f"The environment variable {name} is not set; the operator renders it into the pod.")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """The variable ``name`` as a number from ``low`` to ``high``."""
        value = self._environ.get(name, "")
        try:
            found = float(value) if value else default
        except ValueError:
            found = low - 1
        if not low <= found <= high:
            raise SettingsError(f"The environment variable {name} is {value[:40]!r}; it must be {low:g} to {high:g}.")
        return found

    @property
    def attempt(self) -> str:
        attempt = self.required(ENV_ATTEMPT)
        if len(attempt) > 256:
            raise SettingsError(f"The environment variable {ENV_ATTEMPT} is longer than 256 characters.")
        return attempt

    @property
    def listen(self) -> str | None:
        return self._environ.get(ENV_LISTEN) or None

    @property
    def socket(self) -> Path:
        return Path(self._environ.get(ENV_SOCKET) or DEFAULT_SOCKET)

    @property
    def log(self) -> Path:
        return Path(self._environ.get(ENV_LOG) or names.MOUNT_LOG)

    @property
    def key(self) -> Path:
        return Path(self._environ.get(ENV_KEY) or DEFAULT_KEY)

    @property
    def termination_log(self) -> Path:
        return Path(self._environ.get(ENV_TERMINATION_LOG) or DEFAULT_TERMINATION_LOG)

    @property
    def peer_uid(self) -> int:
        return int(self.number(ENV_PEER_UID, names.UID_WORKLOAD, 0, 2**32 - 2))

    @property
    def gateway_port(self) -> int:
        self.required(ENV_GATEWAY_PORT)
        return int(self.number(ENV_GATEWAY_PORT, 0, 1, 65535))
