"""Who may ask a running instance, and who may stop it.

server                                Asked by root and by the user `nobody`, with and without the group `vpnrs`.
"""

import json
import os
import subprocess
import sys

import pytest

NOBODY = 65_534


@pytest.fixture
def server(tunnel):
    net = tunnel(clients=1)
    net.directory.chmod(0o755)
    net.start_server()
    return net


# The interpreter's own files may be closed to that user: everything is imported before root is given up.
PROGRAM = """
import os, sys
import vpnrs_core.cli.log, vpnrs_core.cli.status, vpnrs_core.cli.status_table, vpnrs_core.cli.stop
from vpnrs_core.cli import main
user, groups = int(sys.argv[1]), [int(group) for group in sys.argv[2].split(",") if group]
os.setgroups(groups)
os.setresgid(user, user, user)
os.setresuid(user, user, user)
main(sys.argv[3:])
"""


def as_nobody(net, *arguments, group=""):
    """The command as the user nobody, in this further group."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(NOBODY), group, *arguments, "--instance", net.server.name],
        env={**os.environ, "VPNRS_RUN_DIR": str(net.run_dir)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_stranger_gets_a_summary_and_may_not_stop(server):
    asked = as_nobody(server, "status", "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert (told["role"], told["state"], told["sessions"]) == ("server", "listening", 0)
    assert not {"pid", "server", "tun", "plugins"} & set(told)
    assert "members of the group vpnrs see all" in as_nobody(server, "status").stdout
    changed = as_nobody(server, "log", "--level", "debug")
    assert changed.returncode == 4
    stopped = as_nobody(server, "stop")
    assert stopped.returncode == 4
    assert "no permission" in stopped.stderr
    assert "Traceback" not in asked.stderr + stopped.stderr
    assert server.server.status()["state"] == "listening"


def test_a_member_of_the_group_may_ask_but_not_stop(server):
    """The group's number is given to the sockets here, as the start does where a group `vpnrs` exists."""
    members = 64_123
    place = server.run_dir / server.server.name
    os.chown(place / "status", -1, members)
    asked = as_nobody(server, "status", "--json", group=str(members))
    assert asked.returncode == 0, asked.stderr
    assert '"state": "listening"' in asked.stdout
    stopped = as_nobody(server, "stop", group=str(members))
    assert stopped.returncode == 4
    assert "no permission" in stopped.stderr
    assert server.server.status()["state"] == "listening"


def test_modes_of_the_sockets(server):
    place = server.run_dir / server.server.name
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in place.iterdir() if path.is_socket()}
    assert modes == {"status": "0o660", "control": "0o600", "summary": "0o666"}
    # Others pass through to the summary, and can neither list nor read anything else.
    assert oct(place.stat().st_mode & 0o777) == "0o751"
    assert all(path.stat().st_mode & 0o007 == 0 for path in place.iterdir() if path.name != "summary")
