"""Fragments of both families until all of a packet are there: a bounded store, in any order (RFC 791, 8200 §4.5).

Everything that arrives in pieces is put together before it is translated: an ICMPv6 checksum covers the whole
message's length, a missing UDP checksum the payload, and only the first piece shows the ports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from vpnrs_core.packet.checksum import checksum, ones_sum
from vpnrs_core.packet.header import FRAGMENT, VNET_LENGTH, BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_nat64.translate.headers import V6
from vpnrs_nat64.translate.problem import MALFORMED, Problem
from vpnrs_nat64.translate.tuples import inspect

if TYPE_CHECKING:
    from vpnrs_core.interfaces.session import Session

_FRAGMENT = Struct("!BBHI")
Key = tuple[bytes, bytes, int, int]
_CE = 3


class Added(NamedTuple):
    """What one fragment led to. `whole` and `parts`: it was the last one missing; they became that packet.
    `dropped`: packets that will come to nothing, and why (reason) each. In neither: the fragment is held."""

    whole: Packet | None = None
    parts: tuple[Packet, ...] = ()
    dropped: tuple[tuple[Packet, str], ...] = ()


class Expired(NamedTuple):
    """A set whose time is over. `first` is its first fragment, if it came: reassembly errors answer that."""

    parts: tuple[Packet, ...]
    first: Packet | None


class _Part(NamedTuple):
    """A fragment taken apart: where its payload belongs in the whole, bytes; `head` is everything before it."""

    packet: Packet
    offset: int
    more: bool
    payload: bytes
    head: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.payload)

    @property
    def size(self) -> int:
        return len(self.head) + len(self.payload)


@dataclass(slots=True)
class _Set:
    until: float
    whose: Session | None
    parts: dict[int, _Part] = field(default_factory=dict)
    held: int = 0
    total: int | None = None
    refused: bool = False


class Fragments:
    """`lifetime` in seconds from a set's first fragment, 2 at least (RFC 6146 §3.4). Bounds: bytes held, headers
    included, sets in all and of one source, fragments of one packet. What is over the bounds costs the oldest set its
    place, of the same source if it is that source's bound, else of whoever holds most of what is short: each client is
    one, everybody outside together is one, for their addresses prove nothing. Half of the room is each family's own: a
    flood from one side takes nothing of the other's half."""

    def __init__(
        self, *, lifetime: float = 5.0, max_bytes: int = 4 << 20, max_sets: int = 256, max_sets_of_source: int = 32,
        max_parts: int = 128,
    ) -> None:  # fmt: skip
        if max_bytes < 2 * 0xFFFF:
            raise ValueError(f"{max_bytes} bytes do not hold a packet's fragments of each family; 131,070 do")
        if lifetime < 2:
            raise ValueError(f"fragments are kept for 2 seconds at least, not for {lifetime}")
        self._lifetime = lifetime
        self._max_bytes, self._max_sets, self._max_of_source = max_bytes, max_sets, max_sets_of_source
        self._max_parts = max_parts
        self._sets: dict[Key, _Set] = {}
        self._of_source: dict[bytes, int] = {}
        # By the length of the family's addresses: who holds how much.
        self._sets_of: dict[int, Counter[Session | None]] = {4: Counter(), 16: Counter()}
        self._bytes_of: dict[int, Counter[Session | None]] = {4: Counter(), 16: Counter()}

    @property
    def bytes(self) -> int:
        return sum(map(Counter.total, self._bytes_of.values()))

    def add(self, packet: Packet, now: float) -> Added:
        """Takes a fragment (`kind` says FRAGMENT). Never raises."""
        found = _take_apart(packet)
        if isinstance(found, Problem):
            return Added(dropped=((packet, found.reason),))
        key, part = found
        known = self._sets.get(key)
        if known is not None:
            refused = self._refusal(key, known, part)
            if refused is not None:
                return refused
        dropped = self._make_room(key, part.size)
        if known is None:
            known = self._sets[key] = _Set(now + self._lifetime, packet.session)
            self._of_source[key[0]] = self._of_source.get(key[0], 0) + 1
            self._sets_of[len(key[0])][known.whose] += 1
        elif key not in self._sets:  # it was the oldest itself
            return Added(dropped=((packet, "fragment_limit"), *dropped))
        known.parts[part.offset] = part
        known.held += len(part.payload)
        self._bytes_of[len(key[0])][known.whose] += part.size
        if not part.more:
            known.total = part.end
        if known.held != known.total:
            return Added(dropped=tuple(dropped))
        return self._complete(key, known, dropped)

    def expire(self, now: float) -> list[Expired]:
        """Takes out every set whose time is over; an empty one was refused before and is only forgotten."""
        over = []
        for key, known in list(self._sets.items()):
            if known.until > now:
                break
            first = known.parts.get(0)
            parts = tuple(packet for packet, _ in self._remove(key, "fragment_timeout"))
            if parts:
                over.append(Expired(parts, first.packet if first else None))
        return over

    def next_expiry(self) -> float | None:
        """When `expire` has something to do."""
        return next((known.until for known in self._sets.values()), None)

    def discard(self, packet: Packet) -> list[Packet]:
        """Takes out the set that holds `packet` → the others of it. For a packet that could not be held."""
        return [other for other in self._take(lambda p: p is packet) if other is not packet]

    def forget(self, session: Session) -> list[Packet]:
        """Takes out every set with a fragment that came from `session` → the packets held."""
        return self._take(lambda p: p.session is session)

    def __len__(self) -> int:
        return len(self._sets)

    def _take(self, chosen: Callable[[Packet], bool]) -> list[Packet]:
        keys = [key for key, known in self._sets.items() if any(chosen(p.packet) for p in known.parts.values())]
        return [packet for key in keys for packet, _ in self._remove(key, "")]

    def _complete(self, key: Key, known: _Set, dropped: list[tuple[Packet, str]]) -> Added:
        ordered = [known.parts[offset] for offset in sorted(known.parts)]
        parts = tuple(packet for packet, _ in self._remove(key, ""))
        whole = _join(ordered)
        if whole is None:
            return Added(dropped=(*dropped, *((packet, "malformed") for packet in parts)))
        return Added(whole, parts, tuple(dropped))

    def _make_room(self, key: Key, size: int) -> list[tuple[Packet, str]]:
        """Room for `size` bytes more, and for a set if `key` has none."""
        dropped: list[tuple[Packet, str]] = []
        family = len(key[0])
        if key not in self._sets:
            if self._of_source.get(key[0], 0) >= self._max_of_source:
                oldest = next(other for other in self._sets if other[0] == key[0])
                dropped += self._remove(oldest, "fragment_limit")
            if len(self._sets) >= self._max_sets:
                dropped += self._remove(self._oldest(self._sets_of, family, 1, self._max_sets), "fragment_limit")
        while self._sets and self.bytes + size > self._max_bytes:
            dropped += self._remove(self._oldest(self._bytes_of, family, size, self._max_bytes), "fragment_limit")
        return dropped

    def _oldest(self, held: dict[int, Counter[Session | None]], family: int, more: int, limit: int) -> Key:
        """The oldest set of who holds most: of this family if it has any, and `more` goes beyond its half of `limit`;
        else of the other one, which then has more than its own."""
        if not held[family] or held[family].total() + more <= limit // 2:
            family = 20 - family
        ((whose, _),) = held[family].most_common(1)
        return next(key for key, known in self._sets.items() if known.whose is whose and len(key[0]) == family)

    def _refusal(self, key: Key, known: _Set, part: _Part) -> Added | None:
        """What becomes of a fragment that its set does not take."""
        packet = part.packet
        if known.refused:
            return Added(dropped=((packet, "fragment_overlap"),))
        same = known.parts.get(part.offset)
        if same is not None and same.payload == part.payload and same.more == part.more:
            return Added(dropped=((packet, "fragment_duplicate"),))
        if _contradicts(known, part):
            # The set stays, empty, so that those of its fragments that are still under way go too (RFC 5722).
            known.refused = True
            return Added(dropped=((packet, "fragment_overlap"), *self._empty(key, known, "fragment_overlap")))
        if len(known.parts) >= self._max_parts:
            return Added(dropped=((packet, "fragment_limit"), *self._remove(key, "fragment_limit")))
        return None

    def _empty(self, key: Key, known: _Set, reason: str) -> list[tuple[Packet, str]]:
        self._bytes_of[len(key[0])][known.whose] -= sum(part.size for part in known.parts.values())
        dropped = [(part.packet, reason) for part in known.parts.values()]
        known.parts, known.held = {}, 0
        return dropped

    def _remove(self, key: Key, reason: str) -> list[tuple[Packet, str]]:
        known = self._sets.pop(key)
        left = self._of_source[key[0]] - 1
        if left:
            self._of_source[key[0]] = left
        else:
            del self._of_source[key[0]]
        dropped = self._empty(key, known, reason)
        sets, held = self._sets_of[len(key[0])], self._bytes_of[len(key[0])]
        sets[known.whose] -= 1
        if not sets[known.whose]:
            del sets[known.whose], held[known.whose]
        return dropped


