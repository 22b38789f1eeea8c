"""Loading a configuration: defaults, overrides, and the exact words for each mistake."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, ip_network
from pathlib import Path

import pytest

from vpnrs_core.config.load import load
from vpnrs_core.config.models import ClientConfig, Configuration, ServerConfig
from vpnrs_core.errors import ConfigError

PIN = "sha256:" + "ab" * 32
CLIENT = f'role = "client"\nserver_pin = "{PIN}"\n'
SERVER = 'role = "server"\n'


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str, *overrides: str) -> Configuration:
    Path("vpn.toml").write_text(text)
    return load("vpn.toml", overrides)


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, *overrides)
    return str(caught.value)


def test_a_file_without_end_is_refused_instead_of_read() -> None:
    with pytest.raises(ConfigError, match=r"^/dev/zero: is longer than 1 MiB"):
        load("/dev/zero")


def test_a_byte_order_mark_is_no_mistake() -> None:
    Path("vpn.toml").write_bytes(b"\xef\xbb\xbf" + SERVER.encode())
    assert isinstance(load("vpn.toml"), ServerConfig)


def test_values_nested_beyond_reason_are_one_line() -> None:
    assert error_of("a = " + "[" * 50_000) == "vpn.toml: is not a configuration: its values are nested too deeply"


@pytest.mark.parametrize("name", ["a/b", "a b", "..", "x:1", "a%db%d", "tun-ü", "", "a" * 16, "a" * 14 + "%d"])
def test_a_name_that_no_interface_can_have_is_told_before_the_start(name: str) -> None:
    assert error_of(SERVER, f"tun.name='{name}'").startswith(f"vpn.toml: [tun] name: TUN name {name!r}: an interface")


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [("ipv6", "fd00::%lo/64", "fd00::/64"), ("server_ipv6", "fd00::1%lo", "fd00::1")],
)
def test_a_zone_has_no_place_in_a_tunnel(key: str, value: str, meant: str) -> None:
    said = error_of(SERVER, "addresses.ipv6=fd00::/64", f"addresses.{key}={value}")
    assert said.startswith(f"vpn.toml: [addresses] {key}: {value!r} has a zone (%)")
    assert said.endswith(f"write {meant}")


def test_a_server_needs_only_its_role() -> None:
    server = loaded(SERVER)
    assert isinstance(server, ServerConfig)
    assert (server.listen, server.transport, server.tun.mtu, server.session.isolation) == (
        "0.0.0.0:4433",
        "quic",
        "auto",
        True,
    )
    assert server.addresses.ipv4 is None


def test_every_table_of_a_server_is_read() -> None:
    server = loaded(
        """
        role = "server"
        instance = "edge-1"
        listen = "[::]:443"
        [addresses]
        ipv4 = "10.9.0.0/24"
        ipv6 = "fd00:9::/64"
        server_ipv6 = "fd00:9::5"
        static = { alice = ["10.9.0.7", "fd00:9::7"] }
        [session]
        routes = ["192.168.0.0/16"]
        dns = ["10.9.0.1"]
        [forwarding]
        enable = true
        [plugins.auth_token]
        file = "tokens"
        """
    )
    assert isinstance(server, ServerConfig)
    assert server.addresses.ipv4 == IPv4Network("10.9.0.0/24")
    assert server.addresses.static["alice"][1] == IPv6Address("fd00:9::7")
    assert server.session.routes == (ip_network("192.168.0.0/16"),)
    assert server.forwarding.enable
    assert server.plugins == {"auth_token": {"file": "tokens"}}


def test_every_field_has_a_default_and_a_description() -> None:
    def visit(model: type[ServerConfig] | type[ClientConfig]) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert not field.is_required(), f"{model.__name__}.{name}"
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                visit(inner)

    visit(ServerConfig)
    visit(ClientConfig)


def test_paths_belong_to_the_folder_of_the_file(tmp_path: Path) -> None:
    configuration = loaded(SERVER)
    assert configuration.source == tmp_path / "vpn.toml"
    assert configuration.path("server.key") == tmp_path / "server.key"
    assert configuration.path("/etc/key") == Path("/etc/key")


def test_overrides_take_toml_values_and_else_strings() -> None:
    server = loaded(
        SERVER,
        "tun.mtu=1300",
        "listen=127.0.0.1:5000",
        'plugins."x.y".list=[1, 2]',
        "addresses.ipv4=none",
        "tun.name=a=b",
    )
    assert isinstance(server, ServerConfig)
    assert (server.tun.mtu, server.listen, server.tun.name) == (1300, "127.0.0.1:5000", "a=b")
    assert server.plugins == {"x.y": {"list": [1, 2]}}


@pytest.mark.parametrize("override", ["tun.mtu", "=3", "tun..mtu=3", "a b=3"])
def test_an_override_that_is_none_is_refused(override: str) -> None:
    assert error_of(SERVER, override) == f"--set {override}: is not KEY=VALUE; write for example --set tun.mtu=1400"


def test_an_override_below_a_value_is_refused() -> None:
    assert error_of(SERVER, "role.x=1") == "--set role.x=1: role is a value, not a table"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lissten = 3", "vpn.toml: unknown key lissten; did you mean listen?"),
        ("mtu = 1300", "vpn.toml: unknown key mtu; it belongs to [tun]"),
        ("[addresses]\nipvv4 = 1", "vpn.toml: [addresses] unknown key ipvv4; did you mean ipv4?"),
        ("[tun]\nx = 1", "vpn.toml: [tun] unknown key x; known are: mtu, mtu_raise_interval, name, offload"),
        ("[quic]\nengin = 1", "vpn.toml: [quic] unknown key engin; did you mean engine?"),
        (
            "[tun]\nmtu = 100",
            'vpn.toml: [tun] mtu: 100 is neither "auto" nor a number of bytes from 576 to 65000',
        ),
        ("tun = 3", "vpn.toml: [tun] should be a table, is 3"),
        (
            '[addresses.static]\nalice = "10.0.0.7"',
            'vpn.toml: [addresses] static.alice: should be an array, ["…", "…"]. '
            "Addresses kept for one principal: its name and at most one address a family.",
        ),
        (
            'listen = "4433"',
            "vpn.toml: listen: '4433' is not HOST:PORT; write for example 192.0.2.1:4433, vpn.example.org:4433 "
            "or [2001:db8::1]:4433",
        ),
        (
            'listen = "vpn.example.org:4433"',
            "vpn.toml: listen: 'vpn.example.org:4433' is not an address of this host; write for example "
            "0.0.0.0:4433 or [::]:4433",
        ),
        (
            '[addresses]\nipv4 = "10.0.0.1/24"',
            "vpn.toml: [addresses] ipv4: '10.0.0.1/24' has bits set behind the prefix length; write 10.0.0.0/24",
        ),
        ('[addresses]\nipv4 = "fd00::/64"', "vpn.toml: [addresses] ipv4: fd00::/64 is IPv6; move it to ipv6"),
        ('[addresses]\nipv6 = "10.0.0.0/8"', "vpn.toml: [addresses] ipv6: 10.0.0.0/8 is IPv4; move it to ipv4"),
        (
            '[addresses]\nserver_ipv4 = "fd00::1"',
            "vpn.toml: [addresses] server_ipv4: fd00::1 is IPv6; move it to server_ipv6",
        ),
        (
            '[session]\nroutes = ["10.0.0.0/8", "x"]',
            "vpn.toml: [session] routes[1]: 'x' is not a prefix; write for example 10.77.0.0/24 or fd77::/64",
        ),
        ('[session]\ndns = ["x"]', "vpn.toml: [session] dns[0]: 'x' is not an IP address"),
        (
            '[log]\nlevel = "loud"',
            "vpn.toml: [log] level: should be 'debug', 'info', 'warning' or 'error', is loud. "
            "Least important messages shown: debug, info, warning or error.",
        ),
        (
            'instance = "UP"',
            "vpn.toml: instance: instance name 'UP': use 1 to 32 of a-z, 0-9, '_' and '-', and begin with a letter "
            "or a digit",
        ),
    ],
)
def test_a_servers_mistake_is_named_with_file_table_and_remedy(text: str, said: str) -> None:
    assert error_of(SERVER + text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'vpn.toml: role is missing; the file begins with role = "server" or role = "client"'),
        ('role = "klient"', "vpn.toml: role: 'klient' is neither server nor client; did you mean client?"),
        ('role = "server"\nlisten =\n', "vpn.toml: is not valid TOML: Invalid value (at line 2, column 9)"),
        (
            'role = "client"',
            "vpn.toml: nothing verifies the server: set server_pin to the value that `vpnrs init` printed at the "
            'server, or ca to a file of CA certificates (ca = "system" for those of this host)',
        ),
        (
            CLIENT + 'ca = "system"',
            "vpn.toml: server_pin and ca exclude each other: a pin already names the one key; remove one",
        ),
        (
            CLIENT + 'server = "host:0"',
            "vpn.toml: server: 'host:0' has port 0; name the port that the server listens on",
        ),
        (
            CLIENT + "[reconnect]\nmin = 5\nmax = 2",
            "vpn.toml: [reconnect] max (2 s) is shorter than min (5 s); raise max or lower min",
        ),
        (
            CLIENT + 'lane = "x"',
            "vpn.toml: lane: should be 'datagram' or 'stream', is x. datagram: QUIC datagrams; "
            "stream: one ordered stream, for paths that stall datagrams.",
        ),
    ],
)
def test_other_mistakes(text: str, said: str) -> None:
    assert error_of(text) == said


def test_all_mistakes_are_told_at_once_one_a_line() -> None:
    assert error_of(SERVER + 'listen = "x:y"\nfoo = 1\n[tun]\nmtu = "big"').count("\n") == 2


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^none.toml: no such file; `vpnrs init DIR` writes"):
        load("none.toml")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder; name the file in it"):
        load(tmp_path)


def test_a_file_that_is_not_text() -> None:
    Path("vpn.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^vpn.toml: is not UTF-8 text"):
        load("vpn.toml")


def test_a_client_with_a_ca_and_wanted_addresses() -> None:
    client = loaded('role = "client"\nca = "ca.pem"\nserver_name = "vpn"\nwanted = ["10.77.0.9", "fd00::/64"]')
    assert isinstance(client, ClientConfig)
    assert client.wanted == (ip_network("10.77.0.9/32"), ip_network("fd00::/64"))
