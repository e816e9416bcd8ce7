"""A small PKI, events to record, and a collector with real TLS on loopback."""

import asyncio
import contextlib
import dataclasses
import datetime
import ipaddress
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.collector import CollectorConfig, Listening, run_collector
from mlprivacy.audit.record import Event, Subject, event_id
from mlprivacy.audit.tls import FileTLS, client_context


def make_event(number: int, *, kind: str = "decision", **data: object) -> Event:
    """A decision about a training job; ``number`` makes it another one."""
    subject = Subject("TrainingJob", "research", "diagnosis", "6f1c")
    return Event("2026-03-01T12:00:00Z", event_id(kind, "6f1c", number), kind, subject, {"number": number, **data})


@pytest.fixture
def event() -> Callable[..., Event]:
    return make_event


@dataclass(frozen=True)
class Files:
    """PEM files of one identity."""

    cert: Path
    key: Path
    ca: Path


class Authority:
    """A CA that signs servers and clients into ``directory``."""

    def __init__(self, directory: Path, name: str = "test-ca") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, common_name: str, file: str | None = None) -> Files:
        """A leaf for 127.0.0.1 that serves as server and as client."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            self._builder(name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = file or common_name
        files = Files(self.directory / f"{stem}.pem", self.directory / f"{stem}.key", self.ca)
        files.cert.write_bytes(certificate.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture
def pki(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def authority() -> Callable[..., Authority]:
    """Makes another CA."""
    return Authority


@dataclass(frozen=True)
class RunningCollector:
    """A collector that serves, and clients for it."""

    ports: Listening
    config: CollectorConfig
    pki: Authority

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports.port}"

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.ports.health_port}"

    def client(self, name: str, **options: float) -> CollectorClient:
        files = self.pki.issue(name)
        return CollectorClient(
            self.url,
            client_context(files.cert, files.key, files.ca),
            **{"attempts": 1, **options},  # type: ignore[arg-type]
        )


Start = Callable[..., "contextlib.AbstractAsyncContextManager[RunningCollector]"]


@pytest.fixture
def start_collector(tmp_path: Path, pki: Authority) -> Start:
    """Runs a collector in this loop: ``async with start_collector(option=…) as collector``."""
    files = pki.issue("collector-server")
    standard = CollectorConfig(
        directory=tmp_path / "log",
        tls=FileTLS(files.cert, files.key, files.ca, reload_after=0),
        host="127.0.0.1",
        port=0,
        health_host="127.0.0.1",
        health_port=0,
    )

    @contextlib.asynccontextmanager
    async def start(**options: object) -> AsyncIterator[RunningCollector]:
        config = dataclasses.replace(standard, **options)  # type: ignore[arg-type]
        stop = asyncio.Event()
        listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run_collector(config, stop, listening=listening))
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        try:
            yield RunningCollector(listening.result(), config, pki)
        finally:
            stop.set()
            await task

    return start
