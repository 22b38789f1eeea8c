"""`vpnrs init` writes what `vpnrs check` and the loader accept; `vpnrs check` finds what is wrong in it."""

from __future__ import annotations

import os
import stat
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.cli.conftest import Vpnrs
from vpnrs_core.config.load import load
from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.quic.identity import pin_of


def test_init_writes_a_pair_that_fits(vpnrs: Vpnrs) -> None:
    ran = vpnrs("init", "pair", "--name", "alice")
    assert ran.code == 0
    assert ran.out.splitlines()[-2:] == ["  vpnrs run pair/server.toml", "  vpnrs run pair/client.toml"]
    server, client = load("pair/server.toml"), load("pair/client.toml")
    assert isinstance(server, ServerConfig)
    assert isinstance(client, ClientConfig)
    assert client.server_pin == pin_of(Path("pair/server.crt").read_bytes())
    assert (server.listen, client.server) == ("0.0.0.0:4433", "127.0.0.1:4433")
    assert server.instance != client.instance
    assert client.auth.method in server.auth.methods
    ula = server.addresses.ipv6
    assert ula is not None
    assert ula.prefixlen == 64
    assert ula.subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]


def test_init_keeps_secrets_to_their_owner(vpnrs: Vpnrs) -> None:
    vpnrs("init", "pair")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("pair").iterdir()}
    assert modes.pop("server.key") == 0o600
    public = {"server.toml", "server.crt", "client.toml"}
    assert {name for name, mode in modes.items() if mode != 0o600} == public


def test_two_inits_share_nothing(vpnrs: Vpnrs) -> None:
    vpnrs("init", "one")
    vpnrs("init", "two")
    one, two = (tomllib.loads(Path(f"{name}/server.toml").read_text()) for name in ("one", "two"))
    assert one["addresses"]["ipv6"] != two["addresses"]["ipv6"]
    assert Path("one/server.key").read_bytes() != Path("two/server.key").read_bytes()


def test_init_takes_what_is_chosen(vpnrs: Vpnrs) -> None:
    ran = vpnrs(
        "init", "pair", "--listen", "[::]:5000", "--server", "vpn.example.org:443", "--ipv4", "none",
        "--ipv6", "fd01::/112", "--instance", "edge",
    )  # fmt: skip
    assert ran.code == 0
    server, client = load("pair/server.toml"), load("pair/client.toml")
    assert isinstance(server, ServerConfig)
    assert isinstance(client, ClientConfig)
    assert (server.listen, client.server) == ("[::]:5000", "vpn.example.org:443")
    assert (server.addresses.ipv4, str(server.addresses.ipv6)) == (None, "fd01::/112")
    assert (server.instance, client.instance) == ("edge", "edge-client")


@pytest.mark.parametrize(
    ("listen", "server"),
    [("[::]:7", "[::1]:7"), ("192.0.2.1:7", "192.0.2.1:7"), ("[2001:db8::1]:7", "[2001:db8::1]:7")],
)
def test_the_client_dials_where_the_server_listens(vpnrs: Vpnrs, listen: str, server: str) -> None:
    vpnrs("init", "pair", "--listen", listen)
    assert tomllib.loads(Path("pair/client.toml").read_text())["server"] == server


