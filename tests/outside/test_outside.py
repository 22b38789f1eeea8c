"""From wheels alone, in a fresh environment: the core runs, plugins written by others run, a newcomer's path works."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.outside.conftest import ROOT, Outside
from vpnrs_core.testkit.fixtures import netns
from vpnrs_core.testkit.netns import Namespace, Topology

__all__ = ["netns"]

# One after the other, in one worker: they share an environment, which grows.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("outside")]
SERVICE = """
import http.server, json, sys

class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = question["token"] == "a token of alice"
        body = json.dumps({"principal": "alice"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer(("127.0.0.1", 8080), Service).serve_forever()
"""


def test_the_core_and_one_plugin_are_enough_to_run(outside: Outside) -> None:
    outside.run("pip install -q wheels/vpnrs_core-*.whl wheels/vpnrs_auth_token-*.whl")
    where = outside.run("python -c 'import vpnrs_core; print(vpnrs_core.__file__)'")
    assert str(outside.base) in where
    assert str(ROOT) not in outside.run("python -c 'import sys; print(sys.path)'")
    # What only tests need is not there, and not missed.
    assert "No module named 'pytest'" in outside.run("python -c 'import pytest'", check=False)
    outside.run("vpnrs init pair --server 203.0.113.7:4433")
    assert "nothing is wrong" in outside.run("vpnrs check pair/server.toml")
    assert "auth_token" in outside.run("vpnrs plugins list")
    said = outside.run("vpnrs plugins check auth_token")
    assert "skipped  contract       pytest is not installed; `pip install 'vpnrs-core[testkit]'`" in said
    assert outside.run("vpnrs plugins new early --kind service").startswith("wrote ")


@pytest.mark.netns
def test_a_tunnel_with_the_examples(outside: Outside, netns: Topology) -> None:
    """client 10.206.1.1 ── 10.206.1.2 server, which asks a web service on its loopback."""
    outside.run("pip install -q wheels/vpnrs_core-*.whl wheels/*.whl")
    client, server = netns.namespace("client"), netns.namespace("server")
    netns.connect(client, server, "10.206.1.0/24")
    outside.run("vpnrs init tunnel --server 10.206.1.2:4433")
    folder = outside.base / "tunnel"
    (folder / "service.py").write_text(SERVICE)
    (folder / "alice.token").write_text("a token of alice\n")
    changed(folder / "server.toml", '"token"', '"webhook"', 'url = "http://127.0.0.1:8080/"')
    with (folder / "server.toml").open("a") as file:
        file.write("\n[plugins.quota.principals.alice]\nbytes = 20000\ndown = 10000000\n")
    changed(folder / "client.toml", '"token"', '"webhook"', 'token = { file = "alice.token" }')
    run(outside, server, "python", "service.py")
    run(outside, server, "vpnrs", "run", "server.toml")
    wait_for(folder / "server.log", "instance_started")
    run(outside, client, "vpnrs", "run", "client.toml", run_dir="c")
    wait_for(folder / "client.log", " connected ")
    client.run("ping", "-c2", "-i0.1", "-W5", "10.77.0.1")
    shown = outside.run("VPNRS_RUN_DIR=$PWD/s vpnrs quota show", folder)
    assert re.match(r"alice  \d+ used, \d+ left\n", shown)
    client.run("ping", "-c30", "-i0.01", "-W1", "-s1000", "10.77.0.1", check=False)
    wait_for(folder / "client.log", "the server refused: policy")
    assert (
        "has used up 20000 bytes" in (folder / "server.log").read_text()
        or "session_closed" in (folder / "server.log").read_text()
    )
    assert "alice  20000 used, 0 left" in outside.run("VPNRS_RUN_DIR=$PWD/s vpnrs quota show", folder)


def changed(file: Path, old: str, new: str, line: str) -> None:
    """Another method of authentication, with its plugin's table in the place of auth_token's."""
    text = file.read_text().replace(old, new)
    head = text.partition("[plugins.auth_token]")[0]
    file.write_text(f"{head}[plugins.webhook_auth]\n{line}\n")


def run(outside: Outside, where: Namespace, program: str, *arguments: str, run_dir: str = "s") -> None:
    folder = outside.base / "tunnel"
    log = (folder / f"{'service' if program == 'python' else arguments[-1].partition('.')[0]}.log").open("w")
    with log:
        where.spawn(
            "env", "-C", str(folder), f"VPNRS_RUN_DIR={folder}/{run_dir}", str(outside.bin / program), *arguments,
            stdout=log, stderr=log, env=outside.environment,
        )  # fmt: skip


def wait_for(file: Path, word: str) -> None:
    deadline = time.monotonic() + 30
    while word not in (said := file.read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


# docs/tutorial.md


def steps() -> list[tuple[str, str, str]]:
    """(language, title, content) of each block, in order."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    return re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', text, re.M | re.S)


def test_the_tutorial_works_as_it_is_written(outside: Outside) -> None:
    """Commands are typed, files are written, and what is said to be printed is."""
    outside.give_what_wheels_require("testkit")
    outside.run('pip install -q "$(echo wheels/vpnrs_core-*.whl)[testkit]" wheels/vpnrs_auth_token-*.whl')
    base = outside.base / "tutorial"
    base.mkdir()
    where, printed = base, ""
    for language, title, content in steps():
        if language == "sh":
            assert not title
            for command in commands(content):
                if command.startswith("cd "):
                    where = base / command[3:]
                else:
                    printed = outside.run(
                        command.replace("/tmp/", f"{base}/"), where, check="check pair" not in command
                    )
        elif language == "text":
            for line in filter(None, content.splitlines()):
                assert line == "…" or line in printed, printed
        else:
            (where / title).write_text(content)
    assert (where / "dist").is_dir()
    assert "geocount " in outside.run("vpnrs plugins list")
    outside.run("pip uninstall -q -y vpnrs-geocount")
    assert "geocount " not in outside.run("vpnrs plugins list")
    assert "there is no command 'geocount'" in outside.run("vpnrs geocount --help", check=False)


def commands(block: str) -> list[str]:
    """Its lines, a here-document with the line that begins it."""
    found: list[str] = []
    inside = False
    for line in block.splitlines():
        if inside:
            found[-1] += f"\n{line}"
            inside = line != "END"
        elif line:
            found.append(line)
            inside = "<<'END'" in line
    return found
