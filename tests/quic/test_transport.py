"""What the transport refuses before it sends anything."""

import pytest

from vpnrs_core.errors import ConfigError, PluginError
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport

PINNED = ServerIdentity(server_pin="sha256:" + "0" * 64)


def transport(identity=PINNED, engines=None, **keys):
    engines = {"aioquic": AioquicEngine()} if engines is None else engines
    return QuicTransport(QuicConfig(**keys), engines, identity)


async def test_without_pin_and_ca_nothing_is_dialled():
    with pytest.raises(ConfigError, match="server_pin"):
        await transport(ServerIdentity()).dial("127.0.0.1:1", ["a"])


async def test_a_ca_file_must_be_one(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        await transport(ServerIdentity(ca=str(tmp_path / "no"))).dial("127.0.0.1:1", ["a"])
    (tmp_path / "ca").write_text("rubbish")
    with pytest.raises(ConfigError, match="not a PEM"):
        await transport(ServerIdentity(ca=str(tmp_path / "ca"))).dial("127.0.0.1:1", ["a"])


async def test_an_engine_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="aioquic"):
        await transport(engine="qh3").dial("127.0.0.1:1", ["a"])
    with pytest.raises(PluginError, match="no QUIC engine"):
        await transport(engines={}).dial("127.0.0.1:1", ["a"])


def test_auto_takes_the_engine_with_the_highest_preference():
    class Faster:
        NAME, PREFERENCE = "faster", 20

    faster = Faster()
    assert transport(engines=lambda: {"aioquic": AioquicEngine(), "faster": faster})._engine() is faster


async def test_a_server_without_its_files_does_not_listen():
    with pytest.raises(ConfigError, match="certificate is missing"):
        await transport().listen("127.0.0.1:0", ["a"], lambda connection: None)


@pytest.mark.parametrize("keys", [{"max_udp_payload": 1199}, {"keepalive": 30}, {"colour": "red"}])
def test_bad_settings_are_refused(keys):
    with pytest.raises(ValueError, match=next(iter(keys))):
        QuicConfig(**keys)
