"""What is measured of one tunnel, part by part; each part gives figures by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench import iperf, pings
from bench.peers import Tunnel
from bench.process import cpu_seconds
from bench.topology import Ends, wait_for

Figures = dict[str, float]
Part = Callable[[Ends, Tunnel, float], Figures]

# Seconds of idle pings, of a run that looks for segments sent again, and the part of --seconds that UDP gets.
_IDLE = 2.0
_LONG = 30.0
_UDP_PART = 0.5


def ready(ends: Ends, tunnel: Tunnel) -> None:
    """Raises TimeoutError when the tunnel does not carry packets."""
    wait_for("the first ping", lambda: pings.reachable(ends, tunnel.target))


def idle(ends: Ends, tunnel: Tunnel, seconds: float) -> Figures:
    return _ping("ping_idle", pings.finish(pings.start(ends, tunnel.target, _IDLE)))


def one_stream(ends: Ends, tunnel: Tunnel, seconds: float) -> Figures:
    """A TCP stream each way, with pings beside it and the CPU time of the tunnel's processes."""
    figures: Figures = {}
    for way, options in iperf.WAYS.items():
        # The pings end before the stream does, so that each of them meets it.
        before = cpu_seconds(tunnel.pids)
        with iperf.test(ends, tunnel.target, seconds, *options) as finish:
            beside = pings.start(ends, tunnel.target, seconds - 0.7)
            stream = iperf.tcp(finish())
        spent = cpu_seconds(tunnel.pids) - before
        ping = pings.finish(beside)
        figures[f"tcp_{way}_mbit"] = stream.mbit
        figures[f"retransmits_{way}"] = stream.retransmits
        if tunnel.pids and stream.bytes:
            figures[f"cpu_s_per_gb_{way}"] = spent / (stream.bytes / 1e9)
        figures |= _ping(f"ping_{way}", ping)
        figures[f"ping_{way}_lost_percent"] = ping.lost
    return figures


def four_streams(ends: Ends, tunnel: Tunnel, seconds: float) -> Figures:
    return {
        f"tcp4_{way}_mbit": iperf.tcp(iperf.run(ends, tunnel.target, seconds, "-P", "4", *options)).mbit
        for way, options in iperf.WAYS.items()
    }


def udp(ends: Ends, tunnel: Tunnel, seconds: float) -> Figures:
    """As many datagrams as the sender can make, of 64 and of 1,200 bytes of payload: what arrives a second."""
    figures: Figures = {}
    for size in (64, 1200):
        for way, options in iperf.WAYS.items():
            report = iperf.run(
                ends, tunnel.target, max(1, round(seconds * _UDP_PART)), "-u", "-b", "0", "-l", str(size), *options
            )
            figures[f"udp{size}_{way}_pps"] = iperf.udp(report).per_second
    return figures


def long(ends: Ends, tunnel: Tunnel, seconds: float) -> Figures:
    """A stream of 30 s each way: what is sent again, and what the tunnel's own queues dropped."""
    figures: Figures = {}
    for way, options in iperf.WAYS.items():
        before = tunnel.dropped()
        stream = iperf.tcp(iperf.run(ends, tunnel.target, _LONG, *options))
        figures[f"long_{way}_retransmits"] = stream.retransmits
        if before is not None:
            figures[f"long_{way}_dropped"] = (tunnel.dropped() or 0) - before
    return figures


def _ping(key: str, ping: pings.Ping) -> Figures:
    return {f"{key}_ms": ping.median, f"{key}_mean_ms": ping.mean, f"{key}_p99_ms": ping.p99}


# Of a tunnel that is up. What is not in here (handshakes, idle sessions) a peer measures by itself.
PARTS: Mapping[str, Part] = {
    "ping": idle,
    "tcp": one_stream,
    "streams": four_streams,
    "udp": udp,
    "long": long,
}
