"""The fast path says what the slow path says, byte for byte, and declines what it must not touch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nat64_kit import CLIENT, HOST, HOST6, POOL, all_good, good, p, right
from scapy.all import IP, UDP, IPv6, IPv6ExtHdrDestOpt, PadN, Raw, raw  # type: ignore[attr-defined]
from vpnrs_nat64.translate.fast import Identification, Identifications, key_for, key_of, rewriter
from vpnrs_nat64.translate.headers import to_v4, to_v6
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.tuples import Tuple, tuple_of

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

PORTS = st.integers(0, 65535)


def tuples(protocol: int, client: int, outer: int, host: int) -> tuple[Tuple, Tuple]:
    return Tuple(protocol, p(CLIENT), p(HOST6), client, host), Tuple(protocol, p(POOL), p(HOST), outer, host)


def both(packet: Packet, outer: int, client: int, mtu: int, ident: int = 77) -> tuple[Packet | None, list[Packet]]:
    """→ what the fast path makes of it, what the slow path."""
    six = packet.version == 6
    found = tuple_of(packet)
    assert found is not None
    client_port, host_port = (found.sport, found.dport) if six else (client, found.sport)
    inside, outside = tuples(found.protocol, client_port, outer if six else found.dport, host_port)
    if six:
        fast = rewriter(inside, outside, mtu, Identification(ident)).rewrite(packet)
        slow = all_good(deliver_v4(packet, outside.src, outside.dst, outer, host_port, ident, mtu=mtu))
    else:
        fast = rewriter(outside.swapped(), inside.swapped(), mtu, Identification()).rewrite(packet)
        slow = all_good(deliver_v6(packet, p(HOST6), p(CLIENT), host_port, client, mtu=mtu))
    return fast, slow


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(("tcp", "udp", "super_tcp", "super_udp")), st.booleans(), PORTS, PORTS, PORTS, PORTS,
    st.integers(0, 9000), st.integers(2, 255), st.integers(0, 255), st.binary(min_size=1, max_size=8), st.booleans(),
)  # fmt: skip
def test_fast_and_slow_path_agree(
    make: str, six: bool, sport: int, dport: int, outer: int, client: int, size: int, ttl: int, tos: int, seed: bytes,
    df: bool,
) -> None:  # fmt: skip
    payload = (seed * (size // len(seed) + 1))[:size]
    addresses = (CLIENT, HOST6) if six else (HOST, POOL)
    ip = {"ttl": ttl, "tos": tos} if six else {"ttl": ttl, "tos": tos, "dont_fragment": df}
    if make.startswith("super"):
        packet = getattr(packets, make)(*addresses, payload, 1360, sport=sport, dport=dport, ip=ip)
    else:
        packet = Packet.of(getattr(packets, make)(*addresses, payload, sport=sport, dport=dport, ip=ip))
    fast, slow = both(packet, outer, client, 65_535)
    assert fast is not None
    assert [fast.frame] == [new.frame for new in slow]
    assert fast.header == well_formed(fast.frame)
    if len(fast.data) < 2000:
        right(fast)


@pytest.mark.parametrize("wrong", [0, 1, 0xFFFF])
@pytest.mark.parametrize("addresses", [(CLIENT, HOST6), (HOST, POOL)])
def test_checksums_at_the_edges_agree(wrong: int, addresses: tuple[str, str]) -> None:
    data = packets.tcp(*addresses, b"x")
    at = len(data) - 21 + 16
    packet = Packet.of(data[:at] + wrong.to_bytes(2, "big") + data[at + 2 :])
    fast, slow = both(packet, 5000, 1234, 1500)
    assert fast is not None
    assert fast.frame == slow[0].frame


@pytest.mark.parametrize("addresses", [(CLIENT, HOST6), (HOST, POOL)])
def test_without_any_change_of_the_sum_the_checksum_stays(addresses: tuple[str, str]) -> None:
    six = addresses[0] == CLIENT
    old = tuple_of(Packet.of(packets.udp(*addresses)))
    assert old is not None
    ends = OUT if six else IN
    # Ports that make up for the change of addresses.
    for sport in range(65536):
        new = Tuple(17, *ends, sport, old.dport)
        total = int.from_bytes(key_for(new)[1], "big") - int.from_bytes(key_for(old)[1], "big")
        if total % 65535 == 0:
            break
    made = rewriter(old, new, 1500, Identification())
    for check in (None, b"\x12\x34", b"\xff\xff"):
        data = packets.udp(*addresses)
        packet = Packet.of(data if check is None else data[:-2] + check)
        fast = made.rewrite(packet)
        assert fast is not None
        assert fast.data[-2:] == packet.data[-2:]
        slow = good((to_v4 if six else to_v6)(packet, *ends, sport, old.dport))
        assert fast.data[-2:] == slow.data[-2:]
    # Where 0 and 0xFFFF both stand for zero, a valid checksum is 0.
    tcp = packets.tcp(*addresses)
    tcp_old, tcp_new = old._replace(protocol=6, dport=80), new._replace(protocol=6, dport=80)
    odd = Packet.of(tcp[:-4] + b"\xff\xff" + tcp[-2:])
    assert tuple_of(odd) == tcp_old
    fast = rewriter(tcp_old, tcp_new, 1500, Identification()).rewrite(odd)
    assert fast is not None
    assert fast.data[-4:-2] == b"\0\0"


OUT, IN = (p(POOL), p(HOST)), (p(HOST6), p(CLIENT))


def test_regression_udp_checksum_that_becomes_zero() -> None:
    data = raw(IP(src=HOST, dst=POOL) / UDP(sport=53, dport=40000, chksum=0x85FD) / Raw(bytes.fromhex("c259")))
    old = Tuple(17, p(HOST), p(POOL), 53, 40000)
    new = Tuple(17, p(HOST6), p(CLIENT), 53, 12345)
    fast = rewriter(old, new, 1500, Identification()).rewrite(Packet.of(data))
    assert fast is not None
    assert fast.data[46:48] == b"\xff\xff"


def declined(data: bytes | Packet, mtu: int = 1500) -> bool:
    packet = data if isinstance(data, Packet) else Packet.of(data)
    six = packet.frame[10] >> 4 == 6
    protocol = packet.frame[16] if six else packet.frame[19]
    inside, outside = tuples(protocol if protocol in (6, 17) else 6, 40000, 5000, 80)
    old, new = (inside, outside) if six else (outside.swapped(), inside.swapped())
    return rewriter(old, new, mtu, Identification()).rewrite(packet) is None


@pytest.mark.parametrize("addresses", [(CLIENT, HOST6), (HOST, POOL)])
@pytest.mark.parametrize("flags", [packets.SYN, packets.FIN | packets.ACK, packets.RST])
def test_flags_that_move_the_state_machine_are_declined(addresses: tuple[str, str], flags: int) -> None:
    assert declined(packets.tcp(*addresses, flags=flags))
    assert declined(packets.super_tcp(*addresses, bytes(3000), 1000, flags=flags))
    assert not declined(packets.tcp(*addresses, flags=packets.ACK | packets.PSH))


def test_what_the_slow_path_is_for_is_declined() -> None:
    base = IPv6(src=CLIENT, dst=HOST6)
    assert declined(raw(base / IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(4))) / UDP()))
    assert declined(raw(base / UDP(chksum=0)))
    assert declined(packets.udp(CLIENT, HOST6, ip={"ttl": 1}))
    assert declined(packets.udp(CLIENT, HOST6, bytes(1473)))
    assert not declined(packets.udp(CLIENT, HOST6, bytes(1472)))
    assert declined(packets.super_tcp(CLIENT, HOST6, bytes(65_500), 1400))
    assert declined(packets.super_tcp(CLIENT, HOST6, bytes(6000), 1461))
    assert not declined(packets.super_tcp(CLIENT, HOST6, bytes(6000), 1460))
    assert declined(packets.udp(HOST, POOL, ip={"options": bytes(4)}))
    assert declined(packets.udp(HOST, POOL, ip={"ttl": 1}))
    assert declined(raw(IP(src=HOST, dst=POOL) / UDP(chksum=0)))
    assert declined(raw(IP(src=HOST, dst=POOL, chksum=1) / UDP()))
    assert declined(raw(IP(src=HOST, dst=POOL, flags="MF") / UDP() / Raw(bytes(8))))
    assert declined(raw(IP(src=HOST, dst=POOL, frag=1) / UDP() / Raw(bytes(8))))
    assert declined(packets.udp(HOST, POOL, bytes(1453)))
    assert not declined(packets.udp(HOST, POOL, bytes(1452)))
    assert declined(packets.super_tcp(HOST, POOL, bytes(65_490), 1400))
    assert declined(packets.echo(HOST, POOL))
    assert declined(packets.udp(HOST, POOL)[:-1])


def test_keys_of_packets_are_those_of_their_tuples() -> None:
    for addresses in ((CLIENT, HOST6), (HOST, POOL)):
        for make in (packets.tcp, packets.udp):
            packet = Packet.of(make(*addresses, b"x", sport=1, dport=65535))
            found = tuple_of(packet)
            assert found is not None
            assert key_of(packet.frame) == key_for(found)
    assert key_of(b"") is None
    assert key_of(Packet.of(packets.udp(HOST, POOL, ip={"options": bytes(4)})).frame) is None
    assert key_of(bytes(60)) is None


def test_identifications_are_one_a_segment() -> None:
    idents = Identification(65_534)
    assert [idents.take(), idents.take(3), idents.take()] == [65_534, 65_535, 2]
    inside, outside = tuples(17, 40000, 5000, 53)
    made = rewriter(inside, outside, 1500, idents)
    super_packet = made.rewrite(packets.super_udp(CLIENT, HOST6, bytes(3000), 1000))
    assert super_packet is not None
    assert super_packet.data[4:6] == (3).to_bytes(2, "big")
    assert idents.take() == 6


def test_s9_identifications_of_a_destination_do_not_depend_on_what_others_get() -> None:
    every = Identifications(5)
    one = every.of(p(HOST), 17)
    first = one.take()
    for last in range(256):
        if last == p(HOST)[3]:
            continue
        other = every.of(p(HOST)[:3] + bytes((last,)), 17)
        assert other is not one
        other.take(1000)
    assert every.of(p(HOST), 6) is not one
    assert every.of(p(HOST), 17).take() == first + 1


def test_a_rewriter_takes_tcp_or_udp_to_the_other_family() -> None:
    inside, outside = tuples(1, 1, 2, 3)
    with pytest.raises(ValueError, match="TCP or UDP"):
        rewriter(inside, outside, 1500, Identification())
    inside, outside = tuples(6, 1, 2, 3)
    with pytest.raises(ValueError, match="other"):
        rewriter(inside, inside, 1500, Identification())


def test_the_session_stays_with_the_packet() -> None:
    session: object = object()
    packet = Packet.of(packets.udp(CLIENT, HOST6), session)  # type: ignore[arg-type]
    inside, outside = tuples(17, 40000, 5000, 53)
    new = rewriter(inside, outside, 1500, Identification()).rewrite(packet)
    assert new is not None
    assert new.session is session
