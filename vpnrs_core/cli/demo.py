"""`vpnrs demo`: shows a tunnel with real traffic in network namespaces, and that nothing is left of it."""

from __future__ import annotations

import sys

import click

FAILED = 1


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, schema in docs/demo.md; progress on stderr.")
def demo(as_json: bool) -> None:
    """Run a server, a client and a host behind the server in network namespaces, with real traffic between them.

    Takes a quarter of a minute, needs root, and leaves nothing behind. Exit codes: 0 all of it worked, 1 something did
    not, 4 this host lacks something, 128 + N ended by signal N."""
    from vpnrs_core.demo.interrupts import Interrupts
    from vpnrs_core.demo.report import DemoReport, DemoStep
    from vpnrs_core.demo.requirements import require
    from vpnrs_core.demo.show import Progress, Screen
    from vpnrs_core.demo.story import Demo
    from vpnrs_core.errors import HostError

    try:
        require()
    except HostError as error:
        if as_json:
            step = DemoStep(name="what this host must have", ok=False, seconds=0.0, error=str(error))
            click.echo(DemoReport(steps=[step]).to_json())
        raise
    display = Progress() if as_json else Screen()
    with Interrupts() as interrupts:
        report = Demo(display, interrupts).run()
    if isinstance(display, Screen):
        display.ended(report)
    else:
        click.echo(report.to_json())
    if interrupts.received:
        sys.exit(128 + interrupts.received)
    sys.exit(0 if report.ok else FAILED)