def _contradicts(known: _Set, part: _Part) -> bool:
    """It overlaps another, is a second end, or lies behind the end."""
    if known.total is not None and (part.end > known.total or not part.more):
        return True
    for other in known.parts.values():
        if (other.offset < part.end and part.offset < other.end) or (not part.more and other.end > part.end):
            return True
    return False


def _take_apart(packet: Packet) -> tuple[Key, _Part] | Problem:
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    header, walk = found
    if not (walk.offset or walk.more):
        return Problem("fragment")
    data = packet.data if packet.frame.startswith(bytes(VNET_LENGTH)) else segment(packet)[0]
    head, payload = data[: walk.l4], data[walk.l4 :]
    if not payload:
        return MALFORMED
    if header.version == 4 and ones_sum(head):
        return Problem("ipv4_checksum")
    protocol = header.protocol if header.version == 4 else -1
    return (header.source, header.destination, protocol, walk.ident), _Part(
        packet, walk.offset, walk.more, payload, head
    )


def _join(parts: list[_Part]) -> Packet | None:
    """The packet that the fragments were cut from. An IPv6 one keeps its fragment header, now an atomic one: it says
    that the sender lets it be fragmented, and what its identification is. None: no sound packet comes of it."""
    first = parts[0]
    payload = b"".join([part.payload for part in parts])
    head = bytearray(first.head)
    four = head[0] >> 4 == 4
    length = len(payload) + (len(head) if four else len(head) - 40)
    if length > 0xFFFF:
        return None
    congested = any(_ecn(part.head) == _CE for part in parts)
    if four:
        head[2:4] = length.to_bytes(2, "big")
        head[6:8] = head[10:12] = b"\0\0"
        head[1] |= _CE if congested else 0
        head[10:12] = checksum(head).to_bytes(2, "big")
    else:
        head[4:6] = length.to_bytes(2, "big")
        head[-6:-4] = b"\0\0"
        head[1] |= _CE << 4 if congested else 0
    whole = Packet.of(bytes(head) + payload, first.packet.session)
    try:
        _ = whole.header
    except BadPacket:
        return None
    return whole


