"""The binding information base of one protocol (RFC 6146 section 3.1): bindings by both their ends, and who may have
which port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vpnrs_nat64.state.model import ICMP, NOBODY, UDP, Client
from vpnrs_nat64.state.ports import Ports
from vpnrs_nat64.state.records import Binding, address_of, port_of
from vpnrs_nat64.state.shards import Shards


class Bib:
    """Endpoint-independent mapping: one binding for each inner endpoint, whatever it talks to (RFC 4787 REQ-1)."""

    def __init__(
        self, protocol: int, sources: Sequence[bytes], ports: tuple[int, int], random: Callable[[int], bytes]
    ) -> None:
        """`sources`: packed IPv4 addresses; `ports`: the lowest and highest that are given. An echo id is no port:
        all 65,536 are given."""
        self.protocol = protocol
        self._by_inner: Shards[bytearray] = Shards()
        self._by_outer: Shards[bytearray] = Shards()
        low, high = (0, 65535) if protocol == ICMP else ports
        self.ports = {source: Ports(low, high) for source in sources}
        self._random = random

    def __len__(self) -> int:
        return len(self._by_outer)

    def __iter__(self) -> Iterator[Binding]:
        return map(Binding, self._by_outer.values())

    def records(self) -> Iterator[bytearray]:
        """The bindings' `raw`."""
        return self._by_outer.values()

    def record(self, outer: bytes) -> bytearray:
        """A binding's `raw`. KeyError: there is none."""
        return self._by_outer[outer]

    def of_inner(self, inner: bytes) -> Binding | None:
        raw = self._by_inner.get(inner)
        return None if raw is None else Binding(raw)

    def of_outer(self, outer: bytes) -> Binding | None:
        raw = self._by_outer.get(outer)
        return None if raw is None else Binding(raw)

    def add(self, client: Client, inner: bytes) -> Binding | None:
        """A new binding on the client's source address. None: its ports are all taken."""
        port = self.ports[client.source].take(port_of(inner), self.protocol == UDP, self._random)
        if port is None:
            return None
        outer = client.source + port.to_bytes(2, "big")
        binding = Binding.of(self.protocol, inner, outer, client.number)
        self._place(binding, inner, outer)
        client.bindings[binding.key] = None
        return binding

    def add_static(self, inner: bytes, outer: bytes) -> Binding:
        """A binding that stays. ValueError: one of its ends is another's already."""
        if inner in self._by_inner or not self.ports[address_of(outer)].claim(port_of(outer)):
            raise ValueError(f"static binding: {outer.hex()} or {inner.hex()} is bound already")
        binding = Binding.of(self.protocol, inner, outer, NOBODY.number, static=True)
        self._place(binding, inner, outer)
        return binding

    def adopt(self, binding: Binding, client: Client) -> None:
        """A static binding's client is there."""
        binding.client = client.number
        client.bindings[binding.key] = None

    def remove(self, binding: Binding, client: Client) -> None:
        """Its sessions are gone. A static binding stays, and is nobody's."""
        client.bindings.pop(binding.key, None)
        if binding.static:
            binding.client = NOBODY.number
            return
        self.vacate(binding)
        outer = binding.outer
        del self._by_outer[outer]
        self.ports[address_of(outer)].release(port_of(outer))

    def vacate(self, binding: Binding) -> None:
        """Let another binding have the inner endpoint; this one keeps its port until it is removed."""
        if self._by_inner.get(binding.inner) is binding.raw:
            del self._by_inner[binding.inner]

    def _place(self, binding: Binding, inner: bytes, outer: bytes) -> None:
        self._by_inner[inner] = binding.raw
        self._by_outer[outer] = binding.raw
