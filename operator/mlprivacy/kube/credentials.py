"""Where the API server is and how we prove who we are: in-cluster files or a kubeconfig, re-read as they rotate."""

import os
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlprivacy.kube.errors import Unreachable

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD_SECONDS = 60.0
"""How long a token or certificate file is trusted before its modification time is looked at again."""


class ConfigurationError(Exception):
    """No usable way to the API server: a sentence says which file or setting is missing and what to do."""


class _RereadFile:
    """A file's text, read again when it changed; the kubelet replaces projected tokens well before they expire."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._looked = float("-inf")
        self._stamp: tuple[int, int, int] | None = None

    def text(self, *, force: bool = False) -> str:
        now = time.monotonic()
        if force or now - self._looked >= REREAD_SECONDS:
            stamp = _stamp(self.path)
            if force or stamp != self._stamp:
                self._text = self.path.read_text(encoding="utf-8").strip()
                self._stamp = stamp
            self._looked = now
        return self._text


def _stamp(path: Path) -> tuple[int, int, int]:
    info = path.stat()
    return (info.st_mtime_ns, info.st_size, info.st_ino)


class Credentials:
    """Address, TLS context and Authorization header of one API server.

    The TLS context stays the same object for the life of the process; certificates are loaded into it again as their
    files change, so that open sessions never have to be rebuilt.
    """

    def __init__(
        self,
        server: str,
        *,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        verify: bool = True,
        tls_server_name: str | None = None,
        proxy: str | None = None,
        token: str | None = None,
        token_file: Path | None = None,
        authorization: Callable[[bool], Awaitable[str | None]] | None = None,
        impersonation: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`authorization` overrides the token: called per request, with True when the last answer was a 401.

        `impersonation` are the Impersonate-* headers of a kubeconfig's `as` fields.
        """
        self.server = server.rstrip("/")
        self.impersonation = tuple(impersonation)
        self.tls_server_name = tls_server_name
        self.proxy = proxy
        self._token = token
        self._token_file = _RereadFile(token_file) if token_file else None
        self._dynamic = authorization
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        self._stamps: dict[Path, tuple[int, int, int]] = {}
        self._checked = float("-inf")
        self.ssl: ssl.SSLContext | None = None
        if self.server.startswith("https"):
            self.ssl = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
            if not verify:
                self.ssl.check_hostname = False
                self.ssl.verify_mode = ssl.CERT_NONE
            self.refresh_tls()

    def refresh_tls(self) -> None:
        """Load client certificate and CA again if their files changed; a half-written file keeps the old ones."""
        now = time.monotonic()
        if self.ssl is None or now - self._checked < REREAD_SECONDS:
            return
        first = self._checked == float("-inf")
        self._checked = now
        try:
            if self._changed(self._cert_file):
                self.ssl.load_cert_chain(str(self._cert_file), str(self._key_file) if self._key_file else None)
            if self._changed(self._ca_file) and not first:
                self.ssl.load_verify_locations(cafile=str(self._ca_file))
        except (OSError, ssl.SSLError) as error:
            if first:
                raise ConfigurationError(
                    f"the client certificate {self._cert_file} can not be loaded ({error}); check the kubeconfig"
                ) from error
            self._stamps.clear()

    def _changed(self, path: Path | None) -> bool:
        if path is None:
            return False
        stamp = _stamp(path)
        changed = self._stamps.get(path) != stamp
        self._stamps[path] = stamp
        return changed

    async def authorization(self, *, rejected: bool = False) -> str | None:
        """The Authorization header, or None. `rejected` re-reads whatever the last answer (a 401) was based on."""
        if self._dynamic is not None:
            return await self._dynamic(rejected)
        if self._token_file is not None:
            try:
                return f"Bearer {self._token_file.text(force=rejected)}"
            except OSError as error:
                raise Unreachable(
                    f"the token file {self._token_file.path} can not be read: {error.strerror}"
                ) from error
        return f"Bearer {self._token}" if self._token else None