def test_init_overwrites_nothing_and_leaves_nothing_half(vpnrs: Vpnrs) -> None:
    Path("pair").mkdir()
    Path("pair/client.toml").write_text("mine")
    ran = vpnrs("init", "pair")
    assert ran == (
        2,
        "",
        "vpnrs: pair: holds client.toml already, and nothing is overwritten; choose another folder\n",
    )
    assert os.listdir("pair") == ["client.toml"]
    assert Path("pair/client.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ipv4", "10.0.0.1/8"], "--ipv4: '10.0.0.1/8' has bits set behind the prefix length; write 10.0.0.0/8"),
        (["--ipv4", "fd00::/64"], "--ipv4: fd00::/64 is IPv6; name it with --ipv6"),
        (
            ["--ipv4", "10.0.0.0/31"],
            "pair/server.toml: [addresses] ipv4 10.0.0.0/31 has no room for a server and a client; use a prefix of "
            "/30 or shorter",
        ),
        (
            ["--ipv4", "none", "--ipv6", "none"],
            "pair/server.toml: [addresses] has neither ipv4 nor ipv6; set at least one, for example "
            'ipv4 = "10.77.0.0/24"',
        ),
        (
            ["--listen", "4433"],
            "--listen: '4433' is not HOST:PORT; write for example 192.0.2.1:4433, vpn.example.org:4433 or "
            "[2001:db8::1]:4433",
        ),
        (["--listen", "vpn.example.org:4433"], "pair/server.toml: listen: 'vpn.example.org:4433' is not an address of "
         "this host; write for example 0.0.0.0:4433 or [::]:4433"),
        (["--server", "vpn:0"],
         "pair/client.toml: server: 'vpn:0' has port 0; name the port that the server listens on"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_one_line_and_writes_nothing(vpnrs: Vpnrs, arguments: list[str], said: str) -> None:
    assert vpnrs("init", "pair", *arguments) == (2, "", f"vpnrs: {said}\n")
    assert not Path("pair").exists()


def test_an_authentication_plugin_that_is_not_there(vpnrs: Vpnrs) -> None:
    ran = vpnrs("init", "pair", "--auth", "oidc")
    assert ran == (
        3,
        "",
        "vpnrs: plugin oidc: choice: named by --auth oidc, but not installed; `pip install vpnrs-oidc`\n",
    )


def test_check_finds_nothing_wrong_in_what_init_wrote(vpnrs: Vpnrs) -> None:
    vpnrs("init", "pair")
    assert vpnrs("check", "pair/server.toml") == (0, "pair/server.toml: a server, nothing is wrong\n", "")
    assert vpnrs("check", "pair/client.toml") == (0, "pair/client.toml: a client, nothing is wrong\n", "")


def test_check_tells_all_that_is_wrong(vpnrs: Vpnrs, tmp_path: Path) -> None:
    vpnrs("init", "pair")
    os.unlink("pair/server.crt")
    ran = vpnrs("check", "pair/server.toml", "--set", "tun.mtu=1500", "-p", "absent", "--set", "plugins.auth_token.x=1")
    where = "error: pair/server.toml: "
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        f"{where}[tun] mtu 1500 needs datagrams of 1544 bytes, [quic] max_udp_payload is 1472; set mtu to at most 1428 "
        "or raise max_udp_payload",
        f"{where}[quic] certificate {tmp_path}/pair/server.crt does not exist; `vpnrs init DIR` writes a certificate "
        "and a key",
        "error: plugin absent: choice: named by -p absent, but not installed; `pip install vpnrs-absent`",
        f"{where}[plugins.auth_token] unknown key x; known are: poll_interval, token, tokens, tokens_inline",
    ]


def test_check_tells_an_address_mistake_once(vpnrs: Vpnrs) -> None:
    vpnrs("init", "pair")
    for mistake in ("addresses.server_ipv4=10.77.0.0", "addresses.ipv4=240.0.0.0/24"):
        ran = vpnrs("check", "pair/server.toml", "--set", mistake)
        assert ran.code == 2
        assert ran.err.count("\n") == 1, ran.err


def test_check_finds_names_that_nothing_registered(vpnrs: Vpnrs, tmp_path: Path) -> None:
    vpnrs("init", "pair")
    ran = vpnrs("check", "pair/server.toml", "--set", "store=redis")
    assert (ran.code, ran.err) == (
        2,
        "error: pair/server.toml: store: there is no store 'redis'; known are: memory; or add the table "
        "[plugins.NAME] of the plugin that has it\n",
    )


def test_a_warning_is_no_failure(vpnrs: Vpnrs, tmp_path: Path) -> None:
    vpnrs("init", "pair")
    os.chmod("pair/server.key", 0o644)
    ran = vpnrs("check", "pair/server.toml")
    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith("warning: pair/server.toml: [quic] key ")


def test_run_refuses_before_anything_starts(vpnrs: Vpnrs, tmp_path: Path) -> None:
    vpnrs("init", "pair")
    os.unlink("pair/server.key")
    ran = vpnrs("run", "pair/server.toml")
    assert ran == (
        2,
        "",
        f"vpnrs: pair/server.toml: [quic] key {tmp_path}/pair/server.key does not exist; `vpnrs init DIR` "
        "writes a certificate and a key\n",
    )
    assert not Path("run").exists()


def test_init_into_no_name_and_into_one_that_is_too_long_is_one_line(vpnrs: Vpnrs) -> None:
    assert vpnrs("init", "") == (2, "", "vpnrs: DIR: is empty; write . for this folder\n")
    ran = vpnrs("init", "x" * 300)
    assert ran.code == 2
    assert ran.err.endswith(": cannot be looked into: File name too long; choose another folder\n")
    assert list(Path().iterdir()) == []


def test_check_knows_the_engines(vpnrs: Vpnrs) -> None:
    vpnrs("init", "pair")
    for config in ("pair/server.toml", "pair/client.toml"):
        ran = vpnrs("check", config, "--set", "quic.engine=nope")
        assert ran.code == 2
        assert f"{config}: [quic] engine: there is no QUIC engine 'nope'; known are: aioquic" in ran.err
        assert vpnrs("check", config, "--set", "quic.engine=aioquic").code == 0
