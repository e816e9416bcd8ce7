"""Certificates of the record API: where they come from, hot reload, and who the client is."""

import contextlib
import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

RELOAD_AFTER: Final = 1.0  # seconds between two looks at the files


class TLSSource(Protocol):
    """Gives the server's context. The same context object must serve new certificates after a rotation."""

    def server_context(self) -> ssl.SSLContext:
        """A context with a certificate, a client CA and ``verify_mode=CERT_REQUIRED``."""


def mutual_context(cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """A server's context that demands a client certificate signed by ``ca``; PEM files.

    Tickets are off: a resumed session would not show its certificate to a CA that has been replaced since.
    Raises OSError or ssl.SSLError when the files can not be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_cert_chain(cert, key)
    return context


def client_context(cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """A client's context that shows ``cert`` and trusts ``ca`` alone; PEM files."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca))
    context.load_cert_chain(cert, key)
    return context


class FileTLS:
    """A TLSSource from PEM files, read again when they change. A half-written set of files keeps the old one in use.

    Each handshake looks (at most once a second) whether a file changed; the certificate, the key and the client CA
    are swapped together, so a withdrawn CA is refused from the next connection on.
    Raises OSError or ssl.SSLError when the files can not be used at the start.
    """

    def __init__(self, cert: Path, key: Path, ca: Path, *, reload_after: float = RELOAD_AFTER) -> None:
        self._files = (cert, key, ca)
        self._reload_after = reload_after
        self._stamp = self._stat()
        self._current = mutual_context(cert, key, ca)
        self._looked = time.monotonic()
        self._base = mutual_context(cert, key, ca)
        self._base.sni_callback = self._choose
        self.failures = 0

    def server_context(self) -> ssl.SSLContext:
        return self._base

    def expires_at(self) -> float:
        """When the certificate in the file ends, in seconds since 1970."""
        certificate = x509.load_pem_x509_certificate(self._files[0].read_bytes())
        return certificate.not_valid_after_utc.timestamp()

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        found = [os.stat(path) for path in self._files]
        return tuple((item.st_mtime_ns, item.st_ino, item.st_size) for item in found)

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _base: ssl.SSLContext) -> None:
        now = time.monotonic()
        if now - self._looked >= self._reload_after:
            self._looked = now
            with contextlib.suppress(OSError):
                self._reload()
        connection.context = self._current

    def _reload(self) -> None:
        stamp = self._stat()
        if stamp == self._stamp:
            return
        try:
            self._current = mutual_context(*self._files)
        except (OSError, ssl.SSLError):
            self.failures += 1
            return
        self._stamp = stamp


def common_name(certificate: Mapping[str, object] | None) -> str | None:
    """The one common name of a verified peer certificate (as ``getpeercert()`` gives it); None if not exactly one."""
    subject = (certificate or {}).get("subject")
    if not isinstance(subject, tuple):
        return None
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None
