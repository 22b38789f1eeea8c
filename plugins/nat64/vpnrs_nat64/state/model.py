"""What the state is made of: clients, their bindings (BIB entries), and the bindings' sessions (RFC 6146 section 3.1).

Slots and lists through the objects themselves: there may be a hundred thousand of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from vpnrs_nat64.state.tcp import State
from vpnrs_nat64.state.wheel import NO_SLOT

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


class Client:
    """An owner (a vpnrs session) and all that it has. `source` is the IPv4 address its bindings share (RFC 4787
    REQ-2, address pooling "paired"), packed."""

    __slots__ = ("bindings", "mtu", "open", "owner", "sessions", "source")

    def __init__(self, owner: object, source: bytes, mtu: int) -> None:
        """`mtu` is the owner's, in bytes; it is 0 once the client is gone, so that nothing fits any more."""
        self.owner = owner
        self.source = source
        self.mtu = mtu
        self.bindings: dict[Binding, None] = {}
        self.sessions = 0
        self.open = True


# The client of a static binding whose own is not there.
NOBODY = Client(None, bytes(4), 0)
NOBODY.open = False


class Binding:
    """(v6 address, port or id) ↔ (v4 address, port or id) of one protocol. `first` begins the list of its sessions."""

    __slots__ = ("client", "first", "inner", "outer", "protocol", "static")

    def __init__(self, protocol: int, inner: bytes, outer: bytes, client: Client, static: bool = False) -> None:
        """`inner` is 16 bytes of address and 2 of port, `outer` 4 and 2: the keys of the tables."""
        self.protocol = protocol
        self.inner = inner
        self.outer = outer
        self.client = client
        self.static = static
        self.first: Session | None = None

    @property
    def inner_address(self) -> bytes:
        return self.inner[:16]

    @property
    def inner_port(self) -> int:
        return self.inner[16] << 8 | self.inner[17]

    @property
    def outer_address(self) -> bytes:
        return self.outer[:4]

    @property
    def outer_port(self) -> int:
        return self.outer[4] << 8 | self.outer[5]

    def sessions(self) -> Iterator[Session]:
        session = self.first
        while session is not None:
            following = session.following  # the caller may remove it
            yield session
            session = following


class Session:
    """One remote endpoint of a binding (a session table entry). `remote` is 4 bytes of address and 2 of port.

    `deadline` is monotonic seconds. `to_v4` and `to_v6` are the translator's own, for the fast path; None: not
    prepared, or not to be used in this state."""

    __slots__ = (
        "binding", "deadline", "following", "from_outside", "preceding", "remote", "slot", "state", "to_v4", "to_v6",
    )  # fmt: skip

    def __init__(self, binding: Binding, remote: bytes, from_outside: bool = False) -> None:
        self.binding = binding
        self.remote = remote
        self.from_outside = from_outside
        self.state = State.CLOSED
        self.deadline = 0.0
        self.slot = NO_SLOT
        self.preceding: Session | None = None
        self.following: Session | None = None
        self.to_v4: Any = None
        self.to_v6: Any = None

    @property
    def client(self) -> Client:
        return self.binding.client

    @property
    def remote_address(self) -> bytes:
        return self.remote[:4]

    @property
    def remote_port(self) -> int:
        return self.remote[4] << 8 | self.remote[5]

    @property
    def key4(self) -> bytes:
        """Remote address, own address, remote port, own port: as an IPv4 packet that arrives for it has them."""
        remote, outer = self.remote, self.binding.outer
        return remote[:4] + outer[:4] + remote[4:] + outer[4:]

    def link(self) -> None:
        """Into the binding's list."""
        self.following = self.binding.first
        if self.following is not None:
            self.following.preceding = self
        self.binding.first = self

    def unlink(self) -> None:
        if self.preceding is not None:
            self.preceding.following = self.following
        else:
            self.binding.first = self.following
        if self.following is not None:
            self.following.preceding = self.preceding
        self.preceding = self.following = None


def endpoint(address: bytes, port: int) -> bytes:
    """An address and a port as the tables' keys have them."""
    return address + port.to_bytes(2, "big")
