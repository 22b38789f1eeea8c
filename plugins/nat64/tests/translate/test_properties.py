"""What holds for every packet: there and back again, checksums, MTUs, no error for an error, no exception."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from nat64_kit import CLIENT, HOST, HOST6, POOL, ROUTER, ROUTER6, all_good, good, p, right
from scapy.all import (  # type: ignore[attr-defined]
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    Raw,
    raw,
)
from vpnrs_nat64.translate import fast
from vpnrs_nat64.translate.fragments import Fragments
from vpnrs_nat64.translate.headers import to_v4, to_v6
from vpnrs_nat64.translate.icmp import answer, error_to_v4, error_to_v6
from vpnrs_nat64.translate.mtu import deliver_v4, deliver_v6
from vpnrs_nat64.translate.problem import REASONS, Problem
from vpnrs_nat64.translate.stateless import Side, Stateless, stateless
from vpnrs_nat64.translate.tuples import Kind, Tuple, embedded_tuple, fault, kind, tuple_of

from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit import packets

PORTS = st.integers(0, 65535)
FLIP = st.integers(0, 0xFFFF)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(("tcp", "udp", "echo")), st.binary(max_size=1500), PORTS, PORTS, PORTS, st.integers(4, 255), FLIP
)
@example("udp", b"", 0, 0, 0, 64, 0)
def test_round_trip_is_the_identity_but_for_the_hops(
    make: str, payload: bytes, sport: int, dport: int, outer: int, hops: int, flip: int
) -> None:
    fields = {"ident": sport} if make == "echo" else {"sport": sport, "dport": dport}
    data = bytearray(getattr(packets, make)(CLIENT, HOST6, payload, **fields))
    data[7] = hops
    at = 40 + {"tcp": 16, "udp": 6, "echo": 2}[make]
    damaged = (int.from_bytes(data[at : at + 2], "big") ^ flip).to_bytes(2, "big")
    if make != "udp" or damaged != b"\0\0":
        data[at : at + 2] = damaged
    four = good(to_v4(Packet.of(bytes(data)), p(POOL), p(HOST), outer, outer if make == "echo" else dport))
    back = bytearray(good(to_v6(four, p(HOST6), p(CLIENT), None, None)).data)
    again = good(to_v4(Packet.of(bytes(back)), p(POOL), p(HOST))).data
    assert again[20:] == four.data[20:]
    # Back to the client's own addresses and ports, as its host sees it who is asked to turn around.
    same = good(to_v6(four, p(CLIENT), p(HOST6), sport, sport if make == "echo" else dport)).data
    data[7] -= 2
    field = slice(at, at + 2)
    assert same[:at] == data[:at]
    assert same[at + 2 :] == data[at + 2 :]
    assert (int.from_bytes(same[field], "big") - int.from_bytes(data[field], "big")) % 65535 == 0


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(("tcp", "udp", "echo")), st.booleans(), st.binary(max_size=300), PORTS, st.booleans(), FLIP)
def test_checksum_is_right_if_and_only_if_it_was(
    make: str, six: bool, payload: bytes, port: int, spoil: bool, noise: int
) -> None:
    addresses = (CLIENT, HOST6) if six else (HOST, POOL)
    data = bytearray(getattr(packets, make)(*addresses, payload))
    if spoil:
        at = len(data) - len(payload) - {"tcp": 4, "udp": 2, "echo": 6}[make]
        wrong = int.from_bytes(data[at : at + 2], "big") + 1 + noise % 65534
        data[at : at + 2] = ((wrong - 1) % 65535 + 1).to_bytes(2, "big")
    translate, ends = (to_v4, (p(POOL), p(HOST))) if six else (to_v6, (p(HOST6), p(CLIENT)))
    new = good(translate(Packet.of(bytes(data)), *ends, port, port))
    try:
        right(new)
        correct = True
    except AssertionError:
        correct = False
    assert correct is not spoil


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(), st.sampled_from(("tcp", "udp", "echo", "super_tcp", "super_udp")), st.integers(0, 12_000),
    st.booleans(), st.integers(1280, 9000), st.integers(500, 1460),
)  # fmt: skip
def test_nothing_ever_exceeds_the_mtu(six: bool, make: str, size: int, df: bool, mtu: int, gso: int) -> None:
    addresses = (CLIENT, HOST6) if six else (HOST, POOL)
    ip = {} if six else {"dont_fragment": df}
    if make.startswith("super"):
        packet = getattr(packets, make)(*addresses, bytes(size), gso, ip=ip)
    elif make == "echo":
        packet = Packet.of(packets.echo(*addresses, bytes(size)))
    else:
        packet = Packet.of(getattr(packets, make)(*addresses, bytes(size), ip=ip))
    if six:
        result = deliver_v4(packet, p(POOL), p(HOST), 1, 1, mtu=mtu)
    else:
        result = deliver_v6(packet, p(HOST6), p(CLIENT), 1, 1, mtu=mtu, lowest=1280)
    if isinstance(result, Problem):
        assert result.reason == "too_big"
        assert result.error is not None
        # An error must ask for less than there was, or the sender would try the same for ever.
        assert result.error.rest < packet.largest_segment
        return
    assert result
    for new in result:
        well_formed(new.frame)
        assert new.largest_segment <= mtu


def _errors() -> list[Packet]:
    wire4 = packets.udp(POOL, HOST, b"q", sport=5000, dport=80)
    wire6 = packets.udp(HOST6, CLIENT, b"r", sport=80, dport=1234)
    return [
        Packet.of(raw(IP(src=ROUTER, dst=POOL) / ICMP(type=3, code=1) / Raw(wire4))),
        Packet.of(raw(IP(src=ROUTER, dst=POOL) / ICMP(type=11) / Raw(wire4.ljust(128, b"\0") + b"\x20\0\0\0\0\4\1\1"))),
        Packet.of(raw(IP(src=ROUTER, dst=POOL) / ICMP(type=3, code=4, nexthopmtu=1300) / Raw(wire4))),
        Packet.of(raw(IPv6(src=CLIENT, dst=HOST6) / ICMPv6DestUnreach(code=4) / Raw(wire6))),
        Packet.of(raw(IPv6(src=CLIENT, dst=HOST6) / ICMPv6PacketTooBig(mtu=1300) / Raw(wire6))),
    ]


def _seeds() -> list[bytes]:
    base4, base6 = IP(src=HOST, dst=POOL), IPv6(src=CLIENT, dst=HOST6)
    extensions = IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4))) / IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(4)))
    built = [
        base4 / TCP() / Raw(b"data"), base4 / UDP() / Raw(b"data"), base4 / ICMP() / Raw(b"data"),
        IP(src=HOST, dst=POOL, flags="MF", id=3) / UDP() / Raw(bytes(24)), base4 / UDP(chksum=0) / Raw(b"x"),
        base6 / TCP() / Raw(b"data"), base6 / UDP() / Raw(b"data"), base6 / ICMPv6EchoRequest(data=b"data"),
        base6 / extensions / UDP() / Raw(b"data"), base6 / IPv6ExtHdrRouting(addresses=[HOST6], segleft=0) / TCP(),
        base6 / IPv6ExtHdrFragment(m=1, id=4) / UDP() / Raw(bytes(8)),
        base6 / extensions / IPv6ExtHdrFragment(offset=2, id=4) / Raw(bytes(16)),
    ]  # fmt: skip
    frames = [Packet.of(raw(packet)).frame for packet in built] + [error.frame for error in _errors()]
    frames += [
        packets.super_tcp(CLIENT, HOST6, bytes(300), 100).frame,
        packets.super_udp(HOST, POOL, bytes(300), 99).frame,
    ]
    return [*frames, Packet.of(packets.udp(HOST, POOL, ip={"options": b"\x83\x07\x08\1\2\3\4\0"})).frame]


SEEDS = _seeds()
SETTINGS = Stateless(
    to_v4=lambda six: six[12:], to_v6=lambda four: p("64:ff9b::")[:12] + four, router4=p(POOL), router6=p(ROUTER6)
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at:]
            case 2:
                data[at:at] = draw(st.binary(max_size=40))
            case _:
                data[at : at + 2] = draw(st.sampled_from((b"\0\0", b"\xff\xff", b"\x80\0", b"\0\1")))
    if draw(st.booleans()) and len(data) >= 50:  # lengths that agree again, to get past the first check
        if data[10] >> 4 == 4:
            data[12:14] = (len(data) - 10).to_bytes(2, "big")
            head = bytes(data[10 : 10 + (data[10] & 15) * 4])
            data[20:22] = b"\0\0"
            data[20:22] = raw(IP(head[:10] + b"\0\0" + head[12:], chksum=None))[10:12] if len(head) >= 20 else b"\0\0"
        else:
            data[14:16] = (len(data) - 50).to_bytes(2, "big")
    return bytes(data)


def everything(packet: Packet) -> list[Packet | Problem]:
    """All that the translator can be asked about a packet."""
    results: list[Packet | Problem] = []
    found = tuple_of(packet) or embedded_tuple(packet) or Tuple(17, packet.frame[:4], packet.frame[:4], 1, 2)
    four, six = Tuple(6, p(POOL), p(HOST), 1, 2), Tuple(6, p(HOST6), p(CLIENT), 1, 2)
    results += [fault(packet), to_v4(packet, p(POOL), p(HOST), 1, 2), to_v6(packet, p(HOST6), p(CLIENT), 1, 2)]
    results.append(error_to_v4(packet, four, mtu4=1500, mtu6=1400))
    results.append(error_to_v6(packet, six, p(ROUTER6), mtu4=1500, mtu6=1400))
    for made in (
        deliver_v4(packet, p(POOL), p(HOST), 1, 2, mtu=600), deliver_v6(packet, p(HOST6), p(CLIENT), 1, 2, mtu=1280),
        stateless(Side.V4, packet, SETTINGS), stateless(Side.V6, packet, SETTINGS),
    ):  # fmt: skip
        results += [made] if isinstance(made, Problem) else made
    added = Fragments().add(packet, 0.0)
    assert added.whole is None or kind(packet) is Kind.FRAGMENT
    fast.key_of(packet.frame)
    for old, new in ((six.swapped(), four), (four.swapped(), six)):
        for protocol in (6, 17):
            made_fast = fast.rewriter(
                old._replace(protocol=protocol), new._replace(protocol=protocol), 1500, fast.Identification()
            ).rewrite(packet)
            results += [made_fast] if made_fast else []
    assert found
    return results


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_no_exception_on_mutated_packets_and_only_sound_results(frame: bytes) -> None:
    packet = Packet(frame)
    for result in everything(packet):
        if isinstance(result, Problem):
            assert result.reason in REASONS
            if result.error is not None and kind(packet) is Kind.ICMP_ERROR:
                source = p(POOL) if packet.version == 4 else p(ROUTER6)
                assert answer(packet, result.error, source) is None, "an error for an error"
        else:
            well_formed(result.frame)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_exception_on_any_bytes(data: bytes) -> None:
    everything(Packet(data))
    everything(Packet.of(data))


def test_never_an_error_for_an_error() -> None:
    for packet in _errors():
        assert kind(packet) is Kind.ICMP_ERROR
        spent = bytearray(packet.frame)
        spent[17 if packet.version == 6 else 18] = 1
        for result in everything(Packet(bytes(spent))):
            if isinstance(result, Problem) and result.error is not None:
                assert answer(packet, result.error, p(POOL) if packet.version == 4 else p(ROUTER6)) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), st.booleans(), st.integers(1, 60)), max_size=200))
def test_fragment_store_is_bounded_and_loses_nothing_under_any_input(
    inputs: list[tuple[int, int, bool, int]],
) -> None:
    store = Fragments(max_bytes=131_070, max_sets=8, max_sets_of_source=3, max_parts=4)
    held: set[int] = set()
    keep = []
    whose: list[Any] = [None, object(), object()]
    for now, (ident, offset, more, size) in enumerate(inputs):
        data = raw(IPv6(src=f"fd00::{ident % 5}:1", dst=HOST6) / IPv6ExtHdrFragment(
            nh=17, id=ident, offset=offset * 10, m=more) / Raw(bytes(size * 8)))  # fmt: skip
        packet = Packet.of(data, whose[ident % 3])
        keep.append(packet)
        result = store.add(packet, now / 20)
        held.add(id(packet))
        held -= {id(gone) for gone in result.parts} | {id(gone) for gone, _ in result.dropped}
        for over in store.expire(now / 20):
            held -= {id(gone) for gone in over.parts}
        assert len(store) <= 8
        assert store.bytes <= 131_070
    for over in store.expire(1e9):
        held -= {id(gone) for gone in over.parts}
    assert not held
    assert (len(store), store.bytes, store.next_expiry()) == (0, 0, None)


def test_fragments_of_udp_without_checksum_are_reassembled_and_computed() -> None:
    data = raw(IP(src=HOST, dst=POOL) / UDP(sport=53, dport=5000, chksum=0) / Raw(bytes(range(256)) * 8))
    store = Fragments()
    parts = [Packet.of(raw(part)) for part in IP(data).fragment(1000)]
    whole = [store.add(part, 0).whole for part in parts][-1]
    assert whole is not None
    new = all_good(deliver_v6(whole, p(HOST6), p(CLIENT), 53, 1234, mtu=1280))
    joined = [store.add(part, 0).whole for part in new][-1]
    assert joined is not None
    right(joined)
