"""`vpnrs trace`: one session's packets of a running instance, as lines or as a capture file."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance

_POLL = 0.2


@click.command()
@click.argument("session", default="", metavar="[SESSION]")
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option("--write", "file", type=click.File("wb"), help="A pcapng file instead of lines; - is stdout.")
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(min=0.1, max=3600), help="How long.")
@click.option("--packets", type=click.IntRange(min=1), help="End after so many.")
@click.option(
    "--bytes", "most", default=64 << 20, show_default=True, type=click.IntRange(min=4096), help="A file's size."
)
@click.option(
    "--snap", default=65_535, show_default=True, type=click.IntRange(40, 65_575), help="Bytes of each packet."
)
@click.option(
    "--point",
    "points",
    multiple=True,
    metavar="POINT",
    help="Only points that begin so: link, queue, tun, before:PLUGIN, after:PLUGIN … Several may be named.",
)
def trace(
    session: str,
    name: str | None,
    file: BinaryIO | None,
    seconds: float,
    packets: int | None,
    most: int,
    snap: int,
    points: Sequence[str],
) -> None:
    """Show the packets of SESSION (an id or a principal; the only one by default) inside an instance: as they come
    from the TUN and the link, before and after each stage, and why one went no further.

    The instance needs `[plugins.trace]`. What is shown is what users send: be sure that you may look. A super-packet
    is one packet here, with all its segments.

    Exit codes: 4 not allowed, 6 the instance does not answer, 7 not running."""
    with LocalClient(choose_instance(name), "control") as client, ExitStack() as stack:
        started = client.call("trace.start", session=session, seconds=seconds, snap=snap, points=list(points))
        stack.callback(client.call, "trace.stop")
        who = f"session {started['session']} ({started['principal']})"
        click.echo(f"tracing {who} for {started['seconds']:g} s; Ctrl-C ends it", err=True)
        show = _lines() if file is None else _capture(file, who, snap, most)
        count = 0
        try:
            for packet in _packets(client):
                if not show(packet):
                    break
                count += 1
                if count == packets:
                    break
        except KeyboardInterrupt:
            pass
        click.echo(f"{count} packets shown", err=True)


def _packets(client: LocalClient) -> Iterator[Mapping[str, Any]]:
    missed = 0
    while True:
        answer = client.call("trace.fetch")
        if answer["missed"] > missed:
            click.echo(f"{answer['missed'] - missed} packets did not fit and are not shown", err=True)
            missed = answer["missed"]
        yield from answer["packets"]
        if answer["ended"]:
            return
        if not answer["packets"]:
            time.sleep(_POLL)


def _lines() -> Callable[[Mapping[str, Any]], bool]:
    from vpnrs_trace.decode import decoder

    decode = decoder()

    def show(packet: Mapping[str, Any]) -> bool:
        at = packet["at"]
        stamp = time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.6f}"[1:]
        text = decode(base64.b64decode(packet["data"]))
        more = f" [{comment}]" if (comment := _comment(packet)) else ""
        click.echo(f"{stamp} {packet['direction']:7} {packet['point']:14} {packet['length']:5} {text}{more}")
        return True

    return show


def _capture(file: BinaryIO, who: str, snap: int, most: int) -> Callable[[Mapping[str, Any]], bool]:
    from vpnrs_trace.pcapng import PcapNg

    made = PcapNg(f"vpnrs, {who}", snap)
    size = file.write(made.begin())

    def show(packet: Mapping[str, Any]) -> bool:
        nonlocal size
        block = made.packet(
            packet["at"],
            f"{packet['direction']} {packet['point']}",
            base64.b64decode(packet["data"]),
            packet["length"],
            _comment(packet),
            inbound=packet["direction"] == "ingress",
        )
        if size + len(block) > most:
            click.echo(f"the next packet would make the file larger than {most} bytes", err=True)
            return False
        size += file.write(block)
        file.flush()
        return True

    return show


def _comment(packet: Mapping[str, Any]) -> str:
    parts = []
    if packet["segments"] > 1:
        parts.append(f"super-packet of {packet['segments']} segments")
    if packet["reason"] in ("held", "answered"):
        parts.append(packet["reason"])
    elif packet["reason"]:
        parts.append(f"dropped: {packet['reason']}")
    return ", ".join(parts)
