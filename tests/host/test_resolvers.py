"""Debian's three resolvers themselves take a tunnel's servers and give them up again, also after a SIGKILL.

Each is unpacked by `make test`, not installed, and runs in namespaces of its own (resolver_host.sh)."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
HERE = Path(__file__).parent
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")


def asked(kind):
    """What resolver_driver.py found."""
    root = Path(sys.prefix, "resolvers", kind.removesuffix("-beside-its-file"))
    if not root.is_dir():
        pytest.skip(f"Debian's {kind} is not unpacked here: 'make test' does it on Debian")
    if kind == "systemd-resolved" and shutil.which("dbus-daemon") is None:
        pytest.skip("systemd-resolved needs dbus-daemon")
    host = ("sh", str(HERE / "resolver_host.sh"), kind, str(root))
    command = (*NAMESPACES, *host, sys.executable, str(HERE / "resolver_driver.py"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["after"] == found["before"]
    assert found["killed"]
    return found


def servers(text):
    return re.findall(r"^nameserver (\S+)", text, re.MULTILINE)


def test_openresolv_asks_the_tunnels_servers_alone():
    found = asked("openresolv")
    assert servers(found["before"]) == ["192.0.2.53"]
    assert servers(found["first"]) == ["10.77.0.1"]
    assert servers(found["second"]) == ["10.77.0.1", "fd77::1"]
    assert "for all names, not for corp.example alone" in found["warning"]


def test_debians_resolvconf_asks_them_first():
    found = asked("resolvconf")
    assert servers(found["before"]) == ["192.0.2.53"]
    assert servers(found["first"]) == ["10.77.0.1", "192.0.2.53"]
    assert servers(found["second"]) == ["10.77.0.1", "fd77::1", "192.0.2.53"]


def test_where_the_file_is_not_resolvconfs_own_it_is_written_itself():
    found = asked("resolvconf-beside-its-file")
    assert servers(found["before"]) == ["192.0.2.53"]
    assert servers(found["first"]) == ["10.77.0.1"]
    assert servers(found["second"]) == ["10.77.0.1", "fd77::1"]


def test_systemd_resolved_asks_them_for_their_domains():
    found = asked("systemd-resolved")
    assert "DNS Servers" not in found["before"]
    assert re.search(r"DNS Servers: 10\.77\.0\.1\n +DNS Domain: ~corp\.example\n", found["first"])
    assert "-DefaultRoute" in found["first"]
    assert re.search(r"DNS Servers: 10\.77\.0\.1 fd77::1\n +DNS Domain: ~\.\n", found["second"])
    assert "+DefaultRoute" in found["second"]
    assert found["warning"] == ""
