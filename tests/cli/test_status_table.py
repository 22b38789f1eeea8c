"""What `vpnrs status` shows people, on terminals of every width, and whatever a name or an error holds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.test_status_and_stop import SERVER, SESSION, Instance, instance, status_of
from vpnrs_core.cli.status_table import show
from vpnrs_core.engine.status import ClientStatus, InstanceStatus

__all__ = ["instance"]


def shown(status: InstanceStatus, width: int) -> str:
    file = io.StringIO()
    show(status, Console(file=file, width=width, highlight=False))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 119])
def test_a_narrow_terminal_cuts_nothing_off(width: int) -> None:
    text = shown(SERVER, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for line in (
        "addresses  10.77.0.2",
        "ingress    12.3 kbit/s ▁▅█",
        "transport  quic/aioquic/datagram",
        "age        1 min 5 s",
    ):
        assert line in text


def test_a_wide_one_has_a_line_for_each_session_and_link() -> None:
    assert len(shown(SERVER, 200).splitlines()) == 9 + 2 + 2 + 3


def test_a_long_name_is_there_to_its_end() -> None:
    name = "".join(f"{number:04}" for number in range(250))
    session = SESSION.model_copy(update={"principal": name})
    assert SERVER.server is not None
    text = shown(SERVER.model_copy(update={"server": SERVER.server.model_copy(update={"sessions": [session]})}), 60)
    assert name in text.replace("\n", "")


def test_neither_a_name_nor_an_error_reaches_the_terminal_as_a_command() -> None:
    error = "refused: \x1b]0;owned\x07\x1b[2J\nserver default  listening"
    client = ClientStatus(
        server="vpn:4433", last_error=error, session=SESSION.model_copy(update={"principal": "eve\x1b[31m\u202e"})
    )
    for width in (40, 80, 1000):
        text = shown(status_of("client", "waiting", client=client), width)
        assert all(c.isprintable() or c == "\n" for c in text)
        assert not any(line.startswith("server default") for line in text.splitlines())


def test_a_terminal_without_bars_is_no_reason_to_fail(instance: Callable[..., Instance]) -> None:
    instance(SERVER)
    command = [str(Path(sys.executable).with_name("vpnrs")), "status"]
    ran = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "12.3 kbit/s ???" in ran.stdout
