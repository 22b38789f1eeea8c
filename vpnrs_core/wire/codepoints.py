"""Every number of the wire format: capsule types, size limits, close codes and the refusals' generic texts."""

from __future__ import annotations

from enum import IntEnum

from vpnrs_core.interfaces.common import Code

ALPN = "vpnrs/1"
VERSION = 1

# Streams by QUIC's ids: the client's first and second bidirectional stream.
CONTROL_STREAM = 0
LANE_STREAM = 4

MAX_CONTROL_VALUE = 16 * 1024
# A whole super-packet: context id, index, vnet header and 65,535 bytes of IP fit.
MAX_LANE_VALUE = 65_600


# The context id of probes of the path MTU.
PROBE_CONTEXT = 0x5650


class CapsuleType(IntEnum):
    """The first four are RFC 9297's and RFC 9484's; ours begin at 0x5650 and keep clear of 0x29 * N + 0x17."""

    DATAGRAM = 0x00
    ADDRESS_ASSIGN = 0x01
    ADDRESS_REQUEST = 0x02
    ROUTE_ADVERTISEMENT = 0x03
    HELLO = 0x5650
    CHALLENGE = 0x5651
    AUTH = 0x5652
    WELCOME = 0x5653
    REJECT = 0x5654
    PING = 0x5655
    PONG = 0x5656
    UPDATE = 0x5657
    CLOSE = 0x5658
    EXT = 0x5659


# RFC 9297 reserves 0x29 * N + 0x17 to mean nothing. The client opens a stream lane with an empty one, because a stream
# does not exist for the server before something has come on it.
NOTHING = 0x17

CONTROL_LIMITS = {kind.value: MAX_CONTROL_VALUE for kind in CapsuleType if kind is not CapsuleType.DATAGRAM}
LANE_LIMITS = {CapsuleType.DATAGRAM.value: MAX_LANE_VALUE}

# Application error codes of the connection. They repeat a refusal, for a peer that the REJECT or CLOSE did not reach.
CLOSE_NORMAL = 0
CLOSE_DEAD = 0x5700
CLOSE_CODES = {
    Code.AUTH_FAILED: 0x5701,
    Code.AUTH_REQUIRED: 0x5702,
    Code.VERSION: 0x5703,
    Code.POLICY: 0x5704,
    Code.SUPERSEDED: 0x5705,
    Code.BLOCKED: 0x5706,
    Code.SERVER_FULL: 0x5707,
    Code.POOL_EXHAUSTED: 0x5708,
    Code.SHUTTING_DOWN: 0x5709,
    Code.PROTOCOL: 0x570A,
    Code.INTERNAL: 0x570B,
}
CODES_BY_CLOSE = {number: code for code, number in CLOSE_CODES.items()}

# What the peer is told. The specific reason stays in the server's log.
GENERIC_TEXT = {
    Code.AUTH_FAILED: "the credential was not accepted",
    Code.AUTH_REQUIRED: "the server does not accept this authentication method",
    Code.VERSION: f"this server speaks {ALPN}, version {VERSION}",
    Code.POLICY: "the server's policy does not allow this session",
    Code.SUPERSEDED: "a newer connection has taken over this session",
    Code.BLOCKED: "too many attempts; try again later",
    Code.SERVER_FULL: "the server has no room for another session",
    Code.POOL_EXHAUSTED: "the server has no address left",
    Code.SHUTTING_DOWN: "the server is shutting down",
    Code.PROTOCOL: "the peer broke the protocol",
    Code.INTERNAL: "the server could not complete the request",
}
