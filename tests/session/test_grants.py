"""The merge of contributions: each field's rule, and every contradiction with its reason."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from vpnrs_core.interfaces.common import Code, Refuse
from vpnrs_core.interfaces.grant import Contribution, Principal, Rate
from vpnrs_core.session.grants import MergedGrant, merge

ALICE = Principal("alice", expires=5000.0)
D1, D2, D3 = (IPv4Address(f"10.0.0.{n}") for n in (1, 2, 3))


def merged(*contributions: Contribution, mtu: int = 1400) -> MergedGrant | Refuse:
    named = [(f"plugin{n}", c) for n, c in enumerate(contributions)]
    return merge(ALICE, named, default_mtu=mtu, wall=1000.0)


def granted(*contributions: Contribution) -> MergedGrant:
    result = merged(*contributions)
    assert isinstance(result, MergedGrant)
    return result


def test_nothing_contributed_is_the_default_and_the_principals_expiry() -> None:
    assert granted() == MergedGrant(mtu=1400, expires=5000.0)


def test_routes_unite() -> None:
    result = granted(
        Contribution(routes=[IPv4Network("10.0.0.0/9"), IPv6Network("fd00::/8")]),
        Contribution(routes=[IPv4Network("10.128.0.0/9"), IPv4Network("10.1.0.0/16")]),
    )
    assert result.routes == (IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/8"))


def test_dns_keeps_the_declared_order_without_duplicates() -> None:
    assert granted(Contribution(dns=[D2, D1]), Contribution(dns=[D3, D2])).dns == (D2, D1, D3)


def test_of_mtu_rates_and_expiry_the_smallest_holds() -> None:
    result = granted(
        Contribution(mtu=1350, up=Rate(1_000_000, 50_000), expires=3000.0),
        Contribution(mtu=1300, up=Rate(2_000_000, 20_000), down=Rate(5_000_000, 90_000)),
    )
    assert (result.mtu, result.up, result.down) == (1300, Rate(1_000_000, 20_000), Rate(5_000_000, 90_000))
    assert result.expires == 3000.0


def test_only_public_facts_leave_the_server() -> None:
    result = granted(Contribution(facts={"secret": 1, "public": {"shown": 2}}), Contribution(facts={"hidden": 3}))
    assert result.facts == {"plugin0": {"secret": 1, "public": {"shown": 2}}, "plugin1": {"hidden": 3}}
    assert result.public_facts() == {"plugin0": {"shown": 2}}


@pytest.mark.parametrize(
    ("contribution", "why"),
    [
        (Contribution(mtu=500), "plugin0 contributes MTU 500"),
        (Contribution(mtu=1000, routes=[IPv6Network("fd00::/8")]), "MTU 1000 cannot carry the IPv6"),
        (Contribution(up=Rate(0, 5000)), "lets nothing through"),
        (Contribution(down=Rate(1000, 500)), "less than one packet"),
        (Contribution(expires=999.0), "expired already"),
        (Contribution(facts={"x": "y" * 5000}), "4096 are allowed"),
        (Contribution(facts={"x": object()}), "not JSON"),
        (Contribution(facts={"x": float("nan")}), "not JSON"),
    ],
)
def test_contradictions_refuse_with_the_reason_in_the_log_only(contribution: Contribution, why: str) -> None:
    result = merged(contribution)
    assert isinstance(result, Refuse)
    assert result.code is Code.POLICY
    assert why in result.detail
