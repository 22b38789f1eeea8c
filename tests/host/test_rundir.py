"""The run directory: one instance of a name, and nothing left of it."""

import os
import socket
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vpnrs_core.errors import ConfigError, HostError
from vpnrs_core.host import rundir
from vpnrs_core.host.rundir import RunDir, running_pid


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["default", "a", "0", "a-b_c9", "x" * 32])
def test_good_names(name):
    assert rundir.valid_instance(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a/b", "..", "a.b", "x" * 33, "ä", "a\n"])
def test_bad_names_are_refused(name):
    with pytest.raises(ConfigError, match="instance name"):
        RunDir.claim(name)


def test_the_directory_is_private_and_goes_at_the_end(base):
    with RunDir.claim("one") as claimed:
        assert claimed.path == base / "one"
        assert stat.S_IMODE(claimed.path.stat().st_mode) == 0o751
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(claimed.path / "status"))
    assert list(base.iterdir()) == []


def test_the_group_may_look_in_where_there_is_one(monkeypatch):
    given = []
    monkeypatch.setattr(rundir.grp, "getgrnam", lambda name: {"vpnrs": SimpleNamespace(gr_gid=4711)}[name])
    monkeypatch.setattr(rundir.os, "chown", lambda path, uid, gid: given.append((path.name, uid, gid)))
    RunDir.claim("one").release()
    assert given == [("one", -1, 4711)]


def test_a_second_instance_of_the_name_is_refused_with_the_first_ones_pid():
    with RunDir.claim("one"):
        with pytest.raises(HostError, match=rf"'one' is running already \(pid {os.getpid()}\).*--instance"):
            RunDir.claim("one")
        with RunDir.claim("two"):
            assert running_pid("two") == os.getpid()
        assert running_pid("one") == os.getpid()
        assert running_pid("two") is None


def test_the_name_is_free_after_the_release():
    RunDir.claim("one").release()
    assert running_pid("one") is None
    claimed = RunDir.claim("one")
    claimed.release()
    claimed.release()


def test_a_journal_that_is_left_stays_for_the_next_start(base):
    claimed = RunDir.claim("one")
    claimed.journal.write_text("{}\n")
    (claimed.path / "status").write_text("")
    claimed.release()
    assert [entry.name for entry in (base / "one").iterdir()] == ["journal"]
    with RunDir.claim("one") as claimed:
        assert claimed.journal.exists()
        claimed.journal.unlink()


def test_the_lock_of_a_process_that_was_killed_is_free_and_its_sockets_go(base):
    program = "import sys, os; from vpnrs_core.host.rundir import RunDir; r = RunDir.claim('one');" + (
        "(r.path / 'status').write_text(''); print(os.getpid(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        pid = int(child.stdout.readline())
        assert running_pid("one") == pid
        with pytest.raises(HostError, match=f"pid {pid}"):
            RunDir.claim("one")
        child.kill()
        child.wait()
    assert running_pid("one") is None
    with RunDir.claim("one") as claimed:
        assert sorted(entry.name for entry in claimed.path.iterdir()) == ["lock"]
    assert list(base.iterdir()) == []


def test_a_place_that_is_no_directory_is_refused(base):
    base.write_text("a file")
    with pytest.raises(HostError, match=r"cannot use the run directory .*VPNRS_RUN_DIR"):
        RunDir.claim("one")
