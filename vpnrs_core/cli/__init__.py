"""The command `vpnrs`: commands are thin, and errors become one line and an exit code here, nowhere else."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from vpnrs_core import __version__
from vpnrs_core.cli.lazy import LazyCommand, LazyGroup
from vpnrs_core.errors import VpnrsError

DEBUG_VARIABLE = "VPNRS_DEBUG"
_INTERRUPTED = 130


@click.group(
    cls=LazyGroup,
    plugins=True,
    lazy={
        "init": LazyCommand("vpnrs_core.cli.init:init", "Write a server's and a client's configuration that connect."),
        "run": LazyCommand("vpnrs_core.cli.run:run", "Run the server or client that a configuration describes."),
        "demo": LazyCommand("vpnrs_core.cli.demo:demo", "Show a tunnel with real traffic in network namespaces."),
        "check": LazyCommand("vpnrs_core.cli.check:check", "Say what is wrong with a configuration, without starting."),
        "doctor": LazyCommand("vpnrs_core.cli.doctor:doctor", "Say what this host lacks, and what mends it."),
        "status": LazyCommand("vpnrs_core.cli.status:status", "Show what a running instance does."),
        "log": LazyCommand("vpnrs_core.cli.log:log", "Change what a running instance logs, and how."),
        "reload": LazyCommand("vpnrs_core.cli.reload:reload", "Have a running instance read its configuration anew."),
        "stop": LazyCommand("vpnrs_core.cli.stop:stop", "Stop a running instance."),
        "plugins": LazyCommand("vpnrs_core.cli.plugins:plugins", "List plugins, begin one, check one."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="vpnrs", message="%(prog)s %(version)s")
def cli() -> None:
    """An IP-over-QUIC VPN: a small core, everything else a plugin."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit. With VPNRS_DEBUG=1, errors are shown with their traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no bars shows question marks; it is no reason to fail.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        _main(arguments)
    except SystemExit as ended:
        ending = sys.modules.get("vpnrs_core.engine.ending")  # only `vpnrs run` has imported it
        if ending is not None and ending.abandoned:
            ending.leave(ended.code if isinstance(ended.code, int) else 0)
        raise


def _main(arguments: Sequence[str] | None) -> None:
    try:
        code = cli.main(args=arguments, prog_name="vpnrs", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code, error)
    except VpnrsError as error:
        _fail(str(error), error.exit_code, error)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has gone; nothing more can be said to it, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; {DEBUG_VARIABLE}=1 shows where"
        _fail(text, 1, error)


def _fail(text: str, code: int, error: BaseException) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        traceback.print_exception(error)
    from vpnrs_core.engine.logs import one_line

    for line in text.splitlines() or [""]:
        click.echo(f"vpnrs: {one_line(line)}", err=True)
    sys.exit(code)
