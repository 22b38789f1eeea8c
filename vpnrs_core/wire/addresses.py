"""ADDRESS_ASSIGN, ADDRESS_REQUEST and ROUTE_ADVERTISEMENT (RFC 9484 §4.7), and networks as address ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    summarize_address_range,
)

from vpnrs_core.errors import PeerError
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.wire.varint import decode_varint, encode_varint

# A range that is not a prefix becomes up to 254 networks; a host should not be made to install more than this.
MAX_NETWORKS = 1024

UNSPECIFIED: dict[int, Network] = {4: IPv4Network("0.0.0.0/32"), 6: IPv6Network("::/128")}


@dataclass(frozen=True)
class PrefixEntry:
    """An assigned or requested prefix. `request_id` ties an assignment to its request, 0: not asked for."""

    request_id: int
    prefix: Network


@dataclass(frozen=True)
class AddressAssign:
    """The whole list of the receiver's prefixes. An unspecified address answers a request with no."""

    entries: tuple[PrefixEntry, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The assigned addresses, without the declined requests."""
        return tuple(e.prefix.network_address for e in self.entries if e.prefix != UNSPECIFIED[e.prefix.version])


@dataclass(frozen=True)
class AddressRequest:
    entries: tuple[PrefixEntry, ...]


@dataclass(frozen=True)
class AddressRange:
    """From `start` to `end`, both included. `protocol` is an IP protocol number, 0: any."""

    start: Address
    end: Address
    protocol: int = 0


@dataclass(frozen=True)
class RouteAdvertisement:
    """The whole list of what the sender forwards to."""

    ranges: tuple[AddressRange, ...] = ()


def encode_prefixes(entries: Iterable[PrefixEntry]) -> bytes:
    return b"".join(
        encode_varint(e.request_id)
        + bytes((e.prefix.version,))
        + e.prefix.network_address.packed
        + bytes((e.prefix.prefixlen,))
        for e in entries
    )


def decode_address_assign(value: bytes) -> AddressAssign:
    """Raises PeerError for what RFC 9484 §4.7.1 calls malformed."""
    return AddressAssign(_decode_prefixes(value, "ADDRESS_ASSIGN"))


def decode_address_request(value: bytes) -> AddressRequest:
    """Raises PeerError for what RFC 9484 §4.7.2 calls malformed: an empty list, an id that is 0 or used twice."""
    entries = _decode_prefixes(value, "ADDRESS_REQUEST")
    ids = {e.request_id for e in entries}
    if not entries or 0 in ids or len(ids) != len(entries):
        raise PeerError("ADDRESS_REQUEST: each request needs an id of its own, not 0")
    return AddressRequest(entries)


def encode_routes(ranges: Iterable[AddressRange]) -> bytes:
    return b"".join(bytes((r.start.version,)) + r.start.packed + r.end.packed + bytes((r.protocol,)) for r in ranges)


def decode_route_advertisement(value: bytes) -> RouteAdvertisement:
    """Raises PeerError unless ranges ascend by version, protocol and address without overlap (RFC 9484 §4.7.3)."""
    ranges: list[AddressRange] = []
    offset = 0
    while offset < len(value):
        start, offset = _address(value, offset, "ROUTE_ADVERTISEMENT")
        size = len(start.packed)
        if offset + size + 1 > len(value):
            raise PeerError("ROUTE_ADVERTISEMENT: truncated")
        end = _unpack(value[offset : offset + size])
        found = AddressRange(start, end, value[offset + size])
        offset += size + 1
        if _key(found)[2] > int(end):
            raise PeerError(f"ROUTE_ADVERTISEMENT: range {start} - {end} ends before it starts")
        if ranges and not _follows(ranges[-1], found):
            raise PeerError(f"ROUTE_ADVERTISEMENT: range {start} - {end} is out of order or overlaps the one before")
        ranges.append(found)
    return RouteAdvertisement(tuple(ranges))


def to_ranges(networks: Iterable[Network]) -> tuple[AddressRange, ...]:
    """Networks as ranges in the RFC's order: duplicates and nested ones merge, neighbours join."""
    networks = list(networks)
    v4 = collapse_addresses(n for n in networks if isinstance(n, IPv4Network))
    v6 = collapse_addresses(n for n in networks if isinstance(n, IPv6Network))
    ranges: list[AddressRange] = []
    both: list[Network] = [*v4, *v6]
    for network in both:
        first, last = network.network_address, network.broadcast_address
        previous = ranges[-1] if ranges else None
        if previous and previous.end.version == first.version and int(previous.end) + 1 == int(first):
            ranges[-1] = AddressRange(previous.start, last)
        else:
            ranges.append(AddressRange(first, last))
    return tuple(ranges)


def to_networks(ranges: Sequence[AddressRange]) -> tuple[Network, ...]:
    """The fewest networks that cover the ranges exactly. Ranges for one IP protocol only are left out: a route
    cannot express them. Raises PeerError beyond MAX_NETWORKS."""
    networks: list[Network] = []
    for r in ranges:
        if r.protocol == 0:
            networks.extend(_summarize(r))
        if len(networks) > MAX_NETWORKS:
            raise PeerError(f"ROUTE_ADVERTISEMENT: more than {MAX_NETWORKS} routes")
    return tuple(networks)


def _summarize(r: AddressRange) -> Iterable[Network]:
    if isinstance(r.start, IPv4Address) and isinstance(r.end, IPv4Address):
        return summarize_address_range(r.start, r.end)
    assert isinstance(r.start, IPv6Address)
    assert isinstance(r.end, IPv6Address)
    return summarize_address_range(r.start, r.end)


def _key(r: AddressRange) -> tuple[int, int, int]:
    return r.start.version, r.protocol, int(r.start)


def _follows(before: AddressRange, after: AddressRange) -> bool:
    return (before.start.version, before.protocol, int(before.end)) < _key(after)


def _decode_prefixes(value: bytes, name: str) -> tuple[PrefixEntry, ...]:
    entries: list[PrefixEntry] = []
    offset = 0
    while offset < len(value):
        try:
            request_id, offset = decode_varint(value, offset)
        except ValueError:
            raise PeerError(f"{name}: truncated") from None
        address, offset = _address(value, offset, name)
        if offset >= len(value):
            raise PeerError(f"{name}: truncated")
        entries.append(PrefixEntry(request_id, _network(address, value[offset], name)))
        offset += 1
    return tuple(entries)


def _network(address: Address, length: int, name: str) -> Network:
    try:
        if isinstance(address, IPv4Address):
            return IPv4Network((address, length))
        return IPv6Network((address, length))
    except ValueError:
        raise PeerError(f"{name}: {address}/{length} is not a prefix") from None


def _address(value: bytes, offset: int, name: str) -> tuple[Address, int]:
    size = {4: 4, 6: 16}.get(value[offset]) if offset < len(value) else None
    if size is None:
        raise PeerError(f"{name}: no IP version 4 or 6 where one must stand")
    end = offset + 1 + size
    if end > len(value):
        raise PeerError(f"{name}: truncated")
    return _unpack(value[offset + 1 : end]), end


def _unpack(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
