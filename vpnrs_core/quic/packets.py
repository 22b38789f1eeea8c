"""QUIC packets that need no connection: the invariant header (RFC 8999), Version Negotiation and Retry. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import SocketAddress

VERSION_1 = 1
ID_LENGTH = 8
# A client pads the datagrams of its first flight to this size (RFC 9000 section 14.1).
SMALLEST_INITIAL = 1200
_INITIAL = 0x00
_RETRY = 0xF0

# RFC 9001 section 5.8
_RETRY_KEY = AESGCM(bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"))
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")
_NONCE_LENGTH = 12
TOKEN_LIFETIME = 30.0


@dataclass(frozen=True, slots=True)
class LongHeader:
    """The start of a long-header packet; `token` is that of an Initial of version 1."""

    version: int
    destination: bytes
    source: bytes
    is_initial: bool
    token: bytes


def parse_long(data: bytes) -> LongHeader | None:
    """None for what is not a well-formed long header."""
    if len(data) < 7 or not data[0] & 0x80:
        return None
    version = int.from_bytes(data[1:5], "big")
    at = 6 + data[5]
    destination = data[6:at]
    if at >= len(data):
        return None
    end = at + 1 + data[at]
    source = data[at + 1 : end]
    if end > len(data):
        return None
    is_initial = version == VERSION_1 and data[0] & 0x30 == _INITIAL
    if version == VERSION_1 and (len(destination) > 20 or len(source) > 20):
        return None
    token: bytes | None = b""
    if is_initial:
        token = _varint_bytes(data, end)
        if token is None:
            return None
    return LongHeader(version, destination, source, is_initial, token or b"")


def _varint_bytes(data: bytes, at: int) -> bytes | None:
    """Bytes that a varint length (RFC 9000 section 16) precedes."""
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    start = at + size
    if start > len(data):
        return None
    length = int.from_bytes(data[at:start], "big") & ((1 << (8 * size - 2)) - 1)
    return data[start : start + length] if start + length <= len(data) else None


def version_negotiation(header: LongHeader, random: Callable[[int], bytes]) -> bytes:
    """RFC 9000 section 17.2.1: what a server answers to a version that it does not speak."""
    # A version of the form 0x?a?a?a?a is reserved to make clients ignore what they do not know (section 15).
    reserved = bytes(b & 0xF0 | 0x0A for b in random(4))
    return (
        bytes([0x80 | random(1)[0] & 0x7F, 0, 0, 0, 0])
        + _opaque(header.source)
        + _opaque(header.destination)
        + VERSION_1.to_bytes(4, "big")
        + reserved
    )


class RetryTokens:
    """Makes and checks Retry tokens: sealed, bound to the client's address and to both connection ids."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._seal = AESGCM(random(16))

    def packet(self, header: LongHeader, address: SocketAddress, now: Seconds) -> bytes:
        """RFC 9000 section 17.2.5: asks the client to come back with a token."""
        source = self._random(ID_LENGTH)
        packet = (
            bytes([_RETRY])
            + header.version.to_bytes(4, "big")
            + _opaque(header.source)
            + _opaque(source)
            + self._token(address, header.destination, source, now)
        )
        return packet + _RETRY_KEY.encrypt(_RETRY_NONCE, b"", _opaque(header.destination) + packet)

    def _token(self, address: SocketAddress, original: bytes, source: bytes, now: Seconds) -> bytes:
        nonce = self._random(_NONCE_LENGTH)
        issued = int(now * 1000).to_bytes(8, "big", signed=True)
        return nonce + self._seal.encrypt(nonce, issued + _opaque(original), _bound_to(address, source))

    def open(self, header: LongHeader, address: SocketAddress, now: Seconds) -> bytes | None:
        """The original destination id that the token of an Initial vouches for; None: it is not ours, from another
        address, for another connection, or too old."""
        token = header.token
        try:
            plain = self._seal.decrypt(
                token[:_NONCE_LENGTH], token[_NONCE_LENGTH:], _bound_to(address, header.destination)
            )
        except (InvalidTag, ValueError):
            return None
        issued = int.from_bytes(plain[:8], "big", signed=True) / 1000
        return plain[9:] if now - issued <= TOKEN_LIFETIME else None


def _bound_to(address: SocketAddress, destination: bytes) -> bytes:
    return packed(address[0]) + address[1].to_bytes(2, "big") + destination


def packed(host: str) -> bytes:
    """An address as bytes, without its zone. A tenth of the cost of `ip_address`, which is paid for each stranger."""
    return inet_pton(AF_INET6 if ":" in host else AF_INET, host.partition("%")[0])


def _opaque(value: bytes) -> bytes:
    return bytes([len(value)]) + value
