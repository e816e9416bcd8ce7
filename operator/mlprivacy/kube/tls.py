"""TLS contexts that follow a Secret: certificates are exchanged under a running server without a gap."""

import asyncio
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from mlprivacy.kube import metrics
from mlprivacy.kube.certificates import days_left, utcnow
from mlprivacy.kube.certkeeper import CA, CRT, KEY, secret_data
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import SECRETS

logger = logging.getLogger(__name__)

PeerCheck = Literal["none", "required"]
_MINIMUM: Final = ssl.TLSVersion.TLSv1_2


class HotTLS:
    """A server and a client context whose certificate and trust can be loaded again while they are in use.

    Handshakes after `load` see the new certificate; open connections keep theirs. Trust only grows on a live context
    (OpenSSL can not take a CA out of it): a CA that must be distrusted at once needs a restart; one that has expired is
    refused anyway.
    """

    def __init__(self, *, clients: PeerCheck = "none", client_ca: bytes | None = None) -> None:
        """`clients="required"` demands a client certificate from peers of the server context.

        It must be signed by `client_ca` (PEM) or, without one, by the `ca` given to `load`. Raises ssl.SSLError for a
        `client_ca` that is not PEM.
        """
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.minimum_version = _MINIMUM
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_context.minimum_version = _MINIMUM
        self._trust_own_ca = clients == "required" and client_ca is None
        if clients == "required":
            self.server_context.verify_mode = ssl.CERT_REQUIRED
            if client_ca is not None:
                self.server_context.load_verify_locations(cadata=client_ca.decode())
        self.client_context.verify_flags |= ssl.VERIFY_X509_STRICT
        if self._trust_own_ca:
            self.server_context.verify_flags |= ssl.VERIFY_X509_STRICT  # foreign CAs are often less exact than ours
        self.certificate: bytes | None = None
        self.ca: bytes | None = None

    def load(self, certificate: bytes, key: bytes, ca: bytes, now: datetime) -> None:
        """Use this certificate, key and CA bundle (PEM) from now on.

        Raises ValueError with what is wrong; then nothing has changed.
        """
        if not certificate or not key or not ca:
            missing = ", ".join(name for name, value in ((CRT, certificate), (KEY, key), (CA, ca)) if not value)
            raise ValueError(f"{missing} is empty")
        if days_left(certificate, now) <= 0:
            raise ValueError(f"the certificate expired {-days_left(certificate, now):.1f} days ago")
        with _as_file(certificate + b"\n" + key) as path:
            try:
                # First into contexts that nobody uses: a failed load may leave a live one half changed.
                trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                trial.load_cert_chain(path)
                trial.load_verify_locations(cadata=ca.decode())
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise ValueError(f"certificate, key or CA bundle can not be used ({error})") from error
            for context in (self.server_context, self.client_context):
                context.load_cert_chain(path)
        if ca != self.ca:
            self.client_context.load_verify_locations(cadata=ca.decode())
            if self._trust_own_ca:
                self.server_context.load_verify_locations(cadata=ca.decode())
        self.certificate, self.ca = certificate, ca


class SecretTLS:
    """`HotTLS` fed by a watch on one Secret; list and watch by field selector, so that RBAC can name that Secret."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        *,
        clients: PeerCheck = "none",
        client_ca_file: Path | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        """`client_ca_file` overrides the Secret's `ca.crt` as what client certificates are checked against."""
        self.name = name
        self._tls = HotTLS(clients=clients, client_ca=client_ca_file.read_bytes() if client_ca_file else None)
        self._clock = clock
        self._informer = Informer(
            client, SECRETS, namespace=namespace, field_selector=f"metadata.name={name}", name=f"secrets/{name}"
        )
        self._informer.on_change(self._changed)
        self.ready = asyncio.Event()
        """Set once a usable certificate was loaded."""
        self.loads = 0
        """How often a certificate was loaded."""
        self._problem: str | None = f"Secret {namespace}/{name} has not been read yet"

    @property
    def server_context(self) -> ssl.SSLContext:
        """For servers; the same object for ever, so hand it out before `ready` if need be."""
        return self._tls.server_context

    @property
    def client_context(self) -> ssl.SSLContext:
        """For clients: trusts the Secret's `ca.crt` alone and presents its certificate."""
        return self._tls.client_context

    @property
    def problem(self) -> str | None:
        """Why the newest content is not in use, or that it has expired, as a sentence; None when all is well."""
        if self._problem is None and self.days_left() <= 0:
            return f"Secret {self.name}: the certificate in use has expired; is the controller running?"
        return self._problem or self._informer.problem

    def days_left(self) -> float:
        """Days until the certificate in use expires; negative infinity before the first."""
        certificate = self._tls.certificate
        return days_left(certificate, self._clock()) if certificate else float("-inf")

    def start(self) -> None:
        """Watch in the background."""
        metrics.follow(metrics.CERTIFICATE_DAYS, {"name": self.name}, self.days_left)
        self._informer.start()

    async def stop(self) -> None:
        """Stop watching; the contexts stay as they are."""
        await self._informer.stop()

    def _changed(self, _old: Object | None, new: Object | None) -> None:
        if new is None:
            self._report("it was deleted")
            return
        data = secret_data(new)
        try:
            self._tls.load(data.get(CRT, b""), data.get(KEY, b""), data.get(CA, b""), self._clock())
        except ValueError as error:
            self._report(str(error))
            return
        self._problem = None
        self.loads += 1
        self.ready.set()
        logger.info("Secret %s: certificate loaded, %.1f days left", self.name, self.days_left())

    def _report(self, why: str) -> None:
        used = "the last good certificate stays in use" if self.ready.is_set() else "there is no certificate to use"
        self._problem = f"Secret {self.name}: {why}; {used}"
        logger.warning("%s", self._problem)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path that holds `content` for the time of the block: in memory where the system can, since it is a key."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mlprivacy-tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
