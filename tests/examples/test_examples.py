"""The example configurations: nothing is wrong with them, and they connect as a pair."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vpnrs_core.config.load import load
from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.plugins.public import private_imports
from vpnrs_core.testkit.fixtures import netns
from vpnrs_core.testkit.netns import Namespace, Topology

__all__ = ["netns"]

EXAMPLES = Path(__file__).parents[2] / "examples"
VPNRS = (sys.executable, "-m", "vpnrs_core")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The examples beside the files that `vpnrs init` makes, as their comments say."""
    made = tmp_path / "made"
    subprocess.run([*VPNRS, "init", str(made), "--name", "alice"], check=True, capture_output=True)
    (made / "alice.token").rename(made / "client.token")
    for name in ("server.toml", "client.toml"):
        shutil.copy(EXAMPLES / name, made / name)
    return made


@pytest.mark.parametrize("name", ["server.toml", "client.toml"])
def test_check_finds_nothing_wrong(folder: Path, name: str) -> None:
    ran = subprocess.run([*VPNRS, "check", name], cwd=folder, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith(", nothing is wrong\n")
    assert "warning" not in ran.stdout


def test_they_show_what_they_promise() -> None:
    server, client = load(EXAMPLES / "server.toml"), load(EXAMPLES / "client.toml")
    assert isinstance(server, ServerConfig)
    assert isinstance(client, ClientConfig)
    assert server.addresses.static
    assert server.session.routes
    assert server.forwarding.enable
    assert client.routes


@pytest.mark.parametrize("project", sorted(EXAMPLES.glob("*/pyproject.toml")), ids=lambda path: path.parent.name)
def test_a_plugin_here_and_its_tests_import_only_public_names(project: Path) -> None:
    assert list(private_imports(project.parent)) == []


@pytest.mark.netns
def test_they_connect(netns: Topology, folder: Path, tmp_path: Path) -> None:
    """client 10.205.1.1 ── 10.205.1.2 server, each with a run directory of its own."""
    client, server = netns.namespace("client"), netns.namespace("server")
    netns.connect(client, server, "10.205.1.0/24")
    pin = subprocess.run(
        [sys.executable, "-c", "import sys; from vpnrs_core.quic.identity import pin_of; "
         "print(pin_of(sys.stdin.buffer.read()))"],
        input=(folder / "server.crt").read_bytes(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip

    def run(where: Namespace, config: str, *more: str) -> None:
        base = f"VPNRS_RUN_DIR={tmp_path}/{config[0]}"
        with (tmp_path / f"{config}.log").open("w") as log:
            where.spawn("env", base, *VPNRS, "run", str(folder / config), *more, stderr=log)

    def wait_for(config: str, word: str) -> None:
        deadline = time.monotonic() + 15
        while word not in (said := (tmp_path / f"{config}.log").read_text()):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    run(server, "server.toml")
    wait_for("server.toml", "instance_started")
    run(client, "client.toml", "--set", "server=10.205.1.2:4433", "--set", f"server_pin={pin}")
    wait_for("client.toml", " connected ")
    addresses = client.run("ip", "-o", "address").stdout
    assert "10.77.0.10/24" in addresses
    assert "fd4d:a7b0:93c1:1::10/64" in addresses
    routes = client.run("ip", "route").stdout + client.run("ip", "-6", "route").stdout
    for prefix in ("192.168.10.0/24", "192.168.20.0/24", "fd4d:a7b0:93c1:2::/64", "fd4d:a7b0:93c1:3::/64"):
        assert f"{prefix} dev vpnrs" in routes
    client.run("ping", "-c1", "-W5", "10.77.0.1")
