"""The fast path: one session, one direction, everything that does not change prepared beforehand.

Found by the packet's own bytes, a packet of an established session needs its IP header rebuilt around prepared
addresses, and one constant added to its transport checksum: addresses and ports change, lengths and protocol have the
same sum in both families. Whatever is not like that (extension headers, options, fragments, SYN, FIN, RST, a missing
checksum, a packet that does not fit) is declined, and takes the slow path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from struct import Struct
from typing import Any, ClassVar

from vpnrs_core.packet.checksum import ones_sum
from vpnrs_core.packet.header import TCP, UDP, BadPacket, Header, make_header
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.vnet import CSUM_OFFSET, GSO_ECN, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN_VNET, VNET
from vpnrs_nat64.translate.headers import DF, MAX_WITHOUT_DF
from vpnrs_nat64.translate.tuples import Tuple

# SYN, FIN and RST move the session's state machine.
_FLAGS = 0x07

# Up to here a copy of the payload costs less than a memoryview of it.
_VIEW_FROM = 8192

# Past Packet's own constructor, which is a Python function: what is made here gets its three fields at once.
_blank: Callable[[], Packet] = partial(object.__new__, Packet)

# vnet header; version, class, flow; payload length; next header; hop limit; addresses and ports skipped; transport
# header up to its checksum; checksum. And IPv4: version and IHL, TOS; total length; identification; flags and offset;
# TTL; protocol; header checksum. The rest alike.
_IN_V6 = {TCP: Struct("!10sIHxB36x12sH"), UDP: Struct("!10sIHxB36x2sH")}
_OUT_V6 = {TCP: Struct("!10sIHBB36s12sH"), UDP: Struct("!10sIHBB36s2sH")}
_IN_V4 = {TCP: Struct("!10sHHHHBxH12x12sH"), UDP: Struct("!10sHHHHBxH12x2sH")}
_OUT_V4 = {TCP: Struct("!10sHHHHBBH12s12sH"), UDP: Struct("!10sHHHHBBH12s2sH")}


def key_of(frame: bytes) -> tuple[int, bytes] | None:
    """What identifies the session of a packet that may take the fast path: protocol, and addresses with ports as
    they are in the packet. `key_for` makes the same of a tuple. None: it takes the slow path."""
    if len(frame) < 38:
        return None
    first = frame[10]
    if first == 0x45:
        return frame[19], frame[22:34]
    if first >> 4 == 6:
        return frame[16], frame[18:54]
    return None


def key_for(tuple_: Tuple) -> tuple[int, bytes]:
    """The key of packets with this tuple."""
    ports = (tuple_.sport << 16 | tuple_.dport).to_bytes(4, "big")
    return tuple_.protocol, tuple_.src + tuple_.dst + ports


class Identification:
    """IPv4 identifications that do not repeat soon. `next` is the next one."""

    __slots__ = ("next",)

    def __init__(self, first: int = 0) -> None:
        self.next = first & 0xFFFF

    def take(self, count: int = 1) -> int:
        """The first of `count` in a row."""
        taken = self.next
        self.next = taken + count & 0xFFFF
        return taken


class Identifications:
    """One counter for each of many classes of destination and protocol, so that an identification comes again late for
    everyone: it must not while the former packet may be under way (RFC 6864 §4.2)."""

    # A prime: neighbours in a network, and protocols, fall into different classes.
    _CLASSES = 1021

    def __init__(self, first: int = 0) -> None:
        """`first`: where they begin; from a random source, so that nobody guesses them."""
        self._counters = [Identification(first + 257 * number) for number in range(self._CLASSES)]

    def of(self, destination: bytes, protocol: int) -> Identification:
        """The counter for packets to this IPv4 address, packed."""
        return self._counters[(int.from_bytes(destination, "big") << 8 | protocol) % self._CLASSES]


class Rewriter:
    """Packets with one tuple become packets with its translation. `rewriter` makes one.

    The header of the packet made last is kept: those of a bulk transfer have one length, and so one header.

    It may be asked only about packets that have the old tuple (see `key_of`). It leaves payload alone, so a wrong
    checksum comes out equally wrong. It has no state but the shared identifications. `session`, `lease`, `owner` and
    `touched`, the time of the last packet, are the caller's: to keep one object costs less than two."""

    __slots__ = (
        "_addresses", "_fold", "_idents", "_last", "_mtu", "_partial", "_protocol", "_sum", "_tos",
        "lease", "owner", "session", "touched",
    )  # fmt: skip

    def __init__(self, old: Tuple, new: Tuple, mtu: int, idents: Identification, tos: int | None = None) -> None:
        self.session: Any = None
        self.lease: Any = None
        self.owner: Any = None
        self.touched = 0.0
        self._protocol = old.protocol
        self._mtu, self._idents, self._tos = mtu, idents, tos
        # Source, destination and ports together, and nothing apart: there are as many of these as sessions.
        self._addresses = key_for(new)[1]
        # 1 to 65535: to add 65535 changes nothing, and keeps a valid checksum from turning into 0xFFFF (RFC 1624).
        self._fold = (ones_sum(self._addresses) - ones_sum(key_for(old)[1])) % 65535 or 65535
        self._partial = (ones_sum(new.src + new.dst) - ones_sum(old.src + old.dst)) % 65535
        version, four_or_six = (4, 20) if len(new.src) == 4 else (6, 40)
        self._last = Header(version, old.protocol, four_or_six, 0, 0, new.src, new.dst)
        # Of the IPv4 header, whichever side that is: what no packet changes.
        four = new if len(new.src) == 4 else old
        self._sum = 0x4500 + old.protocol + ones_sum(four.src + four.dst)

    # Of the packet as it is and as it becomes; class attributes, so that nothing is looked up for them.
    _unpack: ClassVar[Any]
    _pack: ClassVar[Any]

    def rewrite(self, packet: Packet) -> Packet | None:
        """The packet in the other family; None: take the slow path."""
        raise TypeError("make one with `rewriter`")


