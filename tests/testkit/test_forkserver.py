"""`vpnrs` as a fork: a process like any other, in the namespaces and the environment that were asked for."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.forkserver import fork_server

pytestmark = pytest.mark.netns


@pytest.fixture
def output(tmp_path):
    with (tmp_path / "output").open("w+b") as file:
        yield file


def test_output_and_exit_code_are_the_commands(netns, output):
    child = netns.namespace("a").fork_vpnrs("run", "/none.toml", output=output, env=os.environ)
    assert child.wait(10) == 2
    output.seek(0)
    assert output.read().startswith(b"vpnrs: /none.toml: no such file")


def test_it_lives_in_the_namespace_and_holds_none_of_this_processs_pipes(tunnel):
    instance = tunnel().up().client
    pid = instance.pid
    assert os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(f"/run/netns/{instance.namespace.name}").st_ino
    assert os.stat(f"/proc/{pid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    assert not pipes_of(pid) & pipes_of("self")


def pipes_of(pid):
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return {target for target in found if target.startswith("pipe:")}


def test_it_is_a_child_of_this_process_and_takes_signals(tunnel):
    instance = tunnel().up().client
    assert f"\nPPid:\t{os.getpid()}\n" in Path(f"/proc/{instance.pid}/status").read_text()
    with pytest.raises(subprocess.TimeoutExpired):
        instance.process.wait(0.05)
    instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(15) == 0 == instance.process.poll()
    instance.process.send_signal(signal.SIGTERM)  # nobody is hit


def test_what_cannot_be_entered_is_an_error(output):
    child = subprocess.Popen(["sleep", "100"])
    child.kill()
    while child.poll() is None:
        pass
    with pytest.raises((HostError, ProcessLookupError)):
        fork_server().start(["run", "x"], child.pid, output.fileno(), os.environ)
