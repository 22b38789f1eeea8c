"""A link: one session's share of a connection, with the codecs that turn packets into payloads and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from vpnrs_core.engine.prober import Prober
from vpnrs_core.engine.wrapping import Layer, WrapperHost, Wrapping
from vpnrs_core.interfaces import Codec, Connection, Lane
from vpnrs_core.packet.packet import Packet
from vpnrs_core.session.negotiation import PROBE
from vpnrs_core.wire.codepoints import PROBE_CONTEXT
from vpnrs_core.wire.varint import decode_varint, encode_varint

# Payloads: what wrappers send on their own is let go beyond this.
MOST_APART = 1024

# Context ids below 0x40 have one byte. A C call: it runs once a payload.
_first_byte = itemgetter(slice(1))


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
        layers: Sequence[Layer] = (),
        host: WrapperHost | None = None,
        *,
        prefix: bytes = b"",
        send_message: Callable[[str, bytes], None] | None = None,
        headroom: int = 0,
    ) -> None:
        """`codecs`: (context id, name, codec), the one to try first in front. `layers` are wrappers, innermost first,
        which need `host`. `headroom`: bytes that the codecs add to a packet at most."""
        self.connection = connection
        self.prefix = prefix
        self.lane = lane
        self.pending: deque[bytes] = deque()
        self.payloads_sent = 0
        self.payloads_received = 0
        self.alive = True
        self.codec_names = (*(name for _, name, _ in codecs), *(layer.name for layer in layers))
        # What wrappers deliver apart from a batch; set by whoever feeds the link.
        self.late: Callable[[list[bytes]], None] | None = None
        self._wrapping: Wrapping | None = None
        if layers and host is not None:
            self._wrapping = Wrapping(layers, host, self._send_apart, self._deliver_apart, self.message)
        # With wrappers the prefix comes in front of the outermost, not of what they wrap.
        front = b"" if self._wrapping else prefix
        self._encoders = [(front + encode_varint(context), codec) for context, _, codec in codecs]
        self._decoders = {context: codec for context, _, codec in codecs}
        self._short = {bytes((context,)): codec for context, _, codec in codecs if context < 0x40}
        self._overhead = len(prefix) + self._wrapping.overhead if self._wrapping else 0
        self._send_message = send_message
        self._headroom = headroom
        self.prober: Prober | None = None

    def probe_with(self, prober: Prober) -> None:
        """Both sides answer probes."""
        self.prober = prober
        self._decoders[PROBE_CONTEXT] = prober

    def start_probing(self, on_size: Callable[[], None]) -> bool:
        """`on_size` hears whenever another size is in use. False: nothing will be found out about this path."""
        if self.prober is not None:
            self.prober.start(on_size)
        return self.prober is not None

    @property
    def size_known(self) -> bool:
        """What fits is more than a guess, or will never be."""
        return self.prober is None or self.prober.known

    @property
    def searching(self) -> bool:
        """Another size may soon be in use."""
        return self.prober is not None and not self.prober.judged

    def inner_mtu(self) -> int:
        """The largest packets that fit with every codec, and their super-packets segment by segment."""
        return self.max_payload() - self._headroom

    def max_payload(self) -> int:
        """Bytes that a codec may make of a packet: the lane's payload without prefix, wrappers and context id."""
        return self.lane.max_payload() - self._overhead - max(len(head) for head, _ in self._encoders)

    def room(self) -> int:
        """Bytes of payload that may be sent now without waiting in `pending`."""
        return 0 if self.pending or not self.alive else self.lane.room()

    def message(self, codec: str, body: bytes) -> None:
        if self._send_message is not None and self.alive:
            self._send_message(codec, body)

    def heard(self, codec: str, body: bytes) -> None:
        """A codec's message from the peer."""
        if codec == PROBE:
            if self.prober is not None:
                self.prober.heard(body)
        elif self._wrapping is not None:
            self._wrapping.on_message(codec, body)

    def close(self) -> None:
        """The link is gone."""
        self.alive = False
        if self.prober is not None:
            self.prober.close()
        if self._wrapping is not None:
            self._wrapping.close()

    def send(self, packet: Packet) -> bool:
        """Encode and hand over. False: the packet fits no codec on this path, nothing was sent."""
        largest = self.lane.max_payload() - self._overhead
        for head, codec in self._encoders:
            payloads = codec.encode(packet, largest - len(head), head)
            if payloads is not None:
                self._enqueue(payloads)
                return True
        return False

    def _enqueue(self, payloads: list[bytes]) -> None:
        if self._wrapping is not None:
            payloads = [self.prefix + payload for payload in self._wrapping.outward(payloads)]
        if self.pending:
            self.pending.extend(payloads)
            self.flush()
            return
        taken = self.lane.send(payloads)
        self.payloads_sent += taken
        if taken < len(payloads):
            self.pending.extend(payloads[taken:])

    def _send_apart(self, datagrams: list[bytes]) -> None:
        """A repeat has waited long enough: it goes in front of no one, but it goes. A lane that is closed for a while
        must not let repeats pile up."""
        if self.alive and len(self.pending) < MOST_APART:
            self.pending.extend([self.prefix + datagram for datagram in datagrams])
            self.flush()

    def _deliver_apart(self, payloads: list[bytes]) -> None:
        if self.late is not None and self.alive and payloads:
            self.late(payloads)

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
        """Packets of a batch of payloads as the lane gave them, in order."""
        self.payloads_received += len(payloads)
        if self._wrapping is not None:
            if self.prober is not None:  # probes are not wrapped
                payloads = self.prober.sift(payloads)
            payloads = self._wrapping.inward(payloads)
        return self.decode_unwrapped(payloads, drop)

    def decode_unwrapped(self, payloads: Sequence[bytes], drop: Callable[[str], None]) -> list[Packet]:
        """Packets of payloads as codecs made them. What no codec of this link takes is dropped with a reason."""
        packets: list[Packet] = []
        for first, run in groupby(payloads, _first_byte):
            codec = self._short.get(first)
            if codec is not None:
                packets += codec.decode(list(run), drop, 1)
                continue
            for (context, length), group in groupby(run, _context_of):
                codec = self._decoders.get(context)
                if codec is None:
                    for _ in group:
                        drop("unknown_context")
                else:
                    packets += codec.decode(list(group), drop, length)
        return packets


def _context_of(payload: bytes) -> tuple[int, int]:
    """The context id in front of a payload, -1 when there is none, and its length, which need not be the shortest."""
    try:
        return decode_varint(payload, 0)
    except ValueError:
        return -1, 0
