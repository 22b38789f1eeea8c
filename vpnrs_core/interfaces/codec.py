"""Codecs: how packets become payloads for a link, and back. Pure and synchronous, one object per link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.packet.packet import Packet


class CodecOut(Protocol):
    """What a wrapper may ask for."""

    def send(self, datagram: bytes) -> None:
        """Towards the peer, through the wrappers outside of this one."""

    def deliver(self, datagram: bytes) -> None:
        """As if `unwrap` had returned it: a datagram that is whole only now."""

    def message(self, body: bytes) -> None:
        """Reliably, on the control stream, to the same wrapper of the peer. At most 8 KiB."""

    def wake_at(self, at: Seconds) -> None:
        """One timer a wrapper: the earliest time asked for holds."""


class Codec(Protocol):
    """One link's codec object, both directions. What is in front of a payload, the link's prefix and the context id,
    is the core's; it passes through here so that no payload is copied a second time for it."""

    def encode(self, packet: Packet, max_payload: int, head: bytes = b"") -> list[bytes] | None:
        """Payloads of at most `max_payload` bytes, each behind the bytes `head`, which do not count. They carry the
        packet; None: this codec does not take it (the next one is asked). An empty list is never returned: what fits
        no codec gets Packet Too Big from the core."""

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None], skip: int = 0) -> list[Packet]:
        """Packets, joined where the codec can, in order. The codec's bytes begin behind the first `skip` of each
        payload. What it cannot judge is dropped: `drop(reason)`, once a payload. Must not raise for what a peer sent:
        that loses the whole batch, counted `plugin_error`."""


class PacketCodec(Protocol):
    """Factory of codec objects. NAME is also the name in HELLO and WELCOME; PREFERENCE: the highest is tried first.
    The context id is fixed for the names in docs/wire.md; the server gives all others one for the session. OVERHEAD, 0
    where it is missing: bytes that a payload is larger by than the packet, or segment, that it carries."""

    NAME: ClassVar[str]
    PREFERENCE: ClassVar[int]

    def open(self, own_offloads: frozenset[str], peer_offloads: frozenset[str], lane: str = "datagram") -> Codec:
        """One object for a link. What the own TUN takes as super-packets and what the peer accepts as such, both of
        tcp4, tcp6, udp4, udp6. `lane` is the NAME of the link's lane: payloads in datagrams hold about a path MTU,
        those on a stream up to 65,600 bytes. At the server, raising refuses that attempt with `internal`."""


class Wrapper(Protocol):
    """Datagram → datagram around the packet codecs, for instance repair of losses. Both directions in one object."""

    def wrap(self, datagram: bytes, now: Seconds, out: CodecOut) -> None:
        """Send it with `out.send`, as no, one or several datagrams of at most OVERHEAD bytes more."""

    def unwrap(self, datagram: bytes, now: Seconds, out: CodecOut) -> bytes | None:
        """What the peer's `wrap` was given, None: nothing to pass on. What it raises for is dropped, counted."""

    def on_message(self, body: bytes, now: Seconds, out: CodecOut) -> None:
        """The peer's wrapper said this with `out.message`."""

    def on_wake(self, now: Seconds, out: CodecOut) -> None:
        """The time asked for with `out.wake_at` has come."""


class WrapperCodec(Protocol):
    """Factory of wrappers, negotiated by NAME like packet codecs. All that both sides have are applied, in the
    server's order, the last one outermost. OVERHEAD: bytes that it adds at most. SCOPE "session": one object serves
    all links of a session and outlives each of them."""

    NAME: ClassVar[str]
    OVERHEAD: ClassVar[int]
    SCOPE: ClassVar[Literal["link", "session"]]

    def wrapper(self) -> Wrapper:
        """A new object, for a link or a session as SCOPE says."""
