"""Which connection a packet belongs to, and what a server does with the packets of none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Generic, TypeVar

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import SocketAddress
from vpnrs_core.quic.budget import Admission, Verdict, source_prefix
from vpnrs_core.quic.packets import (
    ID_LENGTH,
    SMALLEST_INITIAL,
    VERSION_1,
    RetryTokens,
    parse_long,
    version_negotiation,
)

Member = TypeVar("Member", bound=Hashable)


class Demux(Generic[Member]):
    """Connection id → connection."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Member] = {}
        self._ids: dict[Member, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, connection_id: bytes, member: Member) -> None:
        self._by_id[connection_id] = member
        self._ids.setdefault(member, set()).add(connection_id)

    def remove(self, connection_id: bytes) -> None:
        member = self._by_id.pop(connection_id, None)
        if member is not None:
            self._ids[member].discard(connection_id)

    def remove_member(self, member: Member) -> None:
        for connection_id in self._ids.pop(member, ()):
            self._by_id.pop(connection_id, None)

    def find(self, data: bytes) -> Member | None:
        """The owner of a packet. A client's first Initials carry an id of its own choice, of any length."""
        if data[0] & 0x80:
            return self._by_id.get(data[6 : 6 + data[5]]) if len(data) > 6 else None
        return self._by_id.get(data[1 : 1 + ID_LENGTH])


def one_connection(data: bytes, size: int) -> bool:
    """Whether short-header packets of `size` bytes each (the last may be shorter) all name the same connection."""
    if size <= ID_LENGTH:
        return False
    count = len(data) // size
    ids = set(_ids(size, count)(data))
    if count * size < len(data):
        ids.add(data[count * size + 1 : count * size + 1 + ID_LENGTH])
    return len(ids) == 1


@lru_cache(maxsize=1024)
def _ids(size: int, count: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Takes the connection ids out of that many packets with one call."""
    return Struct(f"x{ID_LENGTH}s{size - 1 - ID_LENGTH}x" * count).unpack_from


@dataclass(frozen=True, slots=True)
class Accepted:
    """A new connection: the client's first destination id, and the id of the Retry that it answers, if any."""

    original_id: bytes
    retry_id: bytes | None
    source: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One packet to send back; nothing is remembered."""

    packet: bytes


class Gatehouse:
    """Judges packets that belong to no connection. Every answer is smaller than what it answers."""

    def __init__(self, admission: Admission, random: Callable[[int], bytes]) -> None:
        self._admission = admission
        self._random = random
        self._tokens = RetryTokens(random)
        self.dropped: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    def judge(
        self, data: bytes, address: SocketAddress, now: Seconds, *, only_proven: bool = False
    ) -> Accepted | Reply | None:
        """None: drop it (counted by reason). `only_proven`: there is no time but for those whose address is proven."""
        if not data[0] & 0x80:
            self.dropped["unknown_connection"] += 1
            return None
        header = parse_long(data)
        if header is None:
            self.dropped["malformed"] += 1
            return None
        if len(data) < SMALLEST_INITIAL:
            self.dropped["too_small"] += 1
            return None
        if header.version == 0:
            # Answering a Version Negotiation packet could make two servers talk for ever.
            self.dropped["malformed"] += 1
            return None
        if header.version != VERSION_1:
            if only_proven:
                self.dropped["no_budget"] += 1
                return None
            self.answered["version_negotiation"] += 1
            return Reply(version_negotiation(header, self._random))
        if not header.is_initial or len(header.destination) < ID_LENGTH:
            self.dropped["unknown_connection"] += 1
            return None
        original: bytes | None = None
        if header.token:
            original = self._tokens.open(header, address, now)
        if only_proven and original is None:
            self.dropped["no_budget"] += 1
            return None
        source = source_prefix(address[0])
        match self._admission.judge(source, address_proven=original is not None):
            case Verdict.DROP:
                self.dropped["too_many"] += 1
                return None
            case Verdict.RETRY:
                # A token that does not hold earns a new Retry: the client may have moved, or we restarted.
                self.answered["retry"] += 1
                return Reply(self._tokens.packet(header, address, now))
        self.answered["accepted"] += 1
        if original is not None:
            return Accepted(original, header.destination, source)
        return Accepted(header.destination, None, source)
