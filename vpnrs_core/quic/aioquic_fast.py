"""The short way through aioquic for packets that hold nothing but DATAGRAM frames: most of a tunnel's packets.

It builds and opens 1-RTT packets with aioquic's own ciphers and enters them into aioquic's own books. Whatever is not
a plain datagram packet on the validated path of a confirmed connection goes the long way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aioquic._crypto import CryptoError
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.packet import QuicPacketType, decode_packet_number
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.tls import Epoch

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import SocketAddress

_TAG = 16
_PACKET_NUMBER = 2
_FIXED_BIT = 0x40
_RESERVED = 0x18
_DATAGRAM, _DATAGRAM_WITH_LENGTH = 0x30, 0x31


class SentDatagrams:
    """aioquic's record of a packet in flight, for a packet that nothing of is ever sent again."""

    __slots__ = ("packet_number", "sent_bytes", "sent_time")

    epoch = Epoch.ONE_RTT
    packet_type = QuicPacketType.ONE_RTT
    in_flight = True
    is_ack_eliciting = True
    is_crypto_packet = False
    delivery_handlers = ()
    quic_logger_frames = ()

    def __init__(self, packet_number: int, sent_time: Seconds, sent_bytes: int) -> None:
        self.packet_number = packet_number
        self.sent_time = sent_time
        self.sent_bytes = sent_bytes


def frame_header(length: int) -> bytes:
    """Type and length of a DATAGRAM frame (RFC 9221 section 4)."""
    if length < 64:
        return bytes((_DATAGRAM_WITH_LENGTH, length))
    if length < 16384:
        return bytes((_DATAGRAM_WITH_LENGTH, 0x40 | length >> 8, length & 0xFF))
    return bytes((_DATAGRAM_WITH_LENGTH,)) + (0x80000000 | length).to_bytes(4, "big")


def parse_datagrams(payload: bytes, into: list[bytes]) -> bool:
    """Append the contents of a packet that is DATAGRAM frames only; False, and nothing appended, for any other."""
    found = []
    at, end = 0, len(payload)
    while at < end:
        kind = payload[at]
        if kind == _DATAGRAM:
            found.append(payload[at + 1 :])
            break
        if kind != _DATAGRAM_WITH_LENGTH or at + 1 >= end:
            return False
        size = 1 << (payload[at + 1] >> 6)
        start = at + 1 + size
        at = start + (int.from_bytes(payload[at + 1 : start], "big") & ((1 << (8 * size - 2)) - 1))
        if start > end or at > end:
            return False
        found.append(payload[start:at])
    into += found
    return bool(found)


class FastPath:
    """Works on one aioquic connection; `received` is where datagram contents go."""

    def __init__(self, connection: Any, received: list[bytes]) -> None:
        self._connection = connection
        self._received = received

    def ready(self) -> bool:
        """The handshake is confirmed, nothing is closing, the path is validated, no key update is under way."""
        c = self._connection
        return (
            c._handshake_confirmed
            and c._state is QuicConnectionState.CONNECTED
            and c._close_event is None
            and c._network_paths[0].is_validated
            and not c._cryptos[Epoch.ONE_RTT]._update_key_requested
        )

    # Sending

    def send(self, datagrams: Sequence[bytes], capacity: int, now: Seconds) -> list[bytes]:
        """Packets of at most `capacity` bytes that hold all datagrams in order; small neighbours share one."""
        c = self._connection
        crypto = c._cryptos[Epoch.ONE_RTT]
        encrypt, protect = crypto.send.aead.encrypt, crypto.send.hp.apply
        first = _FIXED_BIT | c._spin_bit << 5 | crypto.key_phase << 2 | _PACKET_NUMBER - 1
        prefix = bytes((first,)) + c._peer_cid.cid
        number = c._packet_number
        packets = []
        for payload in _payloads(datagrams, capacity - len(prefix) - _PACKET_NUMBER - _TAG):
            header = prefix + (number & 0xFFFF).to_bytes(_PACKET_NUMBER, "big")
            packets.append(protect(header, encrypt(payload, header, number)))
            number += 1
        self._record(packets, now)
        return packets

    def _record(self, packets: list[bytes], now: Seconds) -> None:
        c = self._connection
        number = c._packet_number
        space = c._spaces[Epoch.ONE_RTT]
        sent = c._loss.on_packet_sent
        for packet in packets:
            sent(packet=SentDatagrams(number, now, len(packet)), space=space)
            number += 1
        c._packet_number = number
        c._network_paths[0].bytes_sent += sum(map(len, packets))
        if not c._ack_eliciting_sent_since_receipt:
            c._close_at = now + c._idle_timeout()
            c._ack_eliciting_sent_since_receipt = True

    # Receiving

    def receive(self, packets: Sequence[bytes], address: SocketAddress, now: Seconds) -> int:
        """Take packets in order as long as they are plain datagram packets → how many were taken."""
        c = self._connection
        if c._network_paths[0].addr != address:
            return 0
        space, crypto, received = c._spaces[Epoch.ONE_RTT], c._cryptos[Epoch.ONE_RTT].recv, self._received
        unprotect, decrypt, phase = crypto.hp.remove, crypto.aead.decrypt, crypto.key_phase << 2
        host_id = c.host_cid
        id_end = 1 + len(host_id)
        seen, expected = space.received_packets, space.expected_packet_number
        numbers: list[int] = []
        taken, header = 0, b""
        for packet in packets:
            if packet[0] & 0x80 or packet[1:id_end] != host_id:
                break
            try:
                header, truncated = unprotect(packet, id_end)
                if header[0] & _RESERVED or header[0] & 4 != phase:
                    break
                number = decode_packet_number(truncated, ((header[0] & 3) + 1) << 3, expected)
                payload = decrypt(packet[len(header) :], header, number)
            except CryptoError:
                break  # the long way drops it, or knows why not
            if number in seen or not parse_datagrams(payload, received):
                break
            seen.add(number)
            numbers.append(number)
            if number >= expected:
                expected = number + 1
            taken += 1
        if numbers:
            space.expected_packet_number = expected
            self._acknowledge(space, numbers, header[0], now)
        return taken

    def _acknowledge(self, space: Any, numbers: list[int], first: int, now: Seconds) -> None:
        """Enter received packets into the ACK state; neighbours go in as one range."""
        c = self._connection
        start = stop = numbers[0]
        for number in numbers:
            if number != stop:
                space.ack_queue.add(start, stop)
                start = number
            stop = number + 1
        space.ack_queue.add(start, stop)
        while len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        largest = max(numbers)
        if largest > space.largest_received_packet:
            space.largest_received_packet = largest
            space.largest_received_time = now
        if space.ack_at is None:
            space.ack_at = now + c._ack_delay
        if largest > c._spin_highest_pn:
            spin = bool(first & 0x20)
            c._spin_bit = spin if not c._is_client else not spin
            c._spin_highest_pn = largest
        c._close_at = now + c._idle_timeout()
        c._ack_eliciting_sent_since_receipt = False


def _payloads(datagrams: Sequence[bytes], room: int) -> list[bytes]:
    """Frames, grouped into packets' payloads of at most `room` bytes."""
    payloads: list[bytes] = []
    group: list[bytes] = []
    used = 0
    length, head = -1, b""
    for datagram in datagrams:
        if len(datagram) != length:
            length = len(datagram)
            head = frame_header(length)
        size = length + len(head)
        if used + size > room and group:
            payloads.append(b"".join(group))
            group, used = [], 0
        group += (head, datagram)
        used += size
    if group:
        payloads.append(b"".join(group))
    return payloads
