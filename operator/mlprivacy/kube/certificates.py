"""The product's own certificate authority as pure functions: when to make, re-sign and rotate, with time given."""

import base64
import binascii
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATE: Final = timedelta(minutes=5)
"""Certificates are valid from a little before they were made, because clocks differ."""
MAX_BUNDLE: Final = 4


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things live. A certificate is renewed at two thirds of its life."""

    ca: timedelta = timedelta(days=365)
    leaf: timedelta = timedelta(days=30)
    overlap: timedelta = timedelta(hours=1)
    """After a CA rotation leaves stay with the old CA this long, until every verifier has read the new bundle."""


@dataclass(frozen=True, slots=True)
class LeafSpec:
    """What a leaf certificate must say. Servers name their DNS names and addresses, clients their common name."""

    common_name: str
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    server: bool = True
    client: bool = False


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """The signing CA and the bundle that verifiers trust: the signer first, then its predecessors still valid."""

    signer: KeyPair
    bundle: bytes


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM bundle in order. Raises ValueError when there is none or one is broken."""
    found = x509.load_pem_x509_certificates(pem)
    if not found:
        raise ValueError("no certificate in the PEM data")
    return found


def days_left(pem: bytes, now: datetime) -> float:
    """Days until the first certificate of the PEM data expires, negative when it has. Raises ValueError."""
    return (load_certificates(pem)[0].not_valid_after_utc - now) / timedelta(days=1)