class _ToV4(Rewriter):
    __slots__ = ()

    def rewrite(self, packet: Packet) -> Packet | None:
        frame, protocol = packet.frame, self._protocol
        try:
            header = packet.header
        except BadPacket:
            return None
        if header.l4_offset != 40 or header.protocol != protocol or header.version != 6:
            return None
        vnet, first, size, limit, middle, check = self._unpack(frame)
        if limit < 2 or size > 65495 or (protocol == TCP and middle[9] & _FLAGS):
            return None
        total, count, known = size + 20, 1, header.header_length - 20
        largest = total
        if vnet == PLAIN_VNET:
            if not check and protocol == UDP:
                return None
            check -= self._fold
            if check < 0:
                check += 0xFFFF
            if not check and protocol == UDP:
                check = 0xFFFF
        else:
            moved = _moved(vnet, protocol, 4, known)
            if moved is None:
                return None
            vnet, gso_size = moved
            if gso_size:
                largest = known + gso_size
                count = -(-(total - known) // gso_size)
            check = (check + self._partial) % 65535
        if largest > self._mtu:
            return None
        tos = self._tos
        if tos is None:
            tos = first >> 20 & 0xFF
        field = DF if largest > MAX_WITHOUT_DF else 0
        idents = self._idents
        ident = idents.next
        idents.next = ident + count & 0xFFFF
        total_sum = self._sum + tos + total + ident + field + (limit - 1 << 8)
        head = self._pack(
            vnet, 0x4500 | tos, total, ident, field, limit - 1, protocol, 0xFFFF - (total_sum % 65535 or 0xFFFF),
            self._addresses, middle, check,
        )  # fmt: skip
        last = self._last
        if last[4] != total or last[3] != known:
            self._last = last = make_header((4, protocol, 20, known, total, last[5], last[6], 0, False, 0))
        new = _blank()
        new.frame = head + (frame[len(head) + 20 :] if total < _VIEW_FROM else memoryview(frame)[len(head) + 20 :])
        new.session = packet.session
        new.header = last
        return new


class _ToV6(Rewriter):
    __slots__ = ()

    def rewrite(self, packet: Packet) -> Packet | None:
        frame, protocol = packet.frame, self._protocol
        try:
            header = packet.header
        except BadPacket:
            return None
        if header.l4_offset != 20 or header.protocol != protocol or header.version != 4:
            return None
        if header.header_length == 20:  # a fragment whose bytes look like the session's ports
            return None
        vnet, first, total, ident, field, limit, check_ip, middle, check = self._unpack(frame)
        if limit < 2 or field & ~DF or total > 65515 or (protocol == TCP and middle[9] & _FLAGS):
            return None
        if (self._sum + (first & 0xFF) + total + ident + field + (limit << 8) + check_ip) % 65535:
            return None
        known = header.header_length + 20
        largest = total + 20
        if vnet == PLAIN_VNET:
            if not check and protocol == UDP:
                return None
            check -= self._fold
            if check < 0:
                check += 0xFFFF
            if not check and protocol == UDP:
                check = 0xFFFF
        else:
            moved = _moved(vnet, protocol, 6, known)
            if moved is None:
                return None
            vnet, gso_size = moved
            if gso_size:
                largest = known + gso_size
            check = (check + self._partial) % 65535
        if largest > self._mtu:
            return None
        tos = self._tos
        if tos is None:
            tos = first & 0xFF
        head = self._pack(vnet, 0x60000000 | tos << 20, total - 20, protocol, limit - 1, self._addresses, middle, check)
        length, last = total + 20, self._last
        if last[4] != length or last[3] != known:
            self._last = last = make_header((6, protocol, 40, known, length, last[5], last[6], 0, False, 0))
        new = _blank()
        new.frame = head + (frame[len(head) - 20 :] if total < _VIEW_FROM else memoryview(frame)[len(head) - 20 :])
        new.session = packet.session
        new.header = last
        return new


class _TcpToV4(_ToV4):
    __slots__ = ()
    _unpack = _IN_V6[TCP].unpack_from
    _pack = _OUT_V4[TCP].pack


class _UdpToV4(_ToV4):
    __slots__ = ()
    _unpack = _IN_V6[UDP].unpack_from
    _pack = _OUT_V4[UDP].pack


class _TcpToV6(_ToV6):
    __slots__ = ()
    _unpack = _IN_V4[TCP].unpack_from
    _pack = _OUT_V6[TCP].pack


class _UdpToV6(_ToV6):
    __slots__ = ()
    _unpack = _IN_V4[UDP].unpack_from
    _pack = _OUT_V6[UDP].pack


_KINDS: dict[tuple[int, int], type[Rewriter]] = {
    (4, TCP): _TcpToV4, (4, UDP): _UdpToV4, (16, TCP): _TcpToV6, (16, UDP): _UdpToV6,
}  # fmt: skip


def rewriter(old: Tuple, new: Tuple, mtu: int, idents: Identification, tos: int | None = None) -> Rewriter:
    """A rewriter from the tuple `old` to `new`, of the other family, TCP or UDP. `mtu` is the other side's, in bytes
    (to IPv6 the lower of the client's tunnel and lowest-ipv6-mtu). `idents` gives IPv4 identifications, `tos` replaces
    TOS or traffic class. Raises ValueError for other protocols or one family."""
    if old.protocol not in (TCP, UDP) or len(old.src) == len(new.src):
        raise ValueError("a rewriter takes TCP or UDP from one family to the other")
    return _KINDS[len(new.src), old.protocol](old, new, mtu, idents, tos)


@lru_cache(maxsize=1024)
def _moved(vnet: bytes, protocol: int, version: int, header_length: int) -> tuple[bytes, int] | None:
    """The vnet header of a packet with a partial checksum in IP `version`, whose headers have `header_length` bytes
    there, and its gso_size. None: another vnet header than those that TCP and UDP have."""
    flags, gso_type, _, gso_size, start, offset = VNET.unpack(vnet)
    was, becomes = (40, 20) if version == 4 else (20, 40)
    if not flags & NEEDS_CSUM or start != was or offset != CSUM_OFFSET[protocol]:
        return None
    if gso_type & ~GSO_ECN in (GSO_TCPV4, GSO_TCPV6):
        gso_type = gso_type & GSO_ECN | (GSO_TCPV4 if version == 4 else GSO_TCPV6)
    gso_size = gso_size if gso_type else 0
    return VNET.pack(flags, gso_type, header_length, gso_size, becomes, offset), gso_size
