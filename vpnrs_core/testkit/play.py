"""`play(stage, packets)`: runs packets through a stage and tells what became of each, as a trace to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal

from vpnrs_core.interfaces import Direction, Packet, StageFactory
from vpnrs_core.testkit.load import Loaded
from vpnrs_core.testkit.stage_bench import KitSession, StageBench

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}


@dataclass
class Trace:
    """`forwarded` went on in its direction, `returned` went back the other way, `dropped` counts segments by reason,
    `held` are still waiting. `lines` is the story; printing the trace prints it. `ended` says why the session was
    ended, if it was."""

    forwarded: list[Packet] = field(default_factory=list)
    returned: list[Packet] = field(default_factory=list)
    held: list[Packet] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def play(
    stage: StageFactory | Loaded,
    packets: Sequence[Packet | bytes],
    *,
    direction: Direction = Direction.INGRESS,
    session: KitSession | None = None,
    plugin: str = "",
    role: Literal["server", "client"] = "server",
    reasons: Sequence[str] = (),
    wait: float = 0.0,
) -> Trace:
    """Send `packets` one by one from session a (ingress) or to it (egress) through one stage in the real pipeline, then
    let `wait` seconds pass. `stage` is a factory, or what `load` returned. `reasons` are its drop reasons, complete.

    Raises AssertionError with the trace when the stage raised or broke the contract."""
    if isinstance(stage, Loaded):
        reasons, plugin = tuple(stage.plugins.drop_reasons), stage.facts.name
        factory: StageFactory = stage.one("stage")
    else:
        factory = stage
    session = session or KitSession()
    bench = StageBench(factory, plugin=plugin or factory.NAME, reasons=reasons, role=role, a=session)
    trace = Trace()
    for number, each in enumerate(packets):
        packet = each if isinstance(each, Packet) else Packet.of(each)
        trace.lines.append(f"{number}: {direction.value} {_text(packet)}")
        before = dict(bench.drops.packets)
        if direction is Direction.INGRESS:
            bench.pipeline.ingress(bench.a, [packet], 0.0)
        else:
            bench.pipeline.egress([packet], 0.0)
        _collect(bench, direction, trace)
        _tell_drops(bench, before, trace)
    if wait:
        before = dict(bench.drops.packets)
        trace.lines.append(f"{wait:g} seconds pass")
        bench.settle(wait)
        _collect(bench, direction, trace)
        _tell_drops(bench, before, trace)
    trace.held = bench.held()
    trace.lines += [f"   held {_text(packet)}" for packet in trace.held]
    trace.dropped = bench.drops.nonzero()
    trace.ended = session.ended
    trace.lines += [f"   session ended: {refuse.code.value} {refuse.detail}".rstrip() for refuse in session.ended]
    for owner, where, error in bench.failures:
        trace.lines.append(f"   FAILED {owner} {where}: {type(error).__name__}: {error}")
    assert not bench.failures, f"the stage failed:\n{trace}"
    return trace


def _collect(bench: StageBench, direction: Direction, trace: Trace) -> None:
    inwards, outwards = bench.to_tun(), bench.to_peer()
    if bench.b is not None:
        outwards += bench.to_peer(bench.b)
    on, back = (inwards, outwards) if direction is Direction.INGRESS else (outwards, inwards)
    trace.lines += [f"   forwarded {_text(packet)}" for packet in on]
    trace.lines += [f"   returned {_text(packet)}" for packet in back]
    trace.forwarded += on
    trace.returned += back


def _tell_drops(bench: StageBench, before: dict[str, int], trace: Trace) -> None:
    for reason, count in bench.drops.packets.items():
        if count > before[reason]:
            trace.lines.append(f"   dropped {count - before[reason]} as {reason}")


def _text(packet: Packet) -> str:
    """`udp 10.0.0.2:40000 → 192.0.2.1:53, 29 bytes`"""
    protocol = _PROTOCOLS.get(packet.protocol, f"protocol {packet.protocol}")
    ends = [str(ip_address(packet.src)), str(ip_address(packet.dst))]
    at = packet.l4_offset
    if packet.protocol in (6, 17) and packet.header_length > at:
        ports = (int.from_bytes(packet.data[at + n : at + n + 2], "big") for n in (0, 2))
        ends = [f"[{end}]:{port}" if ":" in end else f"{end}:{port}" for end, port in zip(ends, ports, strict=True)]
    size = f"{packet.segments} segments, " if packet.segments > 1 else ""
    return f"{protocol} {ends[0]} → {ends[1]}, {size}{packet.ip_bytes} bytes"
