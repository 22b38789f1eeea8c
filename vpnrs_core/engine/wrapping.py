"""Wrappers around the packet codecs of one link: layers of datagram → datagram, innermost first.

A layer's payload is its context id and what its `wrap` sent. What a layer sends on its own (a repeat, say) passes the
layers outside of it; what it delivers on its own passes those inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vpnrs_core.engine.containment import RAISED
from vpnrs_core.interfaces import Wrapper
from vpnrs_core.wire.varint import encode_varint


@dataclass(frozen=True)
class Layer:
    """One accepted wrapper. `overhead` is its own, without the context id."""

    context: int
    name: str
    overhead: int
    wrapper: Wrapper


class WrapperHost(Protocol):
    """What wrappers need of the engine."""

    def now(self) -> float: ...
    def call_at(self, at: float, act: Callable[[], None]) -> None: ...
    def failed(self, name: str, where: str, error: BaseException) -> None:
        """A wrapper raised: one datagram is lost, and somebody must hear of it."""


class Wrapping:
    """All layers of one link. `send` gets datagrams that leave apart from `outward`, `received` payloads that arrive
    apart from `inward`, `message` what a wrapper tells its peer."""

    def __init__(
        self,
        layers: Sequence[Layer],
        host: WrapperHost,
        send: Callable[[list[bytes]], None],
        received: Callable[[list[bytes]], None],
        message: Callable[[str, bytes], None],
    ) -> None:
        self._bound = [_Bound(layer, index, self) for index, layer in enumerate(layers)]
        self._by_name = {bound.layer.name: bound for bound in self._bound}
        self.host = host
        self.send = send
        self.received = received
        self.message = message
        self.closed = False
        # A context id in front of each layer's datagrams is overhead too.
        self.overhead = sum(layer.overhead + len(encode_varint(layer.context)) for layer in layers)

    def outward(self, datagrams: Sequence[bytes], start: int = 0) -> list[bytes]:
        """Through the layers from number `start` outwards."""
        batch = list(datagrams)
        for bound in self._bound[start:]:
            batch = bound.wrap(batch)
        return batch

    def inward(self, payloads: Sequence[bytes], start: int | None = None) -> list[bytes]:
        """Through the layers inside of number `start`, None: through all."""
        batch = list(payloads)
        for bound in reversed(self._bound[:start]):
            batch = bound.unwrap(batch)
        return batch

    def on_message(self, name: str, body: bytes) -> None:
        """The peer's wrapper of that name has said something. Unknown names are ignored."""
        bound = self._by_name.get(name)
        if bound is not None:
            bound.hear(body)

    def close(self) -> None:
        """The link is gone: timers that are still to come find nothing to do."""
        self.closed = True


class _Bound:
    """One layer in its place; the `out` of its wrapper."""

    def __init__(self, layer: Layer, index: int, wrapping: Wrapping) -> None:
        self.layer = layer
        self._index = index
        self._wrapping = wrapping
        self._head = encode_varint(layer.context)
        self._sent: list[bytes] | None = None
        self._delivered: list[bytes] | None = None
        self._wake: float | None = None

    # interfaces.CodecOut

    def send(self, datagram: bytes) -> None:
        payload = self._head + datagram
        if self._sent is not None:
            self._sent.append(payload)
        elif not self._wrapping.closed:
            self._wrapping.send(self._wrapping.outward([payload], self._index + 1))

    def deliver(self, datagram: bytes) -> None:
        if self._delivered is not None:
            self._delivered.append(datagram)
        elif not self._wrapping.closed:
            self._wrapping.received(self._wrapping.inward([datagram], self._index))

    def message(self, body: bytes) -> None:
        if not self._wrapping.closed:
            self._wrapping.message(self.layer.name, body)

    def wake_at(self, at: float) -> None:
        if self._wake is None or at < self._wake:
            self._wake = at
            self._wrapping.host.call_at(at, self._woken)

    # What the link does with it

    def wrap(self, datagrams: list[bytes]) -> list[bytes]:
        sent: list[bytes] = []
        self._sent = sent
        try:
            for datagram in datagrams:
                try:
                    self.layer.wrapper.wrap(datagram, self._wrapping.host.now(), self)
                except RAISED as error:
                    self._failed("wrap", error)
        finally:
            self._sent = None
        return sent

    def unwrap(self, payloads: list[bytes]) -> list[bytes]:
        head, size = self._head, len(self._head)
        delivered: list[bytes] = []
        self._delivered = delivered
        try:
            for payload in payloads:
                if not payload.startswith(head):
                    self._failed("unwrap", ValueError("a payload that is not wrapped, on a link where all are"))
                    continue
                try:
                    inner = self.layer.wrapper.unwrap(payload[size:], self._wrapping.host.now(), self)
                except RAISED as error:
                    self._failed("unwrap", error)
                    continue
                if inner is not None:
                    delivered.append(inner)
        finally:
            self._delivered = None
        return delivered

    def hear(self, body: bytes) -> None:
        try:
            self.layer.wrapper.on_message(body, self._wrapping.host.now(), self)
        except RAISED as error:
            self._failed("on_message", error)

    def _woken(self) -> None:
        now = self._wrapping.host.now()
        # An earlier time was asked for after this one, and has had its turn.
        if self._wrapping.closed or self._wake is None or self._wake > now:
            return
        self._wake = None
        try:
            self.layer.wrapper.on_wake(now, self)
        except RAISED as error:
            self._failed("on_wake", error)

    def _failed(self, where: str, error: BaseException) -> None:
        self._wrapping.host.failed(self.layer.name, where, error)
