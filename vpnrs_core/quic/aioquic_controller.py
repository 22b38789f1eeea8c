"""aioquic's congestion controller, made to react to a queue that stands on the path and not to loss alone.

What is carried here mostly has a controller of its own, inside. Were every lost packet answered twice, TCP through the
tunnel would crawl where the same TCP beside it runs: with 0.1 % of loss at a twentieth of its speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vpnrs_core.interfaces.common import Seconds
from vpnrs_core.quic.standing import StandingQueue


def react_to_queues(recovery: Any, standing: StandingQueue, count: Callable[[int], None]) -> None:
    """Change the controller of an aioquic connection's recovery. `count` gets the number of each loss's packets.

    Without a standing queue a loss takes the lost bytes out of the flight and no more, and a round trip that varies
    does not end slow start. Persistent congestion (RFC 9002 section 7.6) still closes the window."""
    controller = recovery._cc
    react, note = controller.on_packets_lost, controller.on_rtt_measurement

    def stands() -> bool:
        return standing.stands(recovery._rtt_smoothed, recovery._rtt_min)

    def lost(*, now: Seconds, packets: Any) -> None:
        packets = list(packets)
        count(len(packets))
        if stands():
            react(now=now, packets=packets)
        else:
            controller.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)

    def measured(*, now: Seconds, rtt: Seconds) -> None:
        opening = controller.ssthresh is None
        note(now=now, rtt=rtt)
        if opening and not stands():
            controller.ssthresh = None

    controller.on_packets_lost, controller.on_rtt_measurement = lost, measured
