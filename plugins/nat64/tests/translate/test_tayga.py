"""The translator next to TAYGA, packet by packet: another hand's reading of the same RFCs, run live.

TAYGA is stateless, so our side is `stateless` with the same addresses. Compared is everything but the IPv4
identification, which each draws for itself, DF and, with both, the header checksum: TAYGA sets DF where RFC 7915 §5.1
leaves it clear. TAYGA 0.9.2 also drops parameter problems with a pointer, and ICMPv6 1/3. All of it has tests of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
import tayga
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st
from nat64_kit import p
from scapy.all import (  # type: ignore[attr-defined]
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    Raw,
    raw,
)
from tayga import CLIENT4, CLIENT6, PATIENCE, PREFIX, ROUTER4, Tayga
from vpnrs_nat64.translate.eam import Eamt
from vpnrs_nat64.translate.prefix import Prefix
from vpnrs_nat64.translate.problem import Problem
from vpnrs_nat64.translate.stateless import Side, Stateless, stateless

from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

HOST4, HOST6 = "8.8.8.8", "2001:db8:64::808:808"

pytestmark = [pytest.mark.netns, pytest.mark.xdist_group("tayga")]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tayga]:
    if why := tayga.why_not():
        pytest.skip(why)
    folder: Path = tmp_path_factory.mktemp("tayga")
    with tayga.running(folder) as running:
        yield running


def settings() -> Stateless:
    table = Eamt(Prefix(IPv6Network(PREFIX)))
    table.add(IPv4Network(f"{CLIENT4}/32"), IPv6Network(f"{CLIENT6}/128"))
    return Stateless(table.to_v4, table.to_v6, mtu4=1500, mtu6=1500, router4=p(ROUTER4))


def ours(data: bytes) -> bytes | Problem:
    side = Side.V4 if data[0] >> 4 == 4 else Side.V6
    result = stateless(side, Packet.of(data), settings())
    if isinstance(result, Problem):
        return result
    (new,) = result
    return new.data


def comparable(data: bytes) -> bytes:
    """Without what differs by right; the embedded packet's too."""
    new = bytearray(data)
    if data[0] >> 4 == 4:
        _mask(new, 0)
        if data[9] == 1 and data[20] in (3, 11, 12):
            new[22:24] = b"\0\0"  # its checksum covers the embedded header
            _mask(new, 28)
    return bytes(new)


def _mask(data: bytearray, at: int) -> None:
    data[at + 4 : at + 6] = b"\0\0"
    data[at + 6] &= 0xBF
    data[at + 10 : at + 12] = b"\0\0"


six, four = IPv6(src=CLIENT6, dst=HOST6, tc=0x48, hlim=17), IP(src=HOST4, dst=CLIENT4, tos=0x48, ttl=17, id=5)
inner6 = IPv6(src=HOST6, dst=CLIENT6, hlim=9) / UDP(sport=53, dport=5) / Raw(b"answer")
inner4 = IP(src=CLIENT4, dst=HOST4, ttl=9, id=0, flags="DF") / UDP(sport=5, dport=53) / Raw(b"query")
PADDING = IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(4)))

