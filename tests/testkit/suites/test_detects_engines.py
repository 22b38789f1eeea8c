"""QUIC engines that break one promise each fail the test of that promise: the built-in one, spoiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from vpnrs_core.interfaces import QuicSettings
from vpnrs_core.interfaces.engine import Closed, ConnectionIdIssued, HandshakeDone, StreamReset
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.testkit.suites import EngineSuite

Spoil = Callable[["Spoiled"], None]


class Spoiled:
    """One connection. A fault puts functions of its own in the place of the engine's."""

    def __init__(self, sound: Any, spoil: Spoil) -> None:
        self.sound = sound
        spoil(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)

    def hides(self, *kinds: type) -> None:
        self.events = lambda: [event for event in self.sound.events() if not isinstance(event, kinds)]


class Engine:
    NAME, PREFERENCE = "spoiled", 1

    def __init__(self, spoil: Spoil) -> None:
        self._spoil, self._sound = spoil, AioquicEngine()

    def client(self, settings: QuicSettings) -> Any:
        return Spoiled(self._sound.client(settings), self._spoil)

    def server(self, settings: QuicSettings, original: bytes, retry: bytes | None) -> Any:
        return Spoiled(self._sound.server(settings, original, retry), self._spoil)


def sound(c: Spoiled) -> None: ...


def forgets_the_handshake(c: Spoiled) -> None:
    c.hides(HandshakeDone)


def names_no_ids(c: Spoiled) -> None:
    c.hides(ConnectionIdIssued)


def has_no_ids(c: Spoiled) -> None:
    c.connection_ids = ()


def answers_too_much(c: Spoiled) -> None:
    c.transmit = lambda now: [(packets * 4, to) for packets, to in c.sound.transmit(now)]


def takes_before_it_can(c: Spoiled) -> None:
    c.room = lambda now: 1 << 20


def has_no_end(c: Spoiled) -> None:
    def send(datagrams: Sequence[bytes], now: float) -> int:
        c.sound.send(datagrams, now)
        return len(datagrams)

    c.send = send


def changes_the_order(c: Spoiled) -> None:
    c.received_datagrams = lambda: c.sound.received_datagrams()[::-1]


def cuts(c: Spoiled) -> None:
    c.received_datagrams = lambda: [datagram[:64] for datagram in c.sound.received_datagrams()]


def promises_too_much(c: Spoiled) -> None:
    c.max_datagram = lambda: c.sound.max_datagram() and c.sound.max_datagram() + 1


def raises_for_the_large(c: Spoiled) -> None:
    def send(datagrams: Sequence[bytes], now: float) -> int:
        if any(len(datagram) > c.sound.max_datagram() for datagram in datagrams):
            raise ValueError("too large")
        return c.sound.send(datagrams, now)  # type: ignore[no-any-return]

    c.send = send


def does_not_shrink(c: Spoiled) -> None:
    c.limit_payload = lambda size: None


def prefers_datagrams(c: Spoiled) -> None:
    """Bytes of a stream are kept while datagrams come, and leave with the next packet without any."""
    waiting: list[tuple[Any, Any]] = []
    c.write_stream = lambda *arguments, **keys: waiting.append((arguments, keys))

    def transmit(now: float) -> Any:
        left = c.sound.transmit(now)
        while waiting and not left:
            arguments, keys = waiting.pop(0)
            c.sound.write_stream(*arguments, **keys)
        return left

    c.transmit = transmit


def hides_its_end(c: Spoiled) -> None:
    c.hides(Closed)


def never_ends(c: Spoiled) -> None:
    c.timer = lambda: c.sound.timer() or 1e9
    c.handle_timer = lambda now: c.sound.handle_timer(now) if c.sound.timer() else None


def forgets_resets(c: Spoiled) -> None:
    c.hides(StreamReset)


def does_not_ping(c: Spoiled) -> None:
    c.ping = lambda: None


def probes_nothing(c: Spoiled) -> None:
    c.probe = lambda head, size: c.sound.probe(head, 1200)


def stays_small(c: Spoiled) -> None:
    c.use_payload = lambda size, *, settled: None


SUITE = EngineSuite()
FOUND = [
    (forgets_the_handshake, "test_the_handshake_reports_alpn_certificate_and_connection_ids"),
    (names_no_ids, "test_the_handshake_reports_alpn_certificate_and_connection_ids"),
    (has_no_ids, "test_the_server_answers_to_every_id_that_it_named"),
    (answers_too_much, "test_a_stranger_is_answered_with_three_times_its_bytes_at_most"),
    (takes_before_it_can, "test_nothing_may_be_sent_before_the_handshake"),
    (takes_before_it_can, "test_stream_bytes_come_before_datagrams"),
    (has_no_end, "test_no_more_is_taken_than_may_leave_at_once"),
    (has_no_end, "test_a_long_stream_keeps_datagrams_out_until_it_has_left"),
    (changes_the_order, "test_joined_buffers_equal_single_packets"),
    (cuts, "test_datagrams_arrive_unchanged_and_in_order_both_ways"),
    (promises_too_much, "test_datagrams_arrive_unchanged_and_in_order_both_ways"),
    (raises_for_the_large, "test_an_oversized_datagram_is_dropped_and_blocks_nothing"),
    (does_not_shrink, "test_a_shrunken_path_shrinks_what_is_taken"),
    (does_not_shrink, "test_a_shrunken_path_carries_streams_and_datagrams"),
    (prefers_datagrams, "test_stream_bytes_come_before_datagrams"),
    (hides_its_end, "test_a_close_is_reported_at_once_and_drains"),
    (never_ends, "test_a_close_is_reported_at_once_and_drains"),
    (hides_its_end, "test_a_silent_peer_is_given_up_and_a_ping_keeps_it"),
    (does_not_ping, "test_a_silent_peer_is_given_up_and_a_ping_keeps_it"),
    (forgets_resets, "test_streams_tell_their_end_and_their_reset"),
    (probes_nothing, "test_a_probe_is_a_packet_of_its_size_and_changes_nothing_else"),
    (stays_small, "test_packets_start_small_and_grow_to_what_the_path_is_known_to_carry"),
]


@pytest.mark.parametrize(("spoil", "promise"), FOUND, ids=[f"{spoil.__name__}-{p[5:25]}" for spoil, p in FOUND])
def test_a_bad_engine_is_found(spoil: Spoil, promise: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        getattr(SUITE, promise)((Engine(spoil), Engine(spoil)))


@pytest.mark.parametrize("promise", sorted({promise for _, promise in FOUND}))
def test_one_that_is_only_wrapped_passes(promise: str) -> None:
    getattr(SUITE, promise)((Engine(sound), Engine(sound)))


def test_a_bad_engines_name_and_preference_are_found() -> None:
    class Nameless:
        NAME, PREFERENCE = "two words", "high"

    with pytest.raises(AssertionError):
        SUITE.test_it_has_a_name_and_a_preference(Nameless())
