"""Checks across fields and of the files that a configuration names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vpnrs_core.config.checks import check, require
from vpnrs_core.config.load import load
from vpnrs_core.errors import ConfigError
from vpnrs_core.quic.identity import make_certificate

PIN = "sha256:" + "ab" * 32
POOL = '[addresses]\nipv4 = "10.77.0.0/24"\n'
Findings = Callable[[str], list[str]]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Findings:
    """`server(toml)` → the findings as `level: text`, for a server whose certificate and key are in order."""
    monkeypatch.chdir(tmp_path)
    pair = make_certificate("vpn.example.org")
    Path("server.crt").write_bytes(pair.certificate)
    Path("server.key").write_bytes(pair.key)
    os.chmod("server.key", 0o600)

    def findings(text: str) -> list[str]:
        Path("server.toml").write_text('role = "server"\n' + text)
        configuration = load("server.toml", ["quic.certificate=server.crt", "quic.key=server.key"])
        here = f"{tmp_path}/"
        return [f"{finding.level}: {finding.text.replace(here, '')}" for finding in check(configuration)]

    return findings


def test_a_sound_server_has_no_findings(server: Findings) -> None:
    assert (
        server(POOL + 'ipv6 = "fd77::/64"\nreserve = ["10.77.0.9"]\nstatic = { alice = ["10.77.0.5", "fd77::5"] }')
        == []
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'has neither ipv4 nor ipv6; set at least one, for example ipv4 = "10.77.0.0/24"'),
        (
            '[addresses]\nipv4 = "10.77.0.0/31"',
            "ipv4 10.77.0.0/31 has no room for a server and a client; use a prefix of /30 or shorter",
        ),
        (
            '[addresses]\nipv6 = "fd77::/127"',
            "ipv6 fd77::/127 has no room for a server and a client; use a prefix of /126 or shorter",
        ),
        (
            POOL + 'server_ipv4 = "10.77.0.0"',
            "server_ipv4 10.77.0.0 is the network address of 10.77.0.0/24; the first host is 10.77.0.1",
        ),
        (
            POOL + 'server_ipv4 = "10.77.0.255"',
            "server_ipv4 10.77.0.255 is the broadcast address of 10.77.0.0/24; the first host is 10.77.0.1",
        ),
        (
            POOL + 'server_ipv4 = "10.78.0.1"',
            "server_ipv4 10.78.0.1 is outside the pool 10.77.0.0/24; choose one of its addresses or remove the line",
        ),
        (POOL + 'server_ipv6 = "fd77::1"', "server_ipv6 fd77::1 has no pool; set ipv6 or remove server_ipv6"),
        (
            POOL + 'reserve = ["10.78.0.9"]',
            "reserve: 10.78.0.9 is outside every pool, so nothing would lease it; remove it",
        ),
        (
            POOL + 'static = { alice = ["10.78.0.9"] }',
            "static.alice: 10.78.0.9 is outside every pool (10.77.0.0/24)",
        ),
        (
            POOL + 'static = { alice = ["10.77.0.1"] }',
            "static.alice: 10.77.0.1 is the server's own address; choose another",
        ),
        (
            POOL + 'static = { alice = ["10.77.0.255"] }',
            "static.alice: 10.77.0.255 is the network or broadcast address of 10.77.0.0/24; choose another",
        ),
        (
            POOL + 'reserve = ["10.77.0.5"]\nstatic = { alice = ["10.77.0.5"] }',
            "static.alice: 10.77.0.5 is in reserve as well; remove it from one of them",
        ),
        (
            POOL + 'static = { alice = ["10.77.0.5"], bob = ["10.77.0.5"] }',
            "static.bob: 10.77.0.5 is alice's already; give each principal its own",
        ),
        (
            POOL + 'static = { alice = ["10.77.0.5", "10.77.0.6"] }',
            "static.alice: names 2 IPv4 addresses; keep one a family",
        ),
    ],
)
def test_an_address_mistake_is_one_error(server: Findings, text: str, said: str) -> None:
    assert server(text) == [f"error: server.toml: [addresses] {said}"]


def test_what_only_the_allocator_knows_to_be_wrong_is_found_too(server: Findings) -> None:
    assert server('[addresses]\nipv4 = "224.0.0.0/24"') == [
        "error: server.toml: [addresses]: pool 224.0.0.0/24 overlaps 224.0.0.0/3 (multicast and reserved). "
        "Choose a private network."
    ]


def test_another_allocators_pools_are_not_judged(server: Findings) -> None:
    assert server('[addresses]\nallocator = "dhcp"') == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'routes = ["10.77.0.128/25"]',
            "error: server.toml: [session] routes: 10.77.0.128/25 lies inside the pool 10.77.0.0/24, whose addresses "
            "are clients'; remove it or move the pool",
        ),
        (
            'routes = ["10.77.0.0/24"]',
            "warning: server.toml: [session] routes: 10.77.0.0/24 is the pool itself, which clients reach anyway; "
            "remove it",
        ),
        (
            'routes = ["fd00::/48"]',
            "error: server.toml: [session] routes: fd00::/48 is IPv6, but [addresses] has no ipv6 pool, so it is "
            "useless; set [addresses] ipv6 or remove the route",
        ),
        (
            'routes = ["10.0.0.0/8", "10.0.0.0/8"]',
            "warning: server.toml: [session] routes: 10.0.0.0/8 is named twice; remove one",
        ),
    ],
)
def test_pushed_routes_are_held_against_the_pools(server: Findings, text: str, said: str) -> None:
    assert server(POOL + "[session]\n" + text) == [said]


def test_an_mtu_that_no_datagram_carries_is_an_error(server: Findings) -> None:
    assert server(POOL + "[tun]\nmtu = 1429") == [
        "error: server.toml: [tun] mtu 1429 needs datagrams of 1473 bytes, [quic] max_udp_payload is 1472; "
        "set mtu to at most 1428 or raise max_udp_payload"
    ]
    assert server(POOL + "[tun]\nmtu = 1428") == []
    assert server(POOL + '[tun]\nmtu = "auto"') == []
    assert len(server(POOL + "[quic]\nmax_udp_payload = 1300")) == 1


def test_ipv6_needs_1280(server: Findings) -> None:
    assert server('[addresses]\nipv6 = "fd77::/64"\n[tun]\nmtu = 1279') == [
        "error: server.toml: [tun] mtu 1279 is too small for IPv6, which needs 1280; raise it or remove IPv6"
    ]
    assert server(POOL + "[tun]\nmtu = 576") == []


def test_files_that_are_not_there_or_not_what_they_should_be(server: Findings) -> None:
    os.unlink("server.crt")
    assert server(POOL) == [
        "error: server.toml: [quic] certificate server.crt does not exist; `vpnrs init DIR` writes a certificate and "
        "a key"
    ]
    Path("server.crt").write_text("hello")
    assert server(POOL) == [
        "error: server.toml: [quic] certificate server.crt is not PEM; `vpnrs init DIR` writes a certificate and a key"
    ]
    os.unlink("server.crt")
    os.mkdir("server.crt")
    assert server(POOL) == ["error: server.toml: [quic] certificate server.crt cannot be read: Is a directory"]


def test_a_key_of_another_certificate_is_an_error(server: Findings) -> None:
    Path("server.key").write_bytes(make_certificate("other").key)
    (finding,) = server(POOL)
    assert finding.startswith("error: server.toml: [quic] key server.key does not belong to certificate server.crt")


def test_a_secret_that_everyone_may_read_is_a_warning(server: Findings) -> None:
    Path("x.token").write_text("secret")
    os.chmod("x.token", 0o644)
    plugin = POOL + '[plugins.any]\nlevel = 1\nsecret = { file = "x.token" }\nother = { file = "not there" }'
    assert server(plugin) == [
        "warning: server.toml: [plugins.any] secret x.token is readable by everyone (mode 0644); chmod 600 x.token"
    ]
    os.chmod("x.token", 0o600)
    assert server(plugin) == []


def test_a_key_that_everyone_may_read_is_a_warning(server: Findings) -> None:
    os.chmod("server.key", 0o644)
    assert server(POOL) == [
        "warning: server.toml: [quic] key server.key is readable by everyone (mode 0644); chmod 600 server.key"
    ]


def test_isolation_off_without_forwarding_is_a_warning(server: Findings) -> None:
    off = POOL + "[session]\nisolation = false\n"
    (finding,) = server(off)
    assert finding.startswith("warning: server.toml: [session] isolation is off, but packets from client to client")
    assert server(off + "[forwarding]\nenable = true\n") == []


def test_a_server_without_certificate_is_told_how_to_get_one(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('role = "server"\n' + POOL)
    with pytest.raises(ConfigError) as caught:
        require(load(path))
    assert str(caught.value).splitlines() == [
        f"{path}: [quic] certificate is missing; `vpnrs init DIR` writes a certificate and a key",
        f"{path}: [quic] key is missing; `vpnrs init DIR` writes a certificate and a key",
    ]


def client_findings(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "client.toml"
    path.write_text('role = "client"\n' + text)
    return [f"{finding.level}: {finding.text.replace(f'{tmp_path}/', '')}" for finding in check(load(path))]


def test_a_sound_client_has_no_findings(tmp_path: Path) -> None:
    assert client_findings(tmp_path, f'server_pin = "{PIN}"') == []


def test_a_pin_that_is_none_is_an_error(tmp_path: Path) -> None:
    (finding,) = client_findings(tmp_path, 'server_pin = "abc"')
    assert finding.startswith("error: client.toml: server_pin 'abc' is not a pin.")


def test_a_ca_file_must_be_there_and_its_name_is_told(tmp_path: Path) -> None:
    assert client_findings(tmp_path, 'server = "vpn.example.org:443"\nca = "ca.pem"') == [
        "error: client.toml: ca ca.pem does not exist; name a PEM file of CA certificates",
        "warning: client.toml: server_name is not set, so the certificate must bear vpn.example.org; "
        "set it if it bears another name",
    ]


def test_the_stream_lane_is_not_bound_to_the_datagram_size(tmp_path: Path) -> None:
    pin = f'server_pin = "{PIN}"\n'
    assert client_findings(tmp_path, pin + 'lane = "stream"\n[tun]\nmtu = 9000') == []
    assert len(client_findings(tmp_path, pin + "[tun]\nmtu = 9000")) == 1
