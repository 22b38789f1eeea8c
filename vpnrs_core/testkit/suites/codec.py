"""The contract of codecs: packets come back as they were, payloads fit, and nothing that a peer sends raises."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from vpnrs_core.interfaces import Packet
from vpnrs_core.interfaces.tun import OFFLOADS
from vpnrs_core.packet.segment import segment
from vpnrs_core.testkit.suites.base import Suite, is_named
from vpnrs_core.testkit.suites.samples import from_client, to_client

NONE: frozenset[str] = frozenset()
_OFFLOADS = [(OFFLOADS, OFFLOADS), (NONE, NONE), (OFFLOADS, NONE), (NONE, OFFLOADS)]
_OFFLOAD_IDS = ["both", "neither", "own", "peer"]


class CodecSuite(Suite):
    """`subject` is a packet codec: packets to payloads and back."""

    kind: ClassVar[str] = "codec"

    def test_it_has_a_name_and_is_no_wrapper(self, subject: Any) -> None:
        assert is_named(subject)
        assert isinstance(subject.PREFERENCE, int)
        assert not hasattr(subject, "wrapper"), "a codec has `open` or `wrapper`, not both"

    @pytest.mark.parametrize(("own", "peer"), _OFFLOADS, ids=_OFFLOAD_IDS)
    @pytest.mark.parametrize("lane", ["datagram", "stream"])
    def test_a_packet_that_is_taken_comes_back(
        self, subject: Any, own: frozenset[str], peer: frozenset[str], lane: str
    ) -> None:
        """As the packets that it would be on a wire, in order; joined or not is the codec's business."""
        near, far = subject.open(own, peer, lane), subject.open(peer, own, lane)
        limit = 1324 if lane == "datagram" else 65_600
        for packet in (*from_client(), *to_client()):
            # What is in front of a payload is the core's, and does not count.
            payloads = near.encode(packet, limit, b"head")
            if payloads is None:
                continue
            assert payloads, "an empty list is never returned: None says that the codec does not take the packet"
            in_front = all(payload.startswith(b"head") for payload in payloads)
            assert in_front, "each payload begins with the `head` that `encode` was given"
            assert max(map(len, payloads)) <= limit + 4
            back = far.decode(payloads, _never, 4)
            assert [w for p in back for w in segment(p)] == segment(packet), packet

    def test_many_packets_come_back_in_order(self, subject: Any) -> None:
        near, far = subject.open(OFFLOADS, OFFLOADS, "datagram"), subject.open(OFFLOADS, OFFLOADS, "datagram")
        taken, payloads = [], []
        for packet in from_client():
            made = near.encode(packet, 1324)
            if made is not None:
                taken += segment(packet)
                payloads += made
        assert [w for p in far.decode(payloads, _never) for w in segment(p)] == taken

    @pytest.mark.parametrize("limit", [0, 1, 20, 60, 200])
    def test_what_does_not_fit_is_not_taken(self, subject: Any, limit: int) -> None:
        codec = subject.open(OFFLOADS, OFFLOADS, "datagram")
        for packet in from_client():
            made = codec.encode(packet, limit)
            assert made is None or (made and max(map(len, made)) <= limit)

    def test_what_a_stranger_sends_is_dropped_and_counted(self, subject: Any) -> None:
        """A payload gives packets or is dropped once; it never raises."""
        source = random.Random(1)
        codec = subject.open(OFFLOADS, OFFLOADS, "datagram")
        good = [p for packet in from_client() for p in subject.open(OFFLOADS, OFFLOADS).encode(packet, 1324) or ()]
        for _ in range(500):
            payload = bytearray(source.choice(good) if good else b"")
            for _ in range(source.randrange(1, 6)):
                at = source.randrange(len(payload) + 1)
                payload[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
            self._one(codec, bytes(payload[: source.randrange(len(payload) + 1)]))
            self._one(codec, source.randbytes(source.randrange(100)))
        self._one(codec, b"")

    def _one(self, codec: Any, payload: bytes) -> None:
        dropped: list[str] = []
        back: list[Packet] = codec.decode([payload], dropped.append)
        assert len(dropped) <= 1
        for packet in back:
            assert packet.header.version in (4, 6)


class WrapperSuite(Suite):
    """`subject` is a wrapper: datagrams to datagrams, around the packet codecs."""

    kind: ClassVar[str] = "codec"

    def test_it_has_a_name_and_is_no_packet_codec(self, subject: Any) -> None:
        assert is_named(subject)
        assert not hasattr(subject, "open"), "a codec has `open` or `wrapper`, not both"

    def test_what_is_wrapped_is_unwrapped(self, subject: Any) -> None:
        source = random.Random(2)
        near, far, out = subject.wrapper(), subject.wrapper(), KitOut()
        for number in range(200):
            datagram = source.randbytes(source.randrange(1, 1200))
            near.wrap(datagram, number / 100, out)
            got: list[bytes | None] = []
            for sent in out.take():
                assert len(sent) <= len(datagram) + subject.OVERHEAD
                back = far.unwrap(sent, number / 100, out)
                got += [back] if back is not None else []
            assert datagram in got + out.delivered

    def test_what_a_stranger_wraps_is_dropped(self, subject: Any) -> None:
        source = random.Random(3)
        far, out = subject.wrapper(), KitOut()
        for _ in range(500):
            try:
                back = far.unwrap(source.randbytes(source.randrange(60)), 0.0, out)
            except Exception:
                continue  # dropped and counted by the core
            assert back is None or isinstance(back, bytes)

    def test_its_declarations_hold(self, subject: Any) -> None:
        assert subject.OVERHEAD >= 0
        assert subject.SCOPE in ("link", "session")
        assert subject.wrapper() is not subject.wrapper()
        near, far, out = subject.wrapper(), subject.wrapper(), KitOut()
        near.wrap(b"x", 0.0, out)
        near.on_wake(1.0, out)
        for body in out.messages:
            assert len(body) <= 8192
            far.on_message(body, 1.0, out)


class KitOut:
    """interfaces.CodecOut that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.delivered: list[bytes | None] = []
        self.messages: list[bytes] = []
        self.wakes: list[float] = []
        self.send: Callable[[bytes], None] = self.sent.append
        self.deliver: Callable[[bytes], None] = self.delivered.append
        self.message: Callable[[bytes], None] = self.messages.append
        self.wake_at: Callable[[float], None] = self.wakes.append

    def take(self) -> list[bytes]:
        found = list(self.sent)
        self.sent.clear()
        return found


def _never(reason: str) -> None:
    raise AssertionError(f"a good payload was dropped: {reason}")
