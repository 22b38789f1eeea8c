"""Bindings (BIB entries) and sessions (session table entries, RFC 6146 section 3.1) as packed records.

There may be a hundred thousand of each. As objects of classes they would be walked by every full run of Python's
garbage collector, which then stops the server for longer than a packet may wait; plain byte arrays, and dicts of them,
are none of its business. So the tables hold byte arrays, `raw`, which refer to others by number or key; `Binding` and
`Session` are passing views of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from vpnrs_nat64.state.tcp import State
from vpnrs_nat64.state.wheel import NO_SLOT

_STATES = tuple(State)
_NUMBERS = {state: number for number, state in enumerate(_STATES)}
# Deadline, slot, client; protocol, state, flags; inner, outer and remote endpoint.
_SESSION = Struct("=diIBBBx18s6s6s")
_DEADLINE, _SLOT = Struct("=d"), Struct("=i")
_STATE_AT, FLAGS_AT = 17, 18
_OUTSIDE = 1
# Set while a packet that changes nothing but the deadline may pass without asking the state (see `touch`).
READY = 2
# Client; protocol, whether it is static; inner and outer endpoint; then the remotes of its sessions, 6 bytes each.
_BINDING = Struct("=IBB18s6s")
_CLIENT = Struct("=I")
_REMOTE = 6

# (raw, 0, deadline): what the fast path does to a session that is READY.
touch = _DEADLINE.pack_into


class _Record:
    """A view. Two are equal when they show the same record."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytearray) -> None:
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Record) and self.raw is other.raw

    def __hash__(self) -> int:
        return id(self.raw)


class Binding(_Record):
    """(v6 address, port or id) ↔ (v4 address, port or id) of one protocol. `inner` is 16 bytes of address and 2 of
    port, `outer` 4 and 2: the keys of the tables. `client` is its client's number."""

    __slots__ = ()

    @classmethod
    def of(cls, protocol: int, inner: bytes, outer: bytes, client: int, static: bool = False) -> Binding:
        return cls(bytearray(_BINDING.pack(client, protocol, static, inner, outer)))

    @property
    def client(self) -> int:
        number: int = _CLIENT.unpack_from(self.raw)[0]
        return number

    @client.setter
    def client(self, number: int) -> None:
        _CLIENT.pack_into(self.raw, 0, number)

    @property
    def protocol(self) -> int:
        return self.raw[4]

    @property
    def static(self) -> bool:
        return bool(self.raw[5])

    @property
    def key(self) -> bytes:
        """Protocol and outer endpoint: no other binding has the same."""
        return bytes(self.raw[4:5] + self.raw[24:30])

    @property
    def inner(self) -> bytes:
        return bytes(self.raw[6:24])

    @property
    def outer(self) -> bytes:
        return bytes(self.raw[24:30])

    @property
    def sessions(self) -> int:
        return sessions_in(self.raw)

    def remotes(self, skip: int = 0) -> Iterator[bytes]:
        """Newest first, without `skip` of them; the one that was given last may be removed meanwhile."""
        for at in range(len(self.raw) - _REMOTE * (skip + 1), _BINDING.size - 1, -_REMOTE):
            yield bytes(self.raw[at : at + _REMOTE])

    def gain(self, remote: bytes) -> None:
        self.raw += remote

    def lose(self, remote: bytes) -> None:
        at = self.raw.rfind(remote)
        while (at - _BINDING.size) % _REMOTE:
            at = self.raw.rfind(remote, 0, at + _REMOTE - 1)
        del self.raw[at : at + _REMOTE]


class Session(_Record):
    """One remote endpoint of a binding. `remote` is 4 bytes of address and 2 of port; `deadline` is monotonic seconds,
    `slot` the timer wheel's own, `client` the number of the binding's."""

    __slots__ = ()

    @classmethod
    def of(cls, binding: Binding, remote: bytes, from_outside: bool = False) -> Session:
        """In no table yet, and CLOSED."""
        flags = _OUTSIDE if from_outside else 0
        head = (0.0, NO_SLOT, binding.client, binding.protocol, _NUMBERS[State.CLOSED], flags)
        return cls(bytearray(_SESSION.pack(*head, binding.inner, binding.outer, remote)))

    @property
    def deadline(self) -> float:
        time: float = _DEADLINE.unpack_from(self.raw)[0]
        return time

    @deadline.setter
    def deadline(self, time: float) -> None:
        _DEADLINE.pack_into(self.raw, 0, time)

    @property
    def slot(self) -> int:
        number: int = _SLOT.unpack_from(self.raw, 8)[0]
        return number

    @slot.setter
    def slot(self, number: int) -> None:
        _SLOT.pack_into(self.raw, 8, number)

    @property
    def client(self) -> int:
        number: int = _CLIENT.unpack_from(self.raw, 12)[0]
        return number

    @property
    def protocol(self) -> int:
        return self.raw[16]

    @property
    def state(self) -> State:
        return _STATES[self.raw[_STATE_AT]]

    @state.setter
    def state(self, state: State) -> None:
        self.raw[_STATE_AT] = _NUMBERS[state]

    @property
    def from_outside(self) -> bool:
        return bool(self.raw[FLAGS_AT] & _OUTSIDE)

    @property
    def ready(self) -> bool:
        return bool(self.raw[FLAGS_AT] & READY)

    @ready.setter
    def ready(self, value: bool) -> None:
        self.raw[FLAGS_AT] = self.raw[FLAGS_AT] & ~READY | (READY if value else 0)

    @property
    def inner(self) -> bytes:
        return bytes(self.raw[20:38])

    @property
    def outer(self) -> bytes:
        return bytes(self.raw[38:44])

    @property
    def remote(self) -> bytes:
        return bytes(self.raw[44:50])

    @property
    def key4(self) -> bytes:
        """Remote address, own address, remote port, own port: as an IPv4 packet that arrives for it has them."""
        return bytes(self.raw[44:48] + self.raw[38:42] + self.raw[48:50] + self.raw[42:44])


def sessions_in(binding: bytearray) -> int:
    """How many sessions a binding has, by its `raw`."""
    return (len(binding) - _BINDING.size) // _REMOTE


def endpoint(address: bytes, port: int) -> bytes:
    """An address and a port as the tables' keys have them."""
    return address + port.to_bytes(2, "big")


def address_of(end: Any) -> bytes:
    """The address of an endpoint of either family."""
    return bytes(end[:-2])


def port_of(end: bytes) -> int:
    """The port or echo id of an endpoint."""
    return end[-2] << 8 | end[-1]
