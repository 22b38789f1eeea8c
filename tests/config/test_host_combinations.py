"""`vpnrs check` over every combination of what a configuration asks of the host, against a table of rules.

A rule says which combinations it is about, in terms of the choices below; what no rule is about is accepted without a
word. Each finding names the settings that it is about, and says what to do.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace as Chosen

import pytest

from vpnrs_core.config.checks import check, require
from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.errors import ConfigError
from vpnrs_core.quic.identity import make_certificate

PIN = "sha256:" + "ab" * 32
BOTH = (True, False)


@dataclass(frozen=True)
class Rule:
    """`holds` for a combination: there is a finding of that level with all of these words: the setting, the mending."""

    level: str
    words: tuple[str, ...]
    holds: Callable[[Chosen], bool]


# What is seldom wrong together with anything: chosen at random for each combination of the rest.
MINOR = {"mtu": ("auto", 1000, 1280, 9000), "offload": BOTH}

CLIENT = {
    "routes": ("", "split4", "all4", "all6", "all4 all6", "halves4 all6", "server"),
    "server": ("192.0.2.1:4433", "[2001:db8::1]:4433", "vpn.example.org:4433"),
    "wanted": ("", "4", "6"),
    **dict.fromkeys(("accept_routes", "accept_dns", "dns_domains", "switch", "after_crash", "gives_up"), BOTH),
    "tun": ("vpnrs%d", 'a"b'),
}
ROUTES = {
    "split4": ["10.0.0.0/8"], "all4": ["0.0.0.0/0"], "all6": ["::/0"], "halves4": ["0.0.0.0/1", "128.0.0.0/1"],
    "server": ["192.0.2.1/32"],
}  # fmt: skip
WANTED = {"": [], "4": ["10.77.0.5/32"], "6": ["fd77::5/128"]}

CLIENT_REFUSED = [
    Rule("error", ("kill_switch_after_crash", "set it, or remove"), lambda c: c.after_crash and not c.switch),
    Rule("error", ("dns_domains", "accept_dns", "set it, or remove"), lambda c: c.dns_domains and not c.accept_dns),
]
CLIENT_RULES = [
    Rule("error", ("routes has 192.0.2.1", "name a network around it"),
         lambda c: c.routes == "server" and c.server == "192.0.2.1:4433"),
    Rule("error", ("[tun] name", "choose one of letters"), lambda c: c.switch and '"' in c.tun),
    Rule("error", ("[tun] mtu 1000 is too small for IPv6", "raise it"),
         lambda c: c.mtu == 1000 and ("all6" in c.routes or c.wanted == "6")),
    Rule("error", ("[tun] mtu 9000", "set mtu to at most 1428"), lambda c: c.mtu == 9000),
    Rule("warning", ("kill_switch", "all of IPv4 and IPv6 into it", "add 0.0.0.0/0 and ::/0 to routes"),
         lambda c: c.switch and "all" not in c.routes),
    Rule("warning", ("kill_switch", "all of IPv6 into it", "add ::/0 to routes"),
         lambda c: c.switch and c.routes == "all4"),
    Rule("warning", ("kill_switch", "all of IPv4 into it", "add 0.0.0.0/0 to routes"),
         lambda c: c.switch and c.routes == "all6"),
    Rule("warning", ("kill_switch", "by name", "give its address"), lambda c: c.switch and c.server.startswith("vpn")),
    Rule("warning", ("kill_switch", "accept_dns = false", "set accept_dns = true"),
         lambda c: c.switch and not c.accept_dns),
    Rule("warning", ("kill_switch", "outside of dns_domains", "remove dns_domains"),
         lambda c: c.switch and c.dns_domains),
    Rule("warning", ("[reconnect] attempts", "kill_switch opens", "set attempts = 0, or kill_switch_after_crash"),
         lambda c: c.switch and c.gives_up and not c.after_crash),
    Rule("warning", ("routes", "leaves IPv6 beside it", "add ::/0 to routes, or set kill_switch"),
         lambda c: not c.switch and c.routes == "all4"),
    Rule("warning", ("routes", "leaves IPv4 beside it", "add 0.0.0.0/0 to routes, or set kill_switch"),
         lambda c: not c.switch and c.routes == "all6"),
    *(Rule("warning", (f"routes: {route} is IPv4", "add 0.0.0.0/0 to wanted, or remove the route"),
           lambda c, name=name: c.wanted == "6" and name in c.routes.split())
      for name in ("split4", "all4", "halves4", "server") for route in ROUTES[name]),
    Rule("warning", ("routes: ::/0 is IPv6", "add ::/0 to wanted, or remove the route"),
         lambda c: c.wanted == "4" and "all6" in c.routes),
]  # fmt: skip

SERVER = {
    "ipv4": ("10.77.0.0/24", None), "ipv6": ("fd77::/64", None), "routes": ("", "split4", "all6", "all4 all6"),
    "dns": ("", "10.77.0.1", "fd77::1", "127.0.0.53"),
    **dict.fromkeys(("enable", "nat44", "clamp", "isolation"), BOTH), "tun": ("vpnrs%d", 'a"b'),
}  # fmt: skip
SERVER_RULES = [
    Rule("error", ("neither ipv4 nor ipv6", "set at least one"), lambda c: not (c.ipv4 or c.ipv6)),
    Rule("error", ("[forwarding] nat44", "set [addresses] ipv4, or remove it"), lambda c: c.nat44 and not c.ipv4),
    *(Rule("error", (f"[session] routes: {ROUTES[name][0]}", "set [addresses] ipv4 or remove"),
           lambda c, name=name: name in c.routes.split() and not c.ipv4) for name in ("split4", "all4")),
    Rule("error", ("[session] routes: ::/0", "set [addresses] ipv6 or remove"),
         lambda c: "all6" in c.routes and not c.ipv6),
    Rule("error", ("[session] dns: 127.0.0.53", "push an address that the tunnel leads to"),
         lambda c: c.dns == "127.0.0.53"),
    Rule("error", ("[tun] name", "choose one of letters"), lambda c: (c.nat44 or c.clamp) and '"' in c.tun),
    Rule("error", ("[tun] mtu 1000 is too small for IPv6", "raise it"), lambda c: c.mtu == 1000 and c.ipv6),
    Rule("error", ("[tun] mtu 9000", "set mtu to at most 1428"), lambda c: c.mtu == 9000),
    Rule("warning", ("[session] dns: 10.77.0.1", "set [addresses] ipv4, or remove it"),
         lambda c: c.dns == "10.77.0.1" and not c.ipv4),
    Rule("warning", ("[session] dns: fd77::1", "set [addresses] ipv6, or remove it"),
         lambda c: c.dns == "fd77::1" and not c.ipv6),
    Rule("warning", ("[forwarding] nat44 is about", "set enable = true"), lambda c: c.nat44 and not c.enable),
    Rule("warning", ("[forwarding] clamp_mss is about", "set enable = true"), lambda c: c.clamp and not c.enable),
    Rule("warning", ("[forwarding] nat44", "no IPv4 route", "push one"), lambda c: c.nat44 and "4" not in c.routes),
    Rule("warning", ("[session] isolation is off", "set [forwarding] enable = true"),
         lambda c: not c.isolation and not c.enable),
]  # fmt: skip


def combinations(choices):
    luck = random.Random(6)
    for values in itertools.product(*choices.values()):
        minor = {name: luck.choice(those) for name, those in MINOR.items()}
        yield Chosen(**dict(zip(choices, values, strict=True)), **minor)


def client(c):
    return ClientConfig(
        server=c.server, server_pin=PIN, routes=[net for name in c.routes.split() for net in ROUTES[name]],
        accept_routes=c.accept_routes, accept_dns=c.accept_dns, dns_domains=["corp.example"] * c.dns_domains,
        kill_switch=c.switch, kill_switch_after_crash=c.after_crash, reconnect={"attempts": 5 * c.gives_up},
        wanted=WANTED[c.wanted], tun={"name": c.tun, "mtu": c.mtu, "offload": c.offload},
    )  # fmt: skip


def server(c, folder):
    return ServerConfig(
        addresses={"ipv4": c.ipv4 or "none", "ipv6": c.ipv6 or "none"},
        session={"routes": [net for name in c.routes.split() for net in ROUTES[name]], "dns": c.dns.split(),
                 "isolation": c.isolation},
        forwarding={"enable": c.enable, "nat44": c.nat44, "clamp_mss": c.clamp},
        tun={"name": c.tun, "mtu": c.mtu, "offload": c.offload},
        quic={"certificate": str(folder / "crt"), "key": str(folder / "key")},
    )  # fmt: skip


def judge(configuration, chosen, rules):
    """The findings are those that the rules want, one each."""
    findings = check(configuration)
    left = list(findings)
    for rule in (rule for rule in rules if rule.holds(chosen)):
        said = [f for f in left if f.level == rule.level and all(word in f.text for word in rule.words)]
        assert len(said) == 1, (chosen, rule.words, findings)
        left.remove(said[0])
    assert left == [], chosen
    return findings


def test_every_combination_of_a_clients_host_settings_is_judged_by_the_rules():
    used, refused = set(), 0
    for chosen in combinations(CLIENT):
        broken = [rule for rule in CLIENT_REFUSED if rule.holds(chosen)]
        if broken:
            refused += 1
            if refused % 16 == 0:  # the model is asked alone, and slow to say no
                with pytest.raises(ValueError) as caught:  # noqa: PT011  # pydantic's; load.py makes words of it
                    client(chosen)
                assert all(word in str(caught.value) for word in broken[0].words), chosen
            continue
        judge(client(chosen), chosen, CLIENT_RULES)
        used |= {index for index, rule in enumerate(CLIENT_RULES) if rule.holds(chosen)}
    assert len(used) == len(CLIENT_RULES)
    assert refused > 1000


def test_every_combination_of_a_servers_host_settings_is_judged_by_the_rules(tmp_path: Path):
    pair = make_certificate("vpn.example.org")
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    (tmp_path / "key").chmod(0o600)
    used = set()
    for chosen in combinations(SERVER):
        judge(server(chosen, tmp_path), chosen, SERVER_RULES)
        used |= {index for index, rule in enumerate(SERVER_RULES) if rule.holds(chosen)}
    assert len(used) == len(SERVER_RULES)


def test_a_start_refuses_what_the_check_calls_an_error_and_nothing_else():
    for chosen in itertools.islice(combinations(CLIENT), 0, None, 37):
        if any(rule.holds(chosen) for rule in CLIENT_REFUSED):
            continue
        configuration = client(chosen)
        if any(rule.level == "error" and rule.holds(chosen) for rule in CLIENT_RULES):
            with pytest.raises(ConfigError):
                require(configuration)
        else:
            assert require(configuration) == check(configuration)
