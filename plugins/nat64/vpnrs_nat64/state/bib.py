"""The binding information base of one protocol (RFC 6146 section 3.1): bindings by both their ends, and who may have
which port."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vpnrs_nat64.state.model import ICMP, NOBODY, UDP, Binding, Client
from vpnrs_nat64.state.ports import Ports


class Bib:
    """Endpoint-independent mapping: one binding for each inner endpoint, whatever it talks to (RFC 4787 REQ-1)."""

    def __init__(
        self, protocol: int, sources: Sequence[bytes], ports: tuple[int, int], random: Callable[[int], bytes]
    ) -> None:
        """`sources`: packed IPv4 addresses; `ports`: the lowest and highest that are given. An echo id is no port:
        all 65,536 are given."""
        self.protocol = protocol
        self.by_inner: dict[bytes, Binding] = {}
        self.by_outer: dict[bytes, Binding] = {}
        low, high = (0, 65535) if protocol == ICMP else ports
        self.ports = {source: Ports(low, high) for source in sources}
        self._random = random

    def __len__(self) -> int:
        return len(self.by_outer)

    def add(self, client: Client, inner: bytes) -> Binding | None:
        """A new binding on the client's source address. None: its ports are all taken."""
        wanted = inner[16] << 8 | inner[17]
        port = self.ports[client.source].take(wanted, self.protocol == UDP, self._random)
        if port is None:
            return None
        binding = Binding(self.protocol, inner, client.source + port.to_bytes(2, "big"), client)
        self._place(binding)
        client.bindings[binding] = None
        return binding

    def add_static(self, inner: bytes, outer: bytes) -> Binding:
        """A binding that stays. ValueError: one of its ends is another's already."""
        port = outer[4] << 8 | outer[5]
        if inner in self.by_inner or not self.ports[outer[:4]].claim(port):
            raise ValueError(f"static binding: {outer.hex()} or {inner.hex()} is bound already")
        binding = Binding(self.protocol, inner, outer, NOBODY, static=True)
        self._place(binding)
        return binding

    def adopt(self, binding: Binding, client: Client) -> None:
        """A static binding's client is there."""
        binding.client = client
        client.bindings[binding] = None

    def remove(self, binding: Binding) -> None:
        """Its sessions are gone. A static binding stays, and is nobody's."""
        binding.client.bindings.pop(binding, None)
        if binding.static:
            binding.client = NOBODY
            return
        self.vacate(binding)
        del self.by_outer[binding.outer]
        self.ports[binding.outer_address].release(binding.outer_port)

    def vacate(self, binding: Binding) -> None:
        """Let another binding have the inner endpoint; this one keeps its port until it is removed."""
        if self.by_inner.get(binding.inner) is binding:
            del self.by_inner[binding.inner]

    def _place(self, binding: Binding) -> None:
        self.by_inner[binding.inner] = binding
        self.by_outer[binding.outer] = binding
