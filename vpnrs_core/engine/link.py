"""A link: one session's share of a connection, with the codecs that turn packets into payloads and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby

from vpnrs_core.interfaces import Codec, Connection, Lane
from vpnrs_core.packet.packet import Packet
from vpnrs_core.wire.varint import decode_varint, encode_varint


class LinkPort:
    """The core's end of a link.

    Packets go out as payloads: link prefix, context id, what the codec made. What the lane does not take waits in
    `pending`, which never holds more than the payloads of the last packet encoded: packets themselves wait in the
    session's queue, where sparse flows overtake bulk.
    """

    def __init__(
        self,
        connection: Connection,
        lane: Lane,
        codecs: Sequence[tuple[int, str, Codec]],
        *,
        prefix: bytes = b"",
        send_message: Callable[[str, bytes], None] | None = None,
    ) -> None:
        """`codecs`: (context id, name, codec), the one to try first in front."""
        self.connection = connection
        self.prefix = prefix
        self.lane = lane
        self.pending: deque[bytes] = deque()
        self.payloads_sent = 0
        self.payloads_received = 0
        self.alive = True
        self._encoders = [(prefix + encode_varint(context), codec) for context, _, codec in codecs]
        self._decoders = {context: codec for context, _, codec in codecs}
        self._plain = self._decoders.get(0)
        self._send_message = send_message
        self.codec_names = tuple(name for _, name, _ in codecs)

    def max_payload(self) -> int:
        """Bytes that a codec may make of a packet: the lane's payload without prefix and context id."""
        return self.lane.max_payload() - max(len(head) for head, _ in self._encoders)

    def room(self) -> int:
        """Bytes of payload that may be sent now without waiting in `pending`."""
        return 0 if self.pending or not self.alive else self.lane.room()

    def message(self, codec: str, body: bytes) -> None:
        if self._send_message is not None:
            self._send_message(codec, body)

    def send(self, packet: Packet) -> bool:
        """Encode and hand over. False: the packet fits no codec on this path, nothing was sent."""
        largest = self.lane.max_payload()
        for head, codec in self._encoders:
            payloads = codec.encode(packet, largest - len(head))
            if payloads is not None:
                self.pending.extend([head + payload for payload in payloads])
                self.flush()
                return True
        return False

    def flush(self) -> bool:
        """Hand over what waits → True when nothing is left waiting."""
        pending = self.pending
        if pending:
            taken = self.lane.send(list(pending))
            self.payloads_sent += taken
            if taken == len(pending):
                pending.clear()
            else:
                for _ in range(taken):
                    pending.popleft()
        return not pending

    def decode(self, payloads: Sequence[bytes], drop: Callable[[str], None]) -> list[Packet]:
        """Packets of a batch of payloads, in order. What no codec of this link takes is dropped with a reason."""
        self.payloads_received += len(payloads)
        plain = self._plain
        if plain is not None and all(p[:1] == b"\0" for p in payloads):
            return plain.decode([p[1:] for p in payloads], drop)
        packets: list[Packet] = []
        for context, run in groupby(payloads, _context_of):
            codec = self._decoders.get(context)
            group = list(run)
            if codec is None:
                for _ in group:
                    drop("unknown_context")
            else:
                skip = len(encode_varint(context))
                packets.extend(codec.decode([p[skip:] for p in group], drop))
        return packets


def _context_of(payload: bytes) -> int:
    """The context id in front of a payload, -1 when there is none."""
    try:
        return decode_varint(payload, 0)[0]
    except ValueError:
        return -1
