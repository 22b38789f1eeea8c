"""What counting costs on the packet path: the statements that count, as they stand in the code, beside the whole path.

python -m bench.counting [--seconds S]

They are taken from the source of the rooms that a packet passes, and timed together, each executed once: what both
ends of a tunnel execute for one super-packet, and more where a batch is counted at once. The whole is what both ends
spend of the CPU on a super-packet of a TCP stream through a real tunnel.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from timeit import repeat
from types import SimpleNamespace

from bench import iperf
from bench.process import cpu_seconds
from bench.topology import Ends
from vpnrs_core.testkit.packets import super_tcp
from vpnrs_core.testkit.tunnel import SERVER4, TunnelNet

# Attributes that are counted up, and where that happens for a packet.
COUNTED = frozenset(
    (
        "ingress_packets", "ingress_bytes", "egress_packets", "egress_bytes", "frames_read", "bytes_read",
        "frames_written", "bytes_written", "bytes_in", "packets_in", "bytes_out", "packets_out", "payloads_received",
        "payloads_sent",
    )
)  # fmt: skip
ROOMS = ("host/tun.py", "pipeline/queue.py", "pipeline/pipeline.py", "quic/udp.py", "engine/link.py")
SEGMENT, SEGMENTS = 1380, 47
_CODE = Path(__file__).parents[1] / "vpnrs_core"


def statements(room: str) -> Iterator[tuple[str, str]]:
    """(what is counted, the statement), the first for each: the others are for packets without offloads."""
    seen: set[str] = set()
    found = [node for node in ast.walk(ast.parse((_CODE / room).read_text())) if isinstance(node, ast.AugAssign)]
    for node in sorted(found, key=lambda node: node.lineno):
        if isinstance(node.target, ast.Attribute):
            name = node.target.attr
            if name in COUNTED and name not in seen:
                seen.add(name)
                yield name, ast.unparse(node)


def counting() -> float:
    """Seconds that all of them take for one super-packet."""
    packet = super_tcp("10.0.0.2", "10.0.0.3", bytes(SEGMENT * SEGMENTS), SEGMENT)
    counters = SimpleNamespace(**dict.fromkeys(COUNTED, 0))
    around = {
        "self": SimpleNamespace(counters=counters, moved=counters, payloads_received=0, payloads_sent=0),
        "counters": counters, "packet": packet, "header": packet.header, "frames": [packet.frame], "_VNET": 10,
        "total": len(packet.frame), "written": 1, "sent": packet.ip_bytes, "data": bytes(64_000), "segment": 1400,
        "size": packet.ip_bytes, "packets": [b""] * SEGMENTS, "payloads": [b""] * SEGMENTS, "taken": SEGMENTS,
    }  # fmt: skip
    found = [text for room in ROOMS for _, text in statements(room)]
    program = f"def count({', '.join(around)}):\n" + "".join(f"    {text}\n" for text in found)
    made: dict[str, object] = {}
    exec(compile(program, "<counting>", "exec"), made)
    names = ", ".join(around)
    times = [min(repeat(f"{f}({names})", globals={**around, **made, "nothing": _nothing}, number=20_000, repeat=7))
             for f in ("count", "nothing")]  # fmt: skip
    return (times[0] - times[1]) / 20_000


def _nothing(*_: object) -> None:
    """What the call itself costs."""


def whole(seconds: float) -> float:
    """CPU seconds a super-packet, both ends together, in one TCP stream of so many seconds."""
    with TunnelNet() as net:
        net.up()
        ends, pids = Ends(net.client_ns[0], net.server_ns), (net.client.pid, net.server.pid)
        iperf.run(ends, SERVER4, 1.0)
        before = cpu_seconds(pids)
        moved = iperf.tcp(iperf.run(ends, SERVER4, seconds))
        return (cpu_seconds(pids) - before) / moved.bytes * SEGMENT * SEGMENTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.counting", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    part, everything = counting(), whole(options.seconds)
    print(
        f"a super-packet of {SEGMENTS} segments: counting takes {part * 1e6:.2f} µs of {everything * 1e6:.0f} µs, ",
        end="",
    )
    print(f"{part / everything:.2%}")


if __name__ == "__main__":
    main()
