"""What the codecs cost: microseconds per segment, checks included. Run it alone: `.venv/bin/python -m bench.codecs`.

Encode is all from the TUN's frame to the payloads, decode all from the payloads to packets that the pipeline takes
without looking at their headers again.
"""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable, Sequence

from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.interfaces import PacketCodec
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import super_tcp, super_udp

FOUR, SIX = ("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")
SEGMENT = 1348
TIMESTAMPS = bytes.fromhex("0101080a0000123400005678")
CODECS: Sequence[tuple[int, PacketCodec]] = ((2, OffloadCodec()), (4, SegmentsCodec()), (0, PlainCodec()))


class _Sink:
    """A lane that takes everything and keeps the last packet's payloads."""

    NAME = "datagram"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def max_payload(self) -> int:
        return 1452

    def room(self) -> int:
        return 1 << 20

    def send(self, payloads: Sequence[bytes]) -> int:
        self.sent = list(payloads)
        return len(payloads)


def best(operation: Callable[[], object], segments: int) -> float:
    """Microseconds per segment, the best of nine runs of about 30 ms."""
    timer = timeit.Timer(operation)
    number = max(1, int(0.03 / max(timer.timeit(1), 1e-6)))
    return min(timer.repeat(9, number)) / number / segments * 1e6


def no_drop(reason: str) -> None:
    raise AssertionError(reason)


def cost(frames: Sequence[bytes], contexts: set[int], lost: int | None = None) -> tuple[float, float]:
    """Encode and decode of a batch of frames through a link with these codecs; `lost` is a segment that gets lost."""
    sink = _Sink()
    codecs = [(context, c.NAME, c.open(ALL_KINDS, ALL_KINDS)) for context, c in CODECS if context in contexts]
    link = LinkPort(None, sink, codecs)  # type: ignore[arg-type]
    arrived: list[bytes] = []
    for frame in frames:
        link.send(Packet(frame))
        arrived += sink.sent
    total = len(arrived)
    if lost is not None:
        del arrived[lost]

    def encode() -> None:
        for frame in frames:
            packet = Packet(frame)
            _ = packet.header
            link.send(packet)

    def decode() -> None:
        for packet in link.decode(arrived, no_drop):
            _ = packet.header

    return best(encode, total), best(decode, total)


def main() -> None:
    noise = random.Random(1)
    batches = [
        (f"TCP/IPv{version}, 1 × {count} segments", [super_tcp(*ends, noise.randbytes(count * SEGMENT), SEGMENT,
         options=TIMESTAMPS).frame])
        for version, ends in ((4, FOUR), (6, SIX))
        for count in (2, 10, 44)
    ]  # fmt: skip
    batches.append(("UDP/IPv4, 1 × 44 segments", [super_udp(*FOUR, noise.randbytes(44 * SEGMENT), SEGMENT).frame]))
    whole = batches[2][1]
    alone = [super_udp(*FOUR, noise.randbytes(1200), 1200, ip={"identification": number}).frame for number in range(44)]
    print(f"{'microseconds per segment of 1400 bytes':40} {'encode':>9} {'decode':>9} {'together':>9}")
    for context, codec in ((4, "segments"), (0, "plain")):
        for name, frames in batches:
            row(f"{codec}: {name}", cost(frames, {context, 0}))
        row(f"{codec}: TCP/IPv4, one of 44 lost", cost(whole, {context, 0}, lost=20))
    for context, codec in ((2, "offload"), (0, "plain")):
        row(f"{codec}: 44 single datagrams, 1228 bytes", cost(alone, {context, 0}))


def row(name: str, costs: tuple[float, float]) -> None:
    print(f"{name:40} {costs[0]:9.2f} {costs[1]:9.2f} {sum(costs):9.2f}")


if __name__ == "__main__":
    main()
