"""What a person sees of the demo: progress on stderr, results on stdout; live on a terminal, plain lines otherwise."""

from __future__ import annotations

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from vpnrs_core.cli.status_table import show as show_status
from vpnrs_core.cli.words import size
from vpnrs_core.demo.report import DemoReport, DemoStep, Nat64Page
from vpnrs_core.engine.status import InstanceStatus


class Progress:
    """story.Display, its part for both kinds of output: which step runs, and how it ended."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Status | None = None

    def started(self, step: str) -> None:
        if self._console.is_terminal:
            self._live = self._console.status(Text(f"{step} …"))
            self._live.start()

    def finished(self, step: DemoStep) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        mark = Text("  ok  ", "green") if step.ok else Text("failed", "bold red")
        text = f" {step.seconds:5.1f} s  {step.name}" + ("" if step.ok else f": {step.error}")
        self._console.print(Text.assemble(mark, text))

    def measured(self, report: DemoReport) -> None:
        pass

    def status(self, status: InstanceStatus) -> None:
        pass


class Screen(Progress):
    """Progress, the table of results, and both sides' status."""

    def __init__(self) -> None:
        super().__init__()
        self._out = Console(highlight=False)

    def measured(self, report: DemoReport) -> None:
        self._out.print()
        self._out.print(results(report))

    def status(self, status: InstanceStatus) -> None:
        self._out.print()
        self._out.print(Text(f"vpnrs status: the {status.role}", "bold"))
        show_status(status, self._out if self._out.is_terminal else None)

    def ended(self, report: DemoReport) -> None:
        """The last line: whether all of it worked."""
        self._out.print()
        if report.ok:
            text = "All of it worked, and nothing is left: no process, interface, route, namespace or file."
            self._out.print(Text(text, "green"), soft_wrap=True)
            return
        failed = [step.name for step in report.steps if not step.ok]
        self._out.print(Text(f"Not all of it worked: {', '.join(failed)}.", "bold red"), soft_wrap=True)


def results(report: DemoReport) -> Table:
    """What was measured; a dash stands for what was not."""
    table = Table(title="A tunnel between network namespaces", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    ping, tcp = report.ping_ms, report.tcp_mbit
    for what, value in (
        ("handshake, from dialling to a tunnel that is set up", _figure(report.handshake_ms, "ms")),
        ("ping through the tunnel, IPv4", _figure(ping.v4, "ms")),
        ("ping through the tunnel, IPv6", _figure(ping.v6, "ms")),
        ("one TCP stream, client to server", _figure(tcp.up, "Mbit/s")),
        ("one TCP stream, server to client", _figure(tcp.down, "Mbit/s")),
        ("to and from the host behind the server, IPv4 and IPv6", size(report.behind_server_bytes)),
        ("a page from an IPv4-only host to an IPv6-only client, by NAT64", _page(report.nat64)),
    ):
        table.add_row(what, value)
    return table


def _page(page: Nat64Page | None) -> str:
    return "–" if page is None else f"{size(page.bytes)} in {page.ms:g} ms"


def _figure(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:g} {unit}"
