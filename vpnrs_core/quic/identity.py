"""Server identity: certificates and keys, and the pin by which a client recognises them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from vpnrs_core.errors import ConfigError

_YEARS = 20
# What the library raises beside ValueError for bytes that it does not take.
_UNREADABLE = (UnsupportedAlgorithm, x509.InvalidVersion)
# Of a PEM file: more than all public CAs with their descriptions. A device or a pipe may have no end.
MAX_BYTES = 4 << 20


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A server's certificate chain and private key, PEM; `spki` is the DER of its public key."""

    certificate: bytes
    key: bytes
    spki: bytes


def make_certificate(name: str, *, now: datetime | None = None) -> KeyPair:
    """A self-signed P-256 certificate for `name` (a host name or an address), valid for twenty years from `now`."""
    start = (now or datetime.now(UTC)).replace(microsecond=0)
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        alternative: x509.GeneralName = x509.IPAddress(ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))  # clocks differ
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        spki=_spki(certificate),
    )


def spki_of(certificate: bytes) -> bytes:
    """DER of the public key in a certificate (PEM, the first one, or DER). Raises ValueError."""
    if b"-----BEGIN" in certificate:
        return _spki(x509.load_pem_x509_certificate(certificate))
    return _spki(x509.load_der_x509_certificate(certificate))


def pin_of_spki(spki: bytes) -> str:
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def pin_of(certificate: bytes) -> str:
    """ "sha256:<hex>" of the public key in a certificate (PEM or DER): what a client's `server_pin` holds."""
    return pin_of_spki(spki_of(certificate))


def parse_pin(text: str) -> bytes:
    """The 32 bytes that "sha256:<hex or base64>" names. Raises ConfigError."""
    method, separator, value = text.strip().partition(":")
    digest = b""
    if separator and method.lower() == "sha256":
        try:
            # 64 hex digits are valid base64 too, of 48 bytes: the length tells them apart.
            if len(value) == 64:
                digest = bytes.fromhex(value)
            else:
                digest = base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
        except (ValueError, binascii.Error):
            digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ConfigError(
            f'server_pin {text!r} is not a pin. It is "sha256:" and 64 hex digits (or base64) of the SHA-256 of the '
            "server's public key, as `vpnrs init` prints it."
        )
    return digest


def load_key_pair(certificate: Path | None, key: Path | None) -> KeyPair:
    """Read and check a server's files. Raises ConfigError naming the file that is wrong."""
    if certificate is None or key is None:
        missing = "certificate" if certificate is None else "key"
        raise ConfigError(f"[quic] {missing} is missing: a server needs both. `vpnrs init DIR` makes a pair.")
    certificate_pem = read_pem(certificate, "[quic] certificate")
    key_pem = read_pem(key, "[quic] key")
    try:
        spki = _spki(x509.load_pem_x509_certificates(certificate_pem)[0])
    except (ValueError, IndexError, *_UNREADABLE) as error:
        raise ConfigError(f"[quic] certificate {certificate} is not a PEM certificate: {_told(error)}") from None
    try:
        private = load_pem_private_key(key_pem, password=None)
    except TypeError:
        raise ConfigError(f"[quic] key {key} is encrypted. Store it without a passphrase, mode 0600.") from None
    except (ValueError, *_UNREADABLE) as error:
        raise ConfigError(f"[quic] key {key} is not a PEM private key: {_told(error)}") from None
    if private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise ConfigError(f"[quic] key {key} does not belong to certificate {certificate}. Name the pair's own key.")
    return KeyPair(certificate_pem, key_pem, spki)


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _told(error: Exception) -> str:
    """One line."""
    return " ".join(str(error).split())[:200]


def read_pem(path: Path, what: str) -> bytes:
    """A file of certificates or a key; `what` names its setting. Raises ConfigError, also when it is too long."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}.") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{what} {path} is longer than {MAX_BYTES >> 20} MiB, which no PEM file is; check the path.")
    return raw
