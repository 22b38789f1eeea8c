"""`vpnrs stop`: asks a running instance to stop, and waits until it has gone."""

from __future__ import annotations

import click

from vpnrs_core.engine.local_client import LocalClient, choose_instance, wait_until_gone
from vpnrs_core.errors import NotRunning, PeerError

# A day. Neither a wait without end nor `nan`, which no range leaves out, is a number of seconds to wait.
_LONGEST = 86_400.0


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if value != value:
        raise click.BadParameter("nan is not a number of seconds")
    return value


@click.command()
@click.option("--instance", "name", metavar="NAME", help="Which instance; default: `default`, or the only one running.")
@click.option(
    "--timeout",
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=_LONGEST),
    callback=_seconds,
    help="How long to wait.",
)
def stop(name: str | None, timeout: float) -> None:
    """Stop a running instance: sessions are told, host changes undone. Of one that has crashed, what it left behind is
    undone, a kill switch included.

    Exit codes: 0 it has gone, 4 not allowed, 6 it has not gone in time, 7 not running."""
    instance = choose_instance(name)
    try:
        with LocalClient(instance, "control", timeout=max(timeout, 1.0)) as client:
            pid = client.call("core.stop")["pid"]
    except NotRunning:
        from vpnrs_core.host.leftovers import clear  # it is heavy, and rarely needed

        if undone := clear(instance):
            click.echo(f"instance {instance} did not run; undone what it had left: {'; '.join(undone)}")
            return
        raise
    if not wait_until_gone(instance, timeout):
        raise PeerError(
            f"instance {instance!r} (pid {pid}) has not stopped in {timeout:g} s; wait longer with --timeout, or look "
            "into its log"
        )
    click.echo(f"instance {instance} has stopped")
