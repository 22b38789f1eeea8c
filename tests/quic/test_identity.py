"""Certificates, keys and pins."""

import base64
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import ConfigError
from vpnrs_core.quic.identity import load_key_pair, make_certificate, parse_pin, pin_of

PAIR = make_certificate("vpn.example")


def write(directory, certificate=PAIR.certificate, key=PAIR.key):
    paths = directory / "certificate.pem", directory / "key.pem"
    for path, content in zip(paths, (certificate, key), strict=True):
        path.write_bytes(content)
    return paths


def test_a_made_pair_loads_and_its_pin_is_the_hash_of_its_key(tmp_path):
    loaded = load_key_pair(*write(tmp_path))
    assert loaded.spki == PAIR.spki
    assert pin_of(PAIR.certificate) == "sha256:" + hashlib.sha256(PAIR.spki).hexdigest()
    assert pin_of(ssl.PEM_cert_to_DER_cert(PAIR.certificate.decode())) == pin_of(PAIR.certificate)


def test_names_and_addresses_become_alternative_names():
    for name, kind in (("vpn.example", x509.DNSName), ("2001:db8::1", x509.IPAddress)):
        certificate = x509.load_pem_x509_certificate(make_certificate(name).certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(value) for value in names.get_values_for_type(kind)] == [name]


@given(st.binary(min_size=32, max_size=32))
def test_pins_are_hex_or_base64(digest):
    assert parse_pin("sha256:" + digest.hex()) == digest
    assert parse_pin(" SHA256:" + base64.b64encode(digest).decode()) == digest
    assert parse_pin("sha256:" + base64.b64encode(digest).decode().rstrip("=")) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "md5:" + "0" * 64, "0" * 64, "sha256:" + "0" * 63, "sha256:" + "g" * 64]
)
def test_what_is_no_pin_is_said_to_be_none(text):
    with pytest.raises(ConfigError, match="server_pin"):
        parse_pin(text)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not belong"):
        load_key_pair(*write(tmp_path, key=make_certificate("other").key))


@pytest.mark.parametrize(("part", "content"), [("certificate", b"rubbish"), ("key", b"rubbish"), ("certificate", b"")])
def test_rubbish_is_named(tmp_path, part, content):
    with pytest.raises(ConfigError, match=rf"{part} .*{part}\.pem"):
        load_key_pair(*write(tmp_path, **{part: content}))


def test_an_encrypted_key_is_named(tmp_path):
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(ConfigError, match="encrypted"):
        load_key_pair(*write(tmp_path, key=pem))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="does not belong"):
        load_key_pair(*write(tmp_path, key=plain))


def test_missing_files_and_settings_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.pem cannot be read"):
        load_key_pair(tmp_path / "nowhere.pem", tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="key is missing"):
        load_key_pair(tmp_path / "certificate.pem", None)


@pytest.mark.parametrize("part", ["certificate", "key"])
def test_a_file_that_has_no_end_is_refused(tmp_path, part):
    files = dict(zip(("certificate", "key"), write(tmp_path), strict=True))
    files[part] = Path("/dev/zero")
    with pytest.raises(ConfigError, match=f"{part} /dev/zero is longer than 4 MiB"):
        load_key_pair(**files)