def renewal_time(certificate: x509.Certificate) -> datetime:
    """Two thirds of the way through the certificate's life."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def new_ca(now: datetime, lifetime: timedelta) -> KeyPair:
    """A self-signed P-256 CA that may sign leaves only; its name holds its serial, so that no two CAs share one."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mlprivacy CA {serial:040x}"[:53])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def new_leaf(ca: KeyPair, spec: LeafSpec, now: datetime, lifetime: timedelta) -> KeyPair:
    """A P-256 leaf signed by `ca`, never outliving it. Raises ValueError for a broken CA or a spec without a use."""
    if not (spec.server or spec.client):
        raise ValueError(f"the leaf {spec.common_name!r} is for neither server nor client")
    if spec.server and not (spec.dns_names or spec.ip_addresses):
        raise ValueError(f"the server leaf {spec.common_name!r} needs a DNS name or an address; its CN is ignored")
    issuer = load_certificates(ca.certificate)[0]
    issuer_key = _load_key(ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] * spec.server + [ExtendedKeyUsageOID.CLIENT_AUTH] * spec.client
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spec.common_name[:64])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, issuer.not_valid_before_utc))
        .not_valid_after(min(now + lifetime, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
    )
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in spec.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in spec.ip_addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def maintain_authority(
    certificate: bytes, key: bytes, bundle: bytes, now: datetime, lifetimes: Lifetimes
) -> tuple[Authority, str | None]:
    """The CA to use from now on, and why it differs from the stored one (None when nothing is to be written).

    A CA that is missing or broken is made anew; at two thirds of its life a new one takes over and the old one stays
    in the bundle until it expires.
    """
    reason = _ca_problem(certificate, key, now)
    if reason is None:
        signer = KeyPair(certificate, key)
        wanted = _bundle(certificate, bundle, now)
        if wanted == bundle:
            return Authority(signer, bundle), None
        return Authority(signer, wanted), "its bundle was incomplete or held expired certificates"
    signer = new_ca(now, lifetimes.ca)
    kept = b"".join(part for part in (certificate, bundle) if part)
    return Authority(signer, _bundle(signer.certificate, kept, now)), reason


def leaf_problem(
    pair: KeyPair, spec: LeafSpec, authority: Authority, now: datetime, lifetimes: Lifetimes
) -> str | None:
    """Why this leaf must be signed again now, as a phrase; None while it is good."""
    if not pair.certificate or not pair.key:
        return "there is none yet"
    try:
        leaf = load_certificates(pair.certificate)[0]
        private = _load_key(pair.key)
        trusted = load_certificates(authority.bundle)
        san, usages = _names(leaf), _usages(leaf)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        return f"it can not be read ({error})"
    issuer = next((ca for ca in trusted if _signed_by(leaf, ca)), None)
    checks = (
        (leaf.public_key() != private.public_key(), "its key does not belong to it"),
        (leaf.not_valid_before_utc > now, "it is not valid yet"),
        (leaf.not_valid_after_utc <= now, "it has expired"),
        (renewal_time(leaf) <= now, "two thirds of its life are over"),
        (san != _wanted_names(spec), "the names wanted have changed"),
        (leaf.subject.rfc4514_string() != f"CN={_escaped(spec.common_name[:64])}", "the common name has changed"),
        (usages != (spec.server, spec.client), "its use has changed"),
        (issuer is None, "no certificate authority in the bundle has signed it"),
    )
    for failed, text in checks:
        if failed:
            return text
    signer = trusted[0]
    if issuer != signer and now >= signer.not_valid_before_utc + BACKDATE + lifetimes.overlap:
        return "the certificate authority was rotated"
    return None


def new_seal_key() -> tuple[bytes, bytes]:
    """A new Ed25519 key pair: (private, public), each the base64 text of its 32 raw bytes."""
    return _seal_texts(ed25519.Ed25519PrivateKey.generate())


def seal_public_key(private: bytes) -> bytes:
    """The public half (base64 text) of a private seal key (base64 text). Raises ValueError with what is wrong."""
    return _seal_texts(load_seal_key(private))[1]


def load_seal_key(private: bytes) -> ed25519.Ed25519PrivateKey:
    """The private seal key from its base64 text. Raises ValueError with what is wrong."""
    try:
        raw = base64.b64decode(private.strip(), validate=True)
        return ed25519.Ed25519PrivateKey.from_private_bytes(raw)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the seal key is not the base64 text of 32 bytes") from error


def _seal_texts(key: ed25519.Ed25519PrivateKey) -> tuple[bytes, bytes]:
    return base64.b64encode(key.private_bytes_raw()), base64.b64encode(key.public_key().public_bytes_raw())


def _ca_problem(certificate: bytes, key: bytes, now: datetime) -> str | None:
    if not certificate or not key:
        return "there is none yet"
    try:
        ca = load_certificates(certificate)[0]
        private = _load_key(key)
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        return f"it can not be read ({error})"
    checks = (
        (not constraints.ca, "it is no certificate authority"),
        (ca.public_key() != private.public_key(), "its key does not belong to it"),
        (ca.not_valid_before_utc > now, "it is not valid yet"),
        (ca.not_valid_after_utc <= now, "it has expired"),
        (renewal_time(ca) <= now, "two thirds of its life are over"),
    )
    return next((text for failed, text in checks if failed), None)


def _bundle(signer: bytes, older: bytes, now: datetime) -> bytes:
    """The signer, then distinct older CAs that are still valid, newest first as they were stored."""
    kept = list(load_certificates(signer)[:1])
    for certificate in _readable(older):
        if certificate not in kept and certificate.not_valid_after_utc > now and len(kept) < MAX_BUNDLE:
            kept.append(certificate)
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in kept)


def _readable(pem: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem) if pem else ()
    except ValueError:
        return ()


def _signed_by(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(leaf: x509.Certificate) -> frozenset[str]:
    try:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset([*san.get_values_for_type(x509.DNSName), *map(str, san.get_values_for_type(x509.IPAddress))])


def _wanted_names(spec: LeafSpec) -> frozenset[str]:
    return frozenset([*spec.dns_names, *(str(ipaddress.ip_address(a)) for a in spec.ip_addresses)])


def _usages(leaf: x509.Certificate) -> tuple[bool, bool]:
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return (ExtendedKeyUsageOID.SERVER_AUTH in usages, ExtendedKeyUsageOID.CLIENT_AUTH in usages)


def _escaped(common_name: str) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return name.rfc4514_string().removeprefix("CN=")


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"expected an ECDSA key, found {type(key).__name__}")  # noqa: TRY004 - data, not a type
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def utcnow() -> datetime:
    """The wall clock that shells inject where nothing else is given."""
    return datetime.now(UTC)
