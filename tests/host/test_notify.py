"""What systemd is told."""

import secrets
import socket

import pytest

from vpnrs_core.host.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path, monkeypatch):
    name = str(tmp_path / "notify") if request.param == "path" else f"@vpnrs-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield end


def test_each_step_is_one_datagram(listener):
    notifier = Notifier()
    assert notifier.ready("listening on\n[::]:4433")
    assert listener.recv(4096) == b"READY=1\nSTATUS=listening on [::]:4433"
    assert notifier.status("2 sessions")
    assert listener.recv(4096) == b"STATUS=2 sessions"
    assert notifier.stopping()
    assert listener.recv(4096) == b"STOPPING=1"


def test_nobody_listening_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not Notifier().ready()
    assert not Notifier(str(tmp_path / "nobody")).ready()
    assert not Notifier("@nobody-" + secrets.token_hex(8)).stopping()
