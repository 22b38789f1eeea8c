"""What the adapter knows about the installed qh3 is true of it."""

import inspect
import re

import pytest
from qh3.quic.connection import QuicConnection
from vpnrs_qh3 import private
from vpnrs_qh3.engine import Qh3Engine, has_aes
from vpnrs_qh3.native import DATAGRAM

from vpnrs_core.errors import PluginError
from vpnrs_core.testkit.wire import Wire


@pytest.fixture
def fresh():
    private.check.cache_clear()
    yield
    private.check.cache_clear()


def test_every_kind_of_event_that_qh3s_wrapper_handles_is_handled():
    source = inspect.getsource(QuicConnection._drain_core)
    wrapper = set(re.findall(r'kind == "(\w+)"', source))
    assert len(wrapper) > 10
    joined = Wire(Qh3Engine(), Qh3Engine()).established()
    assert wrapper == {DATAGRAM, *joined.client.engine._native.kinds}


def test_the_installed_qh3_has_all_names():
    assert private.missing() == []
    assert private.check()


@pytest.mark.parametrize("group", ["CORE", "CONNECTION", "METHODS", "PARAMETERS", "BRIDGE"])
def test_without_a_private_name_public_calls_do(monkeypatch, fresh, group):
    monkeypatch.setattr(private, group, ("_gone",))
    assert len(private.missing()) == 1
    joined = Wire(Qh3Engine(), Qh3Engine()).established()
    assert joined.client.engine.facts()["direct"] == 0
    joined.send(joined.client, [b"still"])
    joined.run(0.1)
    assert joined.server.datagrams == [b"still"]


@pytest.mark.parametrize("other", ["2.0.4", "2.2.0", "3.0"])
def test_another_version_is_refused_in_words(monkeypatch, fresh, other):
    monkeypatch.setattr(private, "version", lambda name: other)
    with pytest.raises(PluginError, match=rf"qh3 {other} .*pip install"):
        Qh3Engine()


def test_no_session_tickets_and_no_early_data():
    joined = Wire(Qh3Engine(), Qh3Engine()).established()
    for side in (joined.client, joined.server):
        tls = side.engine._connection.tls
        assert tls.new_session_ticket_cb is None
        assert not tls.session_resumed
        assert not tls.early_data_accepted


def test_the_cipher_is_aes_where_the_cpu_has_it():
    joined = Wire(Qh3Engine(), Qh3Engine()).established()
    wanted = 0x1301 if has_aes() else 0x1303
    assert joined.client.engine._connection.get_cipher() == wanted
    assert joined.server.engine._connection.get_cipher() == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("processor\t: 0\nflags\t\t: fpu aes avx\n", True),
        ("flags\t\t: fpu sse2 vaes\n", False),
        ("Features\t: fp asimd aes pmull\n", True),
        ("Features\t: fp asimd\n", False),
        ("nothing known", True),
    ],
)
def test_aes_instructions_are_found_in_cpuinfo(text, wanted):
    assert has_aes(text) is wanted
