"""The units: systemd reads them without a complaint, and they keep what vpnrs relies on."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vpnrs_core.host.preflight import _NAMES

UNITS = sorted((Path(__file__).parents[2] / "systemd").glob("*.service"))


def unit(path):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(path)
    return parser


@pytest.fixture
def analyze(tmp_path):
    """`systemd-analyze` on a copy of a unit whose command is the one of this interpreter."""
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("systemd-analyze is not installed here")

    def run(path, *arguments):
        copy = tmp_path / path.name.replace("@", "@office")
        installed = Path(sys.executable).with_name("vpnrs")
        copy.write_text(path.read_text().replace("/usr/bin/vpnrs", str(installed)).replace("%i", "office"))
        done = subprocess.run([command, *arguments, str(copy)], capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_has_nothing_against_it(analyze, path):
    assert analyze(path, "verify", "--man=no") == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_little_is_exposed(analyze, path):
    """systemd's own measure: 0 is best, 10 a service without any hardening has 9.6."""
    code, text = analyze(path, "security", "--offline=yes", "--threshold=30", "--no-pager")
    assert code == 0, text


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_the_guard_can_do_its_work_and_no_more_is_allowed_than_is_needed(path):
    service = unit(path)["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "control-group"  # `mixed` would kill the guard with SIGKILL, `process` orphan others
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert service["ProtectKernelTunables"] == "no"
    assert service["User"] == "vpnrs"
    assert set(service["AmbientCapabilities"].split()) <= set(_NAMES.values())
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"]
    assert service["RestartPreventExitStatus"].split() == ["2", "3", "5"]


def test_there_is_one_for_each_role():
    assert [path.name for path in UNITS] == ["vpnrs-client@.service", "vpnrs-server@.service"]