TO_V4 = {
    "tcp": six / TCP(sport=1, dport=2, flags="SA", options=[("MSS", 1400)]) / Raw(b"x"),
    "tcp with a wrong checksum": six / TCP(chksum=0x1234) / Raw(b"x"),
    "udp": six / UDP(sport=1, dport=2) / Raw(b"odd"),
    "udp of 1232 bytes": six / UDP(sport=1, dport=2) / Raw(bytes(1232)),
    "echo request": six / ICMPv6EchoRequest(id=7, seq=8, data=b"abc"),
    "echo reply": six / ICMPv6EchoReply(id=7, seq=8, data=b"abcd"),
    "sctp": IPv6(src=CLIENT6, dst=HOST6, nh=132) / Raw(bytes(range(40))),
    "destination options": six / PADDING / UDP() / Raw(b"x"),
    "hop-by-hop": six / IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4))) / TCP(),
    "routing header at its end": six / IPv6ExtHdrRouting(addresses=[HOST6], segleft=0) / TCP(),
    "first fragment": six / IPv6ExtHdrFragment(nh=17, m=1, id=0x12345678) / UDP(len=100, chksum=99) / Raw(bytes(40)),
    "later fragment": six / IPv6ExtHdrFragment(nh=17, offset=6, id=0x12345678) / Raw(bytes(40)),
    "atomic fragment": six / IPv6ExtHdrFragment(id=0x12345678) / UDP() / Raw(bytes(40)),
    **{f"unreachable {code}": six / ICMPv6DestUnreach(code=code) / inner6 for code in (0, 1, 2, 4)},
    "too big": six / ICMPv6PacketTooBig(mtu=1400) / inner6,
    "time exceeded": six / ICMPv6TimeExceeded() / inner6,
    "reassembly time exceeded": six / ICMPv6TimeExceeded(code=1) / inner6,
    "unknown next header": six / ICMPv6ParamProblem(code=1, ptr=6) / inner6,
    "error about an echo": six
    / ICMPv6DestUnreach()
    / IPv6(src=HOST6, dst=CLIENT6)
    / ICMPv6EchoRequest(id=1, data=b"xyz"),
    "error about tcp": six / ICMPv6DestUnreach() / IPv6(src=HOST6, dst=CLIENT6) / TCP(),
}
TO_V6 = {
    "tcp": four / TCP(sport=1, dport=2, flags="SA", options=[("MSS", 1400)]) / Raw(b"x"),
    "tcp with a wrong checksum": four / TCP(chksum=0x1234) / Raw(b"x"),
    "udp": four / UDP(sport=1, dport=2) / Raw(b"odd"),
    "echo request": four / ICMP(id=7, seq=8) / Raw(b"abc"),
    "echo reply": four / ICMP(type=0, id=7, seq=8) / Raw(b"abcd"),
    "sctp": IP(src=HOST4, dst=CLIENT4, proto=132, flags="DF") / Raw(bytes(range(40))),
    "options": IP(src=HOST4, dst=CLIENT4, options=b"\1\1\1\0") / UDP() / Raw(b"x"),
    "first fragment": IP(src=HOST4, dst=CLIENT4, id=77, flags="MF") / UDP(len=100, chksum=99) / Raw(bytes(40)),
    "later fragment": IP(src=HOST4, dst=CLIENT4, id=77, frag=6, proto=17) / Raw(bytes(40)),
    **{f"unreachable {code}": four / ICMP(type=3, code=code) / inner4 for code in (*range(4), *range(5, 14), 15)},
    "fragmentation needed": four / ICMP(type=3, code=4, nexthopmtu=1400) / inner4,
    "time exceeded": four / ICMP(type=11) / inner4,
    "error about an echo": four / ICMP(type=3) / IP(src=CLIENT4, dst=HOST4) / ICMP(id=1) / Raw(b"xyz"),
    "error about tcp": four / ICMP(type=3) / IP(src=CLIENT4, dst=HOST4, flags="DF") / TCP(),
}
DROPPED = {
    "neighbour solicitation": IPv6(src=CLIENT6, dst=HOST6, nh=58) / Raw(b"\x87\0\0\0" + bytes(20)),
    "router discovery": four / ICMP(type=10),
    "timestamp": four / ICMP(type=13),
    "source quench": four / ICMP(type=4) / inner4,
    "redirect": four / ICMP(type=5) / inner4,
    "unreachable 14": four / ICMP(type=3, code=14) / inner4,
    "pointer 20": four / ICMP(type=12, ptr=20) / inner4,
    "pointer 40": six / ICMPv6ParamProblem(ptr=40) / inner6,
    "unknown option": six / ICMPv6ParamProblem(code=2, ptr=40) / inner6,
    "unreachable 5": six / ICMPv6DestUnreach(code=5) / inner6,
    "an error about an error": four / ICMP(type=3) / IP(src=CLIENT4, dst=HOST4) / ICMP(type=3) / inner4,
}


@pytest.mark.parametrize("name", TO_V4)
def test_to_ipv4_as_tayga(oracle: Tayga, name: str) -> None:
    _same(oracle, raw(TO_V4[name]))


@pytest.mark.parametrize("name", TO_V6)
def test_to_ipv6_as_tayga(oracle: Tayga, name: str) -> None:
    _same(oracle, raw(TO_V6[name]))


@settings_(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.sampled_from(("tcp", "udp", "echo")), st.binary(max_size=1230), st.integers(0, 65535))
def test_any_packet_as_tayga(oracle: Tayga, to_v4: bool, make: str, payload: bytes, number: int) -> None:
    addresses = (CLIENT6, HOST6) if to_v4 else (HOST4, CLIENT4)
    fields = {"ident": number} if make == "echo" else {"sport": number, "dport": 65535 - number}
    _same(oracle, getattr(packets, make)(*addresses, payload, **fields))


def _same(oracle: Tayga, data: bytes) -> None:
    mine, theirs = ours(data), oracle.translate(data, PATIENCE)
    assert theirs is not None, f"dropped by tayga; ours: {mine!r}"
    assert isinstance(mine, bytes), mine
    assert comparable(mine) == comparable(theirs)


@pytest.mark.parametrize("name", DROPPED)
def test_both_drop(oracle: Tayga, name: str) -> None:
    data = raw(DROPPED[name])
    assert isinstance(ours(data), Problem)
    assert oracle.translate(data, 0.1) is None
