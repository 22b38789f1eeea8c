"""Renders an instance's status for people: facts, sessions, links, what was dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from vpnrs_core.cli.words import duration, rate, size, sparkline
from vpnrs_core.engine.logs import one_line
from vpnrs_core.engine.status import (
    ClientStatus,
    InstanceStatus,
    LinkStatus,
    ServerStatus,
    SessionStatus,
    SummaryStatus,
    Traffic,
)

_UNBOUNDED = 1000


Status = InstanceStatus | SummaryStatus


def parsed(answer: Mapping[str, Any]) -> Status:
    """The JSON of either."""
    return InstanceStatus.model_validate(answer) if "pid" in answer else SummaryStatus.model_validate(answer)


def show(status: Status, console: Console | None = None) -> None:
    """Print it once."""
    out = console or Console(highlight=False)
    if console is None and not out.is_terminal:
        # A file or a pipe has no width to fit into.
        out = Console(highlight=False, width=_UNBOUNDED)
    out.print(render(status))


@contextmanager
def live() -> Iterator[Callable[[Status], None]]:
    """A function that shows a status in place of the one before; one below the other where that cannot be."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield show
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as screen:
        yield lambda status: screen.update(render(status), refresh=True)


def render(status: Status) -> RenderableType:
    """Facts, sessions, links, drops and failures, one below the other."""
    if isinstance(status, SummaryStatus):
        return _summary(status)
    parts: list[RenderableType] = [_grid(_facts(status))]
    sessions = _sessions(status)
    if sessions:
        parts.append(_Sessions(sessions))
    for drops, whose in [(status.drops, "instance"), *((session.drops, session.principal) for session in sessions)]:
        if drops:
            parts.append(_text(f"dropped ({whose}): {_counts(drops)}"))
    for plugin in status.plugins:
        if plugin.failures:
            parts.append(
                _text(f"plugin {plugin.name} {plugin.version} failed {plugin.failures} times; the log says how")
            )
        if plugin.slow:
            parts.append(
                _text(f"plugin {plugin.name} {plugin.version} kept all waiting {plugin.slow} times; the log says where")
            )
    return Group(*parts)


def _summary(status: SummaryStatus) -> RenderableType:
    rows = [
        (f"{status.role} {status.instance}", f"{status.state}, up {duration(status.uptime_seconds)}"),
        ("version", status.version),
        ("sessions", str(status.sessions)),
        *_traffic(status.ingress, status.egress),
        ("dropped", f"{status.dropped} packets"),
    ]
    return Group(_grid(rows), Text("this is what everybody may see; root and members of the group vpnrs see all"))


def _facts(status: InstanceStatus) -> list[tuple[str, str]]:
    transport = f"{status.transport} ({status.engine})" if status.engine else status.transport
    memory = f", {size(status.memory_bytes)}" if status.memory_bytes else ""
    rows = [
        (
            f"{status.role} {status.instance}",
            f"{status.state}, up {duration(status.uptime_seconds)}, pid {status.pid}{memory}",
        ),
        ("version", f"{status.version}, plugins {', '.join(plugin.name for plugin in status.plugins) or 'none'}"),
        ("transport", transport),
    ]
    if status.tun is not None:
        rows.append(("tun", f"{status.tun.name}, MTU {status.tun.mtu}, offloads {_list(status.tun.offloads)}"))
    if status.server is not None:
        rows += _server(status.server)
    if status.client is not None:
        rows += _client(status.client)
    rows += _traffic(status.ingress, status.egress)
    if status.reconnects or status.migrations:
        rows.append(("reconnects", f"{status.reconnects}, changes of the path {status.migrations}"))
    return rows


def _traffic(ingress: Traffic, egress: Traffic) -> list[tuple[str, str]]:
    return [("ingress", _moved(ingress)), ("egress", _moved(egress))]


def _moved(traffic: Traffic) -> str:
    total = f"{rate(traffic.bytes_per_second)}, {size(traffic.bytes)} in {traffic.packets} packets"
    return f"{total} {sparkline(traffic.history)}".rstrip()


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


class _Sessions:
    """A line each for sessions and links, where the terminal is wide enough for every cell; else a block each, in
    which nothing is cut off."""

    def __init__(self, sessions: Sequence[SessionStatus]) -> None:
        self._sessions = sessions

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        links = [(session.principal, *_link(link)) for session in self._sessions for link in session.links]
        tables = [_table(_SESSION, map(_session, self._sessions)), *([_table(_LINK, links)] if links else [])]
        unbounded = options.update(max_width=_UNBOUNDED)
        if all(Measurement.get(console, unbounded, table).maximum <= options.max_width for table in tables):
            yield from tables
            return
        for session in self._sessions:
            yield _block(_SESSION, _session(session))
            for link in session.links:
                yield _block(_LINK, (session.principal, *_link(link)))


_SESSION = (
    "principal", "state", "addresses", "MTU", "ingress", "egress", "in / out", "queue", "drops", "age", "ends",
)  # fmt: skip
_LINK = (
    "link of", "remote", "transport", "RTT", "loss", "window", "control", "datagram", "codecs", "handshake", "age",
    "moved",
)  # fmt: skip


def _session(session: SessionStatus) -> Iterator[str]:
    yield session.principal
    yield session.state
    yield _list(session.addresses)
    yield str(session.mtu)
    for traffic in (session.ingress, session.egress):
        yield f"{rate(traffic.bytes_per_second)} {sparkline(traffic.history, 10)}".rstrip()
    yield f"{size(session.ingress.bytes)} / {size(session.egress.bytes)}"
    yield size(session.queue_bytes)
    yield str(sum(session.drops.values()))
    yield duration(session.age_seconds)
    yield "never" if session.expires_seconds is None else f"in {duration(session.expires_seconds)}"


def _link(link: LinkStatus) -> Iterator[str]:
    yield link.remote
    yield f"{link.transport}/{link.engine or '?'}/{link.lane}"
    variation = "" if link.rtt_variation_ms is None else f" ± {link.rtt_variation_ms:.1f}"
    yield "?" if link.rtt_ms is None else f"{link.rtt_ms:.1f}{variation} ms"
    yield "?" if link.loss is None else f"{link.loss:.2%}"
    yield "?" if link.congestion_window is None else size(link.congestion_window)
    yield link.congestion_controller or "?"
    yield "?" if link.datagram_size is None else f"{link.datagram_size} B"
    yield _list(link.codecs)
    yield "?" if link.handshake_ms is None else f"{link.handshake_ms:.0f} ms"
    yield duration(link.age_seconds)
    yield str(link.migrations)


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _block(titles: Iterable[str], cells: Iterable[str]) -> RenderableType:
    (first, name), *rows = zip(titles, cells, strict=True)
    return Group(_text(f"{first} {name}"), _grid((f"  {title}", cell) for title, cell in rows))


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: str) -> Text:
    """Neither markup nor terminal sequences: what a principal is called, or a server says, is not ours to carry out."""
    return Text(one_line(cell))


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