def _ecn(head: bytes) -> int:
    return head[1] & 3 if head[0] >> 4 == 4 else head[1] >> 4 & 3


def fragment_v6(packet: Packet, mtu: int, ident: int) -> list[Packet]:
    """The IPv6 `packet` in fragments of at most `mtu` bytes; itself if it fits. `ident` (32 bits) is their
    identification, unless the packet has a fragment header behind its IPv6 header, whose values go on.

    For the translator's own output: no other extension headers, no super-packet. Raises ValueError when not even
    8 bytes of payload fit."""
    data = packet.data if packet.frame.startswith(bytes(VNET_LENGTH)) else segment(packet)[0]
    if len(data) <= mtu:
        return [packet]
    step = (mtu - 48) // 8 * 8
    if step < 8:
        raise ValueError(f"an MTU of {mtu} leaves no room for a fragment")
    flow, _, protocol, limit, source, destination = V6.unpack_from(data)
    at, base, more = 40, 0, 0
    if protocol == FRAGMENT:
        protocol, _, field_, ident = _FRAGMENT.unpack_from(data, 40)
        at, base, more = 48, field_ & 0xFFF8, field_ & 1
    fragments = []
    for start in range(at, len(data), step):
        payload = data[start : start + step]
        last = start + step >= len(data)
        head = V6.pack(flow, len(payload) + 8, FRAGMENT, limit, source, destination)
        head += _FRAGMENT.pack(protocol, 0, base + start - at | (more if last else 1), ident)
        fragments.append(Packet.of(head + payload, packet.session))
    return fragments
