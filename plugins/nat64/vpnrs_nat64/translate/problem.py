"""Why a packet is not translated: the reason to count, and the ICMP error to answer with, if the RFCs want one."""

from __future__ import annotations

from typing import Final, NamedTuple


class Error(NamedTuple):
    """An ICMP or ICMPv6 error of the untranslated packet's own family, to be sent back to its source.

    `rest` is the second 32-bit word of the message: the MTU, the pointer (ICMP: in the top byte), or 0."""

    type: int
    code: int
    rest: int = 0


class Problem(NamedTuple):
    """`reason` is one of REASONS; `error` None: drop silently."""

    reason: str
    error: Error | None = None


REASONS: Final[dict[str, str]] = {
    "malformed": "headers that disagree with each other or with the packet's length",
    "ipv4_checksum": "a wrong IPv4 header checksum",
    "hop_limit": "TTL or hop limit ran out",
    "source_route": "an IPv4 source route that has not ended, or an IPv6 routing header with segments left",
    "extension_after_fragment": "an extension header behind a fragment header",
    "too_big": "larger than the other side's MTU, and not to be fragmented",
    "too_long": "would be longer than 65,535 bytes",
    "protocol": "a transport protocol that cannot be translated here",
    "icmp_type": "an ICMP message that has no counterpart in the other family",
    "icmp_checksum": "an ICMP error with a wrong checksum",
    "icmp_inner": "an ICMP error whose embedded packet cannot be translated",
    "udp_checksum": "UDP without checksum where IPv6 needs one",
    "address": "an address that must not be translated",
    "fragment": "a fragment that cannot be translated by itself",
    "fragment_duplicate": "a fragment that was there already",
    "fragment_overlap": "fragments that overlap or contradict each other",
    "fragment_timeout": "fragments whose others did not come",
    "fragment_limit": "no room for more fragments",
}

MALFORMED: Final = Problem("malformed")

V4_UNREACHABLE, V4_TIME_EXCEEDED, V4_PARAMETER = 3, 11, 12
V6_UNREACHABLE, V6_TOO_BIG, V6_TIME_EXCEEDED, V6_PARAMETER = 1, 2, 3, 4


def hop_limit(version: int) -> Problem:
    """The TTL or hop limit of a packet of this IP version ran out (RFC 7915 §4.1, §5.1)."""
    return Problem("hop_limit", Error(V4_TIME_EXCEEDED if version == 4 else V6_TIME_EXCEEDED, 0))


def too_big(version: int, mtu: int) -> Problem:
    """A packet of this IP version must not exceed `mtu` bytes, counted in its own family."""
    error = Error(V4_UNREACHABLE, 4, min(mtu, 0xFFFF)) if version == 4 else Error(V6_TOO_BIG, 0, mtu)
    return Problem("too_big", error)


def other_protocol(version: int) -> Problem:
    """A transport protocol that stateful NAT64 does not know (RFC 6146 §3.5): what its sender is told."""
    return Problem("protocol", Error(V4_UNREACHABLE, 2) if version == 4 else Error(V6_UNREACHABLE, 4))


def prohibited(version: int, reason: str) -> Problem:
    """Administratively prohibited: ICMP 3/13, ICMPv6 1/1. `reason` is the caller's own."""
    return Problem(reason, Error(V4_UNREACHABLE, 13) if version == 4 else Error(V6_UNREACHABLE, 1))


def unreachable(version: int, reason: str, *, port: bool = False) -> Problem:
    """Address or, with `port`, port unreachable: ICMP 3/1 or 3/3, ICMPv6 1/3 or 1/4. `reason` is the caller's own."""
    if version == 4:
        return Problem(reason, Error(V4_UNREACHABLE, 3 if port else 1))
    return Problem(reason, Error(V6_UNREACHABLE, 4 if port else 3))


def reassembly_timeout(version: int) -> Problem:
    """Fragments whose others did not come, the first one among them (RFC 792, RFC 4443 §3.3)."""
    return Problem("fragment_timeout", Error(V4_TIME_EXCEEDED if version == 4 else V6_TIME_EXCEEDED, 1))
