"""Clients, protocols, and why the state refuses a packet."""

from __future__ import annotations

from enum import Enum

# IP protocol numbers. ICMP is both families' echo: its ids stand where the others have ports.
ICMP, TCP, UDP = 1, 6, 17
PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}


class Refusal(Enum):
    """Why a packet gets no session. The value is the drop reason."""

    NO_BINDING = "no_binding"
    NO_SESSION = "no_session"
    FILTERED = "filtered"
    NO_PORT = "no_port"
    BINDING_LIMIT = "binding_limit"
    SESSION_LIMIT = "session_limit"


class Lease:
    """What was prepared for a client's packets holds while it is `open`; the client gets another one when its MTU
    changes. So an end of thousands of prepared sessions is one step."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


class Client:
    """An owner (a vpnrs session) and all that it has. `source` is the IPv4 address its bindings share (RFC 4787
    REQ-2, address pooling "paired"), packed. `number` is what records know it by."""

    __slots__ = ("bindings", "lease", "mtu", "number", "open", "owner", "sessions", "source")

    def __init__(self, owner: object, number: int, source: bytes, mtu: int) -> None:
        """`mtu` is the owner's, in bytes."""
        self.owner = owner
        self.number = number
        self.source = source
        self.mtu = mtu
        self.bindings: dict[bytes, None] = {}  # their keys
        self.sessions = 0
        self.open = True
        self.lease = Lease()

    def close(self) -> None:
        """It sends and receives nothing any more."""
        self.open = self.lease.open = False

    def set_mtu(self, mtu: int) -> None:
        self.mtu = mtu
        self.lease.open = False
        self.lease = Lease()


# Whose a static binding is while its client is not there.
NOBODY = Client(None, 0, bytes(4), 0)
NOBODY.close()
