"""The short way through aioquic for packets that hold nothing but DATAGRAM frames: most of a tunnel's packets.

It builds and opens 1-RTT packets with aioquic's own keys and enters them into aioquic's own books. Whatever is not
a plain datagram packet on the validated path of a confirmed connection goes the long way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.packet import QuicPacketType, decode_packet_number
from aioquic.quic.recovery import MAX_ACK_RANGES
from aioquic.tls import Epoch
from cryptography.exceptions import InvalidTag

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.interfaces.engine import SocketAddress

_TAG = 16
_SAMPLE = 16
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
    end = len(payload)
    # Nearly always: one frame, with a length of two bytes.
    if end > 66 and payload[0] == _DATAGRAM_WITH_LENGTH and (payload[1] << 8 | payload[2]) == 0x4000 + end - 3:
        into.append(payload[3:])
        return True
    found = []
    at = 0
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


class SentProbe(SentDatagrams):
    """Of a probe of the path MTU, whose loss says nothing about congestion (RFC 9002 section 3)."""

    __slots__ = ()

    in_flight = False


class FastPath:
    """Works on one aioquic connection; `received` is where datagram contents go."""

    def __init__(self, connection: Any, received: list[bytes]) -> None:
        self._connection = connection
        self._received = received

    def ready(self) -> bool:
        """The handshake is confirmed, nothing is closing, the path is validated, no key update is under way,
        and the cipher is AES."""
        c = self._connection
        if not c._handshake_confirmed or c._state is not QuicConnectionState.CONNECTED or c._close_event is not None:
            return False
        crypto = c._cryptos[Epoch.ONE_RTT]
        return bool(
            c._network_paths[0].is_validated and not crypto._update_key_requested and not crypto.recv.hp._is_chacha20
        )

    # Sending

    def send(
        self, datagrams: Sequence[bytes], capacity: int, now: Seconds, record: type[SentDatagrams] = SentDatagrams
    ) -> list[bytes]:
        """Packets of at most `capacity` bytes that hold all datagrams in order; small neighbours share one."""
        c = self._connection
        crypto = c._cryptos[Epoch.ONE_RTT]
        seal, iv = crypto.send.aead._aead.encrypt, crypto.send.aead._iv
        first = _FIXED_BIT | c._spin_bit << 5 | crypto.key_phase << 2 | _PACKET_NUMBER - 1
        connection_id = c._peer_cid.cid
        start = bytes((first,)) + connection_id
        number = begin = c._packet_number
        sealed = []
        for payload in _payloads(datagrams, capacity - len(start) - _PACKET_NUMBER - _TAG):
            header = start + (number & 0xFFFF).to_bytes(2, "big")
            sealed.append(seal((iv ^ number).to_bytes(12, "big"), payload, header))
            number += 1
        # Header protection (RFC 9001 section 5.4) of all packets with one call of the cipher: ECB has no memory.
        skip = 4 - _PACKET_NUMBER
        masks = crypto.send.hp._encryptor.update(b"".join([body[skip : skip + _SAMPLE] for body in sealed]))
        packets = []
        at, number = 0, begin
        for body in sealed:
            hidden = (number & 0xFFFF) ^ (masks[at + 1] << 8 | masks[at + 2])
            packets.append(
                b"".join((bytes((first ^ masks[at] & 0x1F,)), connection_id, hidden.to_bytes(2, "big"), body))
            )
            number += 1
            at += _SAMPLE
        self._record(packets, now, record)
        return packets

    def _record(self, packets: list[bytes], now: Seconds, record: type[SentDatagrams]) -> None:
        c = self._connection
        number = c._packet_number
        space = c._spaces[Epoch.ONE_RTT]
        sent = c._loss.on_packet_sent
        for packet in packets:
            sent(packet=record(number, now, len(packet)), space=space)
            number += 1
        c._packet_number = number
        c._network_paths[0].bytes_sent += sum(map(len, packets))
        if not c._ack_eliciting_sent_since_receipt:
            c._close_at = now + c._idle_timeout()
            c._ack_eliciting_sent_since_receipt = True

    # Receiving

    def receive(self, data: bytes, at: int, segment: int, address: SocketAddress, now: Seconds) -> int:
        """Take packets of `segment` bytes from `data`, starting at `at`, as long as they are plain datagram packets →
        where the first one begins that is not."""
        c = self._connection
        host_id = c.host_cid
        id_end = 1 + len(host_id)
        starts = []
        for start in range(at, len(data), segment):
            if data[start] & 0x80 or data[start + 1 : start + id_end] != host_id:
                break
            starts.append(start)
        sample = id_end + 4
        if starts and len(data) - starts[-1] < sample + _SAMPLE:
            starts.pop()  # the last one is too short to sample
        if not starts or c._network_paths[0].addr != address:
            return at
        hp = c._cryptos[Epoch.ONE_RTT].recv.hp
        masks = hp._encryptor.update(b"".join([data[s + sample : s + sample + _SAMPLE] for s in starts]))
        return self._open(data, starts, segment, masks, now)

    def _open(self, data: bytes, starts: list[int], segment: int, masks: bytes, now: Seconds) -> int:
        """Decrypt; a packet that is anything but fresh datagrams is left, untouched, to the long way."""
        c = self._connection
        space, crypto, received = c._spaces[Epoch.ONE_RTT], c._cryptos[Epoch.ONE_RTT].recv, self._received
        unseal, iv, phase = crypto.aead._aead.decrypt, crypto.aead._iv, crypto.key_phase << 2
        host_id = c.host_cid
        number_at = 1 + len(host_id)
        seen, expected = space.received_packets, space.expected_packet_number
        view = memoryview(data)
        numbers: list[int] = []
        mask_at = first = 0
        stop = starts[0]
        for start in starts:
            opened = data[start] ^ masks[mask_at] & 0x1F
            if opened & _RESERVED or opened & 4 != phase or opened & 3 != _PACKET_NUMBER - 1:
                break
            at = start + number_at
            truncated = (data[at] ^ masks[mask_at + 1]) << 8 | data[at + 1] ^ masks[mask_at + 2]
            mask_at += _SAMPLE
            number = decode_packet_number(truncated, 16, expected)
            header = b"".join((bytes((opened,)), host_id, truncated.to_bytes(2, "big")))
            try:
                payload = unseal((iv ^ number).to_bytes(12, "big"), view[at + 2 : start + segment], header)
            except InvalidTag:
                break
            if number in seen or not parse_datagrams(payload, received):
                break
            seen.add(number)
            numbers.append(number)
            if number >= expected:
                expected = number + 1
            first, stop = opened, start + segment
        if numbers:
            space.expected_packet_number = expected
            self._acknowledge(space, numbers, first, now)
        return stop

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
