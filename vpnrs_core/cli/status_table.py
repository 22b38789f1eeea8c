"""Renders an instance's status for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vpnrs_core.engine.status import ClientStatus, InstanceStatus, ServerStatus, SessionStatus

_UNBOUNDED = 1000


def show(status: InstanceStatus, console: Console | None = None) -> None:
    """Print the summary, then the sessions."""
    out = console or Console(highlight=False)
    if console is None and not out.is_terminal:
        # A file or a pipe has no width to fit into.
        out = Console(highlight=False, width=_UNBOUNDED)
    out.print(_facts(_summary(status)))
    sessions = _sessions(status)
    if sessions:
        out.print(_session_table(sessions))
    for drops, whose in [(status.drops, "instance"), *((session.drops, session.principal) for session in sessions)]:
        if drops:
            out.print(Text(f"dropped ({whose}): {_counts(drops)}"))
    for plugin in status.plugins:
        if plugin.failures:
            out.print(Text(f"plugin {plugin.name} {plugin.version} failed {plugin.failures} times; the log says how"))


def _summary(status: InstanceStatus) -> list[tuple[str, str]]:
    transport = f"{status.transport} ({status.engine})" if status.engine else status.transport
    rows = [
        (f"{status.role} {status.instance}", f"{status.state}, up {duration(status.uptime_seconds)}, pid {status.pid}"),
        ("version", f"{status.version}, plugins {', '.join(plugin.name for plugin in status.plugins) or 'none'}"),
        ("transport", transport),
    ]
    if status.tun is not None:
        rows.append(("tun", f"{status.tun.name}, MTU {status.tun.mtu}, offloads {_list(status.tun.offloads)}"))
    if status.server is not None:
        rows += _server(status.server)
    if status.client is not None:
        rows += _client(status.client)
    return rows


def _server(server: ServerStatus) -> list[tuple[str, str]]:
    parked = sum(session.state == "parked" for session in server.sessions)
    return [
        ("listens on", server.listen),
        *(("pool", f"{pool.prefix}: {pool.leased} of {pool.leasable} leased") for pool in server.pools),
        ("sessions", f"{len(server.sessions) - parked} active, {parked} parked"),
        *((("door", _counts(server.door)),) if server.door else ()),
    ]


def _client(client: ClientStatus) -> list[tuple[str, str]]:
    rows = [("server", client.server), ("addresses", _list(client.addresses)), ("routes", _list(client.routes))]
    if client.connected_seconds is not None:
        rows.append(("connected for", duration(client.connected_seconds)))
    if client.last_error:
        rows.append(("last error", client.last_error))
    if client.attempts:
        rows.append(("attempts", str(client.attempts)))
    if client.next_try_seconds is not None:
        rows.append(("next try in", duration(client.next_try_seconds)))
    return rows


def _sessions(status: InstanceStatus) -> list[SessionStatus]:
    if status.server is not None:
        return status.server.sessions
    return [status.client.session] if status.client is not None and status.client.session is not None else []


def _session_table(sessions: Iterable[SessionStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "principal",
        "state",
        "addresses",
        "remote",
        "RTT",
        "lane",
        "MTU",
        "ingress",
        "egress",
        "queue",
        "age",
    ):
        table.add_column(title)
    for session in sessions:
        cells = (
            session.principal,
            session.state,
            _list(session.addresses),
            _list(link.remote for link in session.links),
            _list("?" if link.rtt_ms is None else f"{link.rtt_ms:.1f} ms" for link in session.links),
            _list(link.lane for link in session.links),
            str(session.mtu),
            f"{session.ingress.packets} / {size(session.ingress.bytes)}",
            f"{session.egress.packets} / {size(session.egress.bytes)}",
            size(session.queue_bytes),
            duration(session.age_seconds),
        )
        # Text, not markup: a principal's name is not ours to interpret.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    return table


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def size(count: float) -> str:
    """1536 → 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """3700 → 1 h 1 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
