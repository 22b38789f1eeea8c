"""Every private attribute of aioquic that vpnrs uses, checked in the installed version, and the pacer put into it."""

from __future__ import annotations

import math
from functools import cache
from importlib.metadata import version
from typing import Any

from aioquic.quic import connection as aioquic_connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import Epoch

from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces.common import Seconds

# Without these the adapter cannot work: the pin, the room of a connection, its memory, its address and its end.
REQUIRED = (
    "_crypto_buffers.clear",
    "tls._peer_certificate",
    "_close_event",
    "_local_max_data.value",
    "_local_max_data.used",
    "_local_max_data.sent",
    "_close_pending",
    "_datagrams_pending",
    "_max_datagram_size",
    "_network_paths",
    "_peer_cid.cid",
    "_remote_max_datagram_frame_size",
    "_streams.get",
    "_loss._cc.bytes_in_flight",
    "_loss._cc.congestion_window",
    "_loss._cc.on_packets_lost",
    "_loss._cc.on_rtt_measurement",
    "_loss._cc.ssthresh",
    "_loss._rtt_initialized",
    "_loss._rtt_latest",
    "_loss._rtt_min",
    "_loss._rtt_smoothed",
    "_loss._pacer.next_send_time",
    "_loss._pacer.update_after_send",
    "_loss._pacer.update_rate",
)
REQUIRED_STREAM = ("sender._pending",)
REQUIRED_PATH = ("addr", "bytes_received", "bytes_sent", "is_validated", "local_challenge_sent", "remote_challenges")
# Without these it works at half the speed: datagrams go through aioquic's own packet builder and parser.
FAST = (
    "_ack_delay",
    "_ack_eliciting_sent_since_receipt",
    "_close_at",
    "_cryptos",
    "_handshake_confirmed",
    "_idle_timeout",
    "_packet_number",
    "_QuicConnection__frame_handlers",
    "_spaces",
    "_spin_bit",
    "_spin_highest_pn",
    "_state",
    "_loss.on_packet_sent",
)
FAST_SPACE = (
    "ack_at",
    "ack_queue",
    "expected_packet_number",
    "largest_received_packet",
    "largest_received_time",
    "received_packets",
)
FAST_CRYPTO = ("recv.key_phase", "_update_key_requested")
FAST_CIPHER = ("aead._aead.encrypt", "aead._aead.decrypt", "aead._iv", "hp._encryptor", "hp._is_chacha20")

# Bytes of a handshake that may be missing before what has come: aioquic would keep 512 KiB for who sends one packet.
# No chain of certificates is longer than this.
aioquic_connection.MAX_PENDING_CRYPTO = 64 << 10

# Credit that the pacer keeps: packets, or seconds at the current rate if that is more.
_BURST_PACKETS = 32
_BURST_SECONDS = 0.004
_TIMER_GRANULARITY = 0.001


def _lacks(root: Any, paths: tuple[str, ...]) -> list[str]:
    lacking = []
    for path in paths:
        at = root
        for name in path.split("."):
            if not hasattr(at, name):
                lacking.append(path)
                break
            at = getattr(at, name)
    return lacking


@cache
def fast_path_works() -> bool:
    """Check a real connection of the installed aioquic. Raises PluginError when a required attribute is missing;
    False when one that only the fast path needs is."""
    connection: Any = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=["probe"]))
    connection.connect(("192.0.2.1", 1), now=0.0)
    connection.send_stream_data(0, b"")
    lacking = (
        _lacks(connection, REQUIRED)
        or _lacks(connection._streams.get(0), REQUIRED_STREAM)
        or _lacks(connection._network_paths[0], REQUIRED_PATH)
    )
    if lacking:
        raise PluginError(
            f"aioquic {version('aioquic')} is not one that this version of vpnrs knows: {', '.join(lacking)} is "
            'missing. Install another aioquic (1.7 works), or choose another engine with [quic] engine = "…".'
        )
    if _lacks(connection, FAST):
        return False
    space = next(iter(connection._spaces.values()))
    crypto = connection._cryptos[Epoch.INITIAL]
    return not (
        _lacks(space, FAST_SPACE)
        or _lacks(crypto, FAST_CRYPTO)
        or _lacks(crypto.send, FAST_CIPHER)
        or _lacks(crypto.recv, FAST_CIPHER)
    )


VERSIONS = [QuicProtocolVersion.VERSION_1]


class SlidingLimit:
    """Stands for aioquic's MAX_DATA, which doubles with use: after a gigabyte a peer could make us keep another one by
    leaving a hole. This one is never more than `window` bytes ahead of what came."""

    def __init__(self, limit: Any, window: int) -> None:
        self.frame_type, self.name = limit.frame_type, limit.name
        self.sent, self.used = limit.sent, limit.used
        self._value: int = limit.value
        self._window = window

    @property
    def value(self) -> int:
        return self._value

    @value.setter
    def value(self, wanted: int) -> None:
        allowed = min(wanted, self.used + self._window)
        # In steps: each raise is a frame to send.
        if allowed == wanted or allowed - self._value >= self._window // 4:
            self._value = max(self._value, allowed)


class BurstPacer:
    """Paces at 1.25 × window / RTT (RFC 9002 section 7.7) with credit for several milliseconds: epoll's timers are no
    finer than 1 ms, so a bucket of a few packets would throttle every fast path.

    Credit is bytes in flight: acknowledgements take none, and who sends small packets may send many."""

    def __init__(self, packet_size: int) -> None:
        self._packet_size = packet_size
        self._rate = math.inf  # bytes a second; nothing is known before the first round trip
        self._most = float(_BURST_PACKETS * packet_size)
        self._credit = self._most
        self._assumed = 0.0
        self._at = 0.0

    def resize(self, packet_size: int) -> None:
        """The largest packet has this many bytes from now on."""
        self._packet_size = packet_size

    def allowance(self, now: Seconds) -> float:
        """Bytes that may leave now."""
        if self._rate == math.inf:
            return math.inf
        if now > self._at:
            self._credit = min(self._most, self._credit + (now - self._at) * self._rate)
            self._at = now
        return self._credit

    def next_send_time(self, now: Seconds) -> Seconds | None:
        """None: now. Called by aioquic."""
        credit = self.allowance(now)
        if credit >= self._packet_size:
            return None
        return now + max(_TIMER_GRANULARITY, (self._packet_size - credit) / self._rate)

    def update_after_send(self, now: Seconds) -> None:
        """One packet has left, of whatever size. Called by aioquic; `settle` puts it right."""
        assumed = min(self._credit, self._packet_size)
        self._credit -= assumed
        self._assumed += assumed

    def settle(self, size: int) -> None:
        """The packets since the last call had so many bytes that count as in flight. They leave no debt."""
        self._credit = max(0.0, self._credit + self._assumed - size)
        self._assumed = 0.0

    def update_rate(self, congestion_window: int, smoothed_rtt: Seconds) -> None:
        """Called by aioquic after each acknowledgement."""
        if self._rate == math.inf:
            self._credit = self._most  # what left before was not counted against a rate
        self._rate = 1.25 * congestion_window / max(smoothed_rtt, 1e-6)
        self._most = max(_BURST_PACKETS * self._packet_size, self._rate * _BURST_SECONDS)
