"""Translation with the other side's MTU in view: what passes, what is fragmented, and who hears Packet Too Big.

A super-packet is judged by its largest segment, never by its own length (RFC 7915 §1.4, §4, §5).
"""

from __future__ import annotations

from vpnrs_core.packet.fragment import fragment
from vpnrs_core.packet.header import VNET_LENGTH
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_nat64.translate.fragments import fragment_v6
from vpnrs_nat64.translate.headers import split_for_growth, to_v4, to_v6
from vpnrs_nat64.translate.icmp_tables import MIN_V4_MTU, MIN_V6_MTU
from vpnrs_nat64.translate.problem import Problem, too_big
from vpnrs_nat64.translate.tuples import inspect

_DF = 0x40


def deliver_v6(
    packet: Packet, src6: bytes, dst6: bytes, sport: int | None = None, dport: int | None = None,
    *, mtu: int, lowest: int | None = None, tos: int | None = None, hop: int = 1,
) -> list[Packet] | Problem:  # fmt: skip
    """The IPv4 `packet` as the IPv6 packets that reach a client whose tunnel has `mtu` (bytes, 1280 at least).

    Arguments as of `to_v6`. Without DF everything is fragmented to `lowest` (RFC 7915's lowest-ipv6-mtu; None: `mtu`);
    with DF the sender hears of `mtu` − 20. All or nothing: a Problem is the whole packet's."""
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    mtu = max(mtu, MIN_V6_MTU)
    limit = mtu if lowest is None else max(min(lowest, mtu), MIN_V6_MTU)
    done: list[Packet] = []
    for piece in split_for_growth(packet):
        new = to_v6(piece, src6, dst6, sport, dport, tos=tos, hop=hop)
        if isinstance(new, Problem):
            return new
        frame = piece.frame
        df = frame[VNET_LENGTH + 6] & _DF
        if new.largest_segment <= (mtu if df else limit):
            done.append(new)
        elif df:
            return too_big(4, mtu - 20)
        elif new.gso_size:
            done += _each_v6(piece, src6, dst6, sport, dport, limit, tos, hop)
        else:
            ident = frame[VNET_LENGTH + 4] << 8 | frame[VNET_LENGTH + 5]
            done += fragment_v6(new, limit, ident)
    return done


def deliver_v4(
    packet: Packet, src4: bytes, dst4: bytes, sport: int | None = None, dport: int | None = None, ident: int = 0,
    *, mtu: int, tos: int | None = None, hop: int = 1, shared: bool = False,
) -> list[Packet] | Problem:  # fmt: skip
    """The IPv6 `packet` as the IPv4 packets that fit `mtu` (bytes), arguments as of `to_v4`.

    IPv6's senders fragment by themselves: they hear of `mtu` + 20. Only what that cannot make smaller is fragmented
    here: packets of at most 1280 bytes, and those with a fragment header."""
    mtu = max(mtu, MIN_V4_MTU)
    found = inspect(packet)
    if isinstance(found, Problem):
        return found
    fragmented = found[1].fragment > 0
    done: list[Packet] = []
    for piece in split_for_growth(packet):
        new = to_v4(piece, src4, dst4, sport, dport, ident, tos=tos, hop=hop, shared=shared)
        if isinstance(new, Problem):
            return too_big(6, max(mtu + 20, MIN_V6_MTU)) if new.reason == "too_long" else new
        if new.largest_segment <= mtu:
            done.append(new)
        elif not fragmented and piece.largest_segment > MIN_V6_MTU:
            return too_big(6, max(mtu + 20, MIN_V6_MTU))
        else:
            # No DF here: such packets came from at most 1280 bytes, or from a fragment header.
            for ip in segment(new):
                done += [Packet.of(part, packet.session) for part in fragment(ip, mtu)]
        ident = ident + piece.segments & 0xFFFF
    return done


def _each_v6(
    packet: Packet, src6: bytes, dst6: bytes, sport: int | None, dport: int | None, limit: int, tos: int | None,
    hop: int,
) -> list[Packet]:  # fmt: skip
    """A super-packet whose segments may be fragmented and have to be. Each segment has its own identification."""
    done: list[Packet] = []
    for ip in segment(packet):
        new = to_v6(Packet.of(ip, packet.session), src6, dst6, sport, dport, tos=tos, hop=hop)
        if isinstance(new, Packet):
            done += fragment_v6(new, limit, int.from_bytes(ip[4:6], "big"))
    return done