def in_cluster(environ: Mapping[str, str] = os.environ, directory: Path = SERVICE_ACCOUNT_DIR) -> Credentials:
    """Credentials of the pod's ServiceAccount. Raises ConfigurationError outside a cluster.

    Read directly and not through `kubernetes.aio.config`, whose import alone costs 21 MiB in each process.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    token, ca = directory / "token", directory / "ca.crt"
    if not host:
        raise ConfigurationError(
            "no cluster: KUBERNETES_SERVICE_HOST is not set and no kubeconfig was given; set KUBECONFIG or --kubeconfig"
        )
    for path in (token, ca):
        if not path.is_file():
            raise ConfigurationError(
                f"no cluster: {path} is missing; mount the pod's service account token (automountServiceAccountToken)"
            )
    bracketed = f"[{host}]" if ":" in host else host
    return Credentials(f"https://{bracketed}:{port}", ca_file=ca, token_file=token)


async def from_kubeconfig(path: str, context: str | None = None) -> Credentials:
    """Credentials of a kubeconfig (or several, joined like KUBECONFIG). Raises ConfigurationError."""
    # Imported here: only people and tests use a kubeconfig, and the import costs 21 MiB.
    from kubernetes.aio.client import Configuration  # noqa: PLC0415
    from kubernetes.aio.config import ConfigException, load_kube_config  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    if not any(_exists(part) for part in path.split(os.pathsep) if part):
        raise ConfigurationError(f"kubeconfig {path} does not exist; set KUBECONFIG or --kubeconfig to one that does")
    configuration = Configuration()
    try:
        loader = await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path, context=context, client_configuration=configuration, persist_config=False
        )
    except (
        KeyError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        YAMLError,
    ) as error:  # it says nothing that a person could use
        raise ConfigurationError(
            f"kubeconfig {path} can not be used: it is no kubeconfig, or lacks parts of one; see it with "
            f"`kubectl config view --kubeconfig {path}`"
        ) from error
    except (ConfigException, ValueError, OSError) as error:
        raise ConfigurationError(f"kubeconfig {path} can not be used: {error}") from error
    token_file = _token_file(loader)

    async def authorization(rejected: bool) -> str | None:
        if rejected or _is_exec(loader):
            await loader.load_and_set(configuration)
        value = configuration.api_key.get("BearerToken")
        return str(value) if value else None

    return Credentials(
        configuration.host,
        ca_file=_path(configuration.ssl_ca_cert),
        cert_file=_path(configuration.cert_file),
        key_file=_path(configuration.key_file),
        verify=bool(configuration.verify_ssl),
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        token_file=token_file,
        authorization=None if token_file else authorization,
        impersonation=_impersonation(loader),
    )


def _exists(path: str) -> bool:
    return Path(path).expanduser().is_file()


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _is_exec(loader: Any) -> bool:
    # The loader keeps an exec plugin's token until it expires, so that this is cheap for most requests.
    return bool(loader._user is not None and "exec" in loader._user)


def _impersonation(loader: Any) -> list[tuple[str, str]]:
    """The kubeconfig's `as` fields, which the loader ignores: without them requests would have the wrong rights."""
    if loader._user is None:
        return []
    user: dict[str, Any] = loader._user.value
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    headers += [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{quote(key, safe='')}", str(value)) for value in values]
    return headers


def _token_file(loader: Any) -> Path | None:
    """The kubeconfig's `tokenFile`: the loader reads it once, we follow its rotation."""
    user = loader._user
    if user is None or user.safe_get("token") or not user.safe_get("tokenFile"):
        return None
    return Path(os.path.normpath(Path(loader._get_base_path(user.path)) / str(user["tokenFile"])))


async def load(
    kubeconfig: str | None = None, environ: Mapping[str, str] = os.environ, *, context: str | None = None
) -> Credentials:
    """The first of: the given kubeconfig, $KUBECONFIG, the pod's ServiceAccount, ~/.kube/config.

    With a `context` only a kubeconfig will do. Raises ConfigurationError.
    """
    chosen = kubeconfig or environ.get("KUBECONFIG")
    if chosen:
        return await from_kubeconfig(chosen, context)
    if environ.get("KUBERNETES_SERVICE_HOST") and context is None:
        return in_cluster(environ)
    if _exists("~/.kube/config"):
        return await from_kubeconfig("~/.kube/config", context)
    return in_cluster(environ)


def acting_as(credentials: Credentials, user: str, groups: Sequence[str] = ()) -> Credentials:
    """The same credentials, with which requests are judged as those of `user`; the caller needs `impersonate`."""
    credentials.impersonation = (("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups))
    return credentials
