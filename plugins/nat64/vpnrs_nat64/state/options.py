"""What the state is told by the configuration: addresses, ranges, lifetimes, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# RFC 6146 section 4, in seconds. UDP_MIN is what a configuration may go down to by the RFC.
UDP_DEFAULT, UDP_MIN = 300.0, 120.0
TCP_EST, TCP_TRANS, TCP_INCOMING_SYN = 7200.0, 240.0, 6.0
ICMP_DEFAULT = 60.0
FRAGMENT_MIN = 2.0


@dataclass(frozen=True)
class StaticBinding:
    """`inner` is 16 bytes of address and 2 of port, `outer` 4 and 2; `protocol` as in `model`."""

    protocol: int
    inner: bytes
    outer: bytes


@dataclass(frozen=True)
class Options:
    """`sources` are packed IPv4 addresses; `ports` the lowest and highest port given to clients (echo ids are not
    bound by it). Lifetimes in seconds. `address_dependent`: only who was sent to may answer (RFC 4787 REQ-8).
    `inbound_refresh`: packets from outside prolong UDP and ICMP sessions (RFC 4787 REQ-6)."""

    sources: Sequence[bytes]
    ports: tuple[int, int] = (1, 65535)
    udp: float = UDP_DEFAULT
    tcp_established: float = TCP_EST
    tcp_transitory: float = TCP_TRANS
    tcp_incoming_syn: float = TCP_INCOMING_SYN
    icmp: float = ICMP_DEFAULT
    address_dependent: bool = False
    inbound_refresh: bool = True
    max_bindings: int = 100_000
    max_sessions: int = 200_000
    client_bindings: int = 4096
    client_sessions: int = 8192
    stored_syns: int = 1024
    static: Sequence[StaticBinding] = ()
