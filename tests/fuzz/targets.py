"""What is fuzzed: each target takes any bytes, and raises only where a promise is broken."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from tempfile import gettempdir

from cryptography.utils import CryptographyDeprecationWarning
from vpnrs_auth_token.token import TokenError, parse_token
from vpnrs_auth_token.tokenfile import TokenFileError, parse_file

from tests.fuzz.nat64 import play
from tests.fuzz.session import OneSession, granted, wish
from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.config.load import load
from vpnrs_core.counters import CORE_REASONS, DropCounts
from vpnrs_core.engine import local_protocol
from vpnrs_core.engine.link import LinkPort
from vpnrs_core.errors import ConfigError, PeerError
from vpnrs_core.host import journal
from vpnrs_core.packet.checks import well_formed
from vpnrs_core.packet.coalesce import coalesce
from vpnrs_core.packet.fragment import fragment, may_fragment
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.icmp import packet_too_big
from vpnrs_core.packet.kinds import ALL_KINDS
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.refit import refit
from vpnrs_core.packet.segment import segment
from vpnrs_core.pipeline.pipeline import Pipeline
from vpnrs_core.quic.budget import Admission
from vpnrs_core.quic.demux import Demux, Gatehouse, Reply, one_connection
from vpnrs_core.quic.identity import load_key_pair
from vpnrs_core.session.client_handshake import Answered, ClientHandshake, Start
from vpnrs_core.session.handshake import Challenged, Finish, Judge, Violation
from vpnrs_core.session.server_handshake import Opened, ServerHandshake
from vpnrs_core.wire.capsule import CapsuleParser
from vpnrs_core.wire.codepoints import ALPN, CONTROL_LIMITS, LANE_LIMITS, MAX_CONTROL_VALUE, CapsuleType
from vpnrs_core.wire.messages import decode_message, encode_message

_CHUNK = 97
_CONTEXTS = ((0, PlainCodec), (2, OffloadCodec), (4, SegmentsCodec))
_MOST_DATAGRAM = 65_600


def capsules(data: bytes) -> None:
    """The stream's cuts mean nothing, and the parser never keeps more than one limited value."""
    for limits in (CONTROL_LIMITS, LANE_LIMITS):
        parser, whole, cut = CapsuleParser(limits), CapsuleParser(limits), []
        ends = [None, None]
        try:
            for at in range(0, len(data), _CHUNK):
                cut += parser.feed(data[at : at + _CHUNK])
                assert len(parser._buffer) <= max(limits.values()) + 16 + _CHUNK
        except PeerError as error:
            ends[0] = str(error)
        at_once = []
        try:
            at_once.extend(whole.feed(data))
        except PeerError as error:
            ends[1] = str(error)
        assert at_once == cut
        assert ends[0] == ends[1]
        assert all(len(value) <= limits[kind] for kind, value in cut)


def messages(data: bytes) -> None:
    """A control message is refused with PeerError or comes back from its own encoding the same. First byte: which."""
    kinds = [kind for kind in CapsuleType if kind is not CapsuleType.DATAGRAM]
    kind = kinds[data[0] % len(kinds)] if data else CapsuleType.PING
    try:
        message = decode_message(kind, data[1 : 1 + MAX_CONTROL_VALUE])
    except PeerError as refused:
        _is_one_line(refused, 300)
        return
    try:
        again = encode_message(message)
    except ValueError:
        return  # valid JSON may be shorter than ours for the same
    [(same, value)] = CapsuleParser(CONTROL_LIMITS).feed(again)
    assert (same, decode_message(same, value)) == (kind, message)


def server_handshake(data: bytes) -> None:
    """A server's machine never raises for what came, and finishes once."""
    machine = ServerHandshake(bytes(32), ALPN, b"spki", 0.0)
    parser, finished = CapsuleParser(CONTROL_LIMITS), 0
    inputs: list[object] = []
    try:
        for number, (kind, value) in enumerate(parser.feed(data)):
            inputs = [machine.read(kind, value)]
            while inputs:
                for action in machine.step(inputs.pop(0), float(number)):
                    finished += isinstance(action, Finish)
                    if isinstance(action, Judge):
                        inputs.append(Opened(granted(), "datagram"))
    except PeerError as error:
        finished += sum(isinstance(action, Finish) for action in machine.step(Violation(str(error)), 1.0))
    assert finished <= 1
    assert machine.closed == (finished == 1)


def client_handshake(data: bytes) -> None:
    """A client's, for what a server may send."""
    machine = ClientHandshake(wish(), bytes(32), ALPN, b"spki", lane="datagram")
    parser, finished = CapsuleParser(CONTROL_LIMITS), 0
    machine.step(Start({"bearer": "x"}), 0.0)
    try:
        for number, (kind, value) in enumerate(parser.feed(data)):
            inputs: list[object] = [machine.read(kind, value)]
            while inputs:
                for action in machine.step(inputs.pop(0), float(number)):
                    finished += isinstance(action, Finish)
                    if isinstance(action, Challenged):
                        inputs.append(Answered({}))
    except PeerError as error:
        finished += sum(isinstance(action, Finish) for action in machine.step(Violation(str(error)), 1.0))
    assert finished <= 1
    assert machine.closed == (finished == 1)


def datagrams(data: bytes) -> None:
    """Payloads through a link's codecs: every packet is sound and small, every payload is a packet's or counted."""
    payloads = list(split(data))
    for own in (ALL_KINDS, frozenset[str]()):
        for lane in ("datagram", "stream"):
            reasons: list[str] = []
            packets = _link(own, lane).decode_unwrapped(payloads, reasons.append)
            assert set(reasons) <= set(CORE_REASONS)
            assert len(reasons) <= len(payloads)
            assert bool(packets) or len(reasons) == len(payloads)
            for packet in packets:
                judge(packet)


def frames(data: bytes) -> None:
    """One frame as a TUN or a stage may have it: what is accepted can be cut, fitted, answered and cut again."""
    try:
        header = well_formed(data)
    except BadPacket:
        return
    packet = Packet(data)
    assert header == packet.header
    judge(packet)


def coalescing(data: bytes) -> None:
    """Joining loses, adds and changes nothing: cut again, the same packets come out, flow by flow."""
    packets = []
    for ip in split(data):
        packet = Packet.of(ip)
        try:
            _ = packet.header
        except BadPacket:
            continue
        packets.append(packet)
    joined = coalesce(list(packets), ALL_KINDS)
    again = [ip for packet in joined for ip in segment(packet)]
    assert sorted(map(unsigned, again)) == sorted(unsigned(packet.data) for packet in packets)
    for packet in joined:
        judge(packet)


def ingress(data: bytes) -> None:
    """A whole batch from a peer through the pipeline: every segment is written or counted, and only of its source."""
    drops = DropCounts()
    drops.close()
    failures: list[object] = []
    pipeline = Pipeline("server", [], drops, lambda *failure: failures.append(failure), pools=OneSession.POOLS)
    peer = pipeline.open(OneSession(), mtu=1400)
    packets = _link(ALL_KINDS, "datagram").decode_unwrapped(list(split(data)), drops.count)
    pipeline.ingress(peer, packets, 1.0)
    assert not failures
    for packet in pipeline.to_tun:
        judge(packet)
        assert ip_address(bytes(packet.src)) in OneSession.leases


def quic_packets(data: bytes) -> None:
    """The first datagram of a stranger: parsed or dropped, and never answered with more than it sent."""
    demux: Demux[str] = Demux()
    demux.add(bytes(8), "known")
    one_connection(data, max(1, len(data) // 3))
    if not data:
        return
    assert demux.find(data) in (None, "known")
    for threshold in (0, 10):
        admission = Admission(most=20, most_per_source=20, retry_threshold=threshold)
        gate = Gatehouse(admission, os.urandom)
        answer = gate.judge(data, ("192.0.2.1", 4433), 5.0)
        if isinstance(answer, Reply):
            assert len(answer.packet) <= len(data)
        assert (answer is None) == (sum(gate.dropped.values()) == 1)


def config_files(data: bytes) -> None:
    """A configuration is loaded or refused with ConfigError, which is short lines of text."""
    path = _written(data, "toml")
    try:
        load(path)
    except ConfigError as refused:
        for line in str(refused).split("\n"):
            _is_one_line(line, 2000)
    finally:
        path.unlink()


def token_files(data: bytes) -> None:
    """A tokens file or token is taken or refused, and no refusal shows what it held."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        read = parse_file(text, "tokens.txt")
    except TokenFileError as error:
        _shows_nothing(str(error), text)
    else:
        assert parse_file(read.text(), "tokens.txt").entries == read.entries
        assert not parse_file(read.without(set(read.entries)).text(), "tokens.txt").entries
    try:
        parse_token(text)
    except TokenError as error:
        _shows_nothing(str(error), text)


def journals(data: bytes) -> None:
    """A journal is read or refused, and what it tells of is numbered."""
    path = _written(data, "journal")
    try:
        found = journal.read(path)
    except ValueError as error:
        _is_one_line(error, 1000)
    else:
        assert all(entry.number <= found.last for entry in found.entries)
    finally:
        path.unlink()


def key_pairs(data: bytes) -> None:
    """A server's certificate and key, one behind the other: taken, or refused in one line."""
    path = _written(data, "pem")
    try:
        with warnings.catch_warnings():
            # A serial number of zero and the like: taken today, and the library says that it will not be for ever.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            load_key_pair(path, path)
    except ConfigError as refused:
        _is_one_line(refused, 1000)
    finally:
        path.unlink()


def local_messages(data: bytes) -> None:
    """What another process writes to a local socket."""
    try:
        if len(data) >= local_protocol.HEADER.size:
            assert local_protocol.body_size(data[: local_protocol.HEADER.size]) <= local_protocol.MAX_MESSAGE
        assert isinstance(local_protocol.unpack(data), dict)
    except local_protocol.BadMessage:
        pass


def nat64(data: bytes) -> None:
    """A sequence of packets, from both sides, through the translator."""
    play(split(data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        capsules, messages, server_handshake, client_handshake, datagrams, frames, coalescing, ingress, quic_packets,
        config_files, token_files, journals, key_pairs, local_messages, nat64,
    )
}  # fmt: skip


# What the targets share


def split(data: bytes) -> Iterator[bytes]:
    """Payloads, each behind two bytes of length; the last may be cut short."""
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : end]
        at = end


def judge(packet: Packet) -> None:
    """What every accepted packet must bear."""
    well_formed(packet.frame)
    assert len(packet.data) <= _MOST_DATAGRAM
    pieces = segment(packet)
    assert len(pieces) == packet.segments
    assert max(map(len, pieces)) == packet.largest_segment
    for mtu in (1280, 576):
        smaller = refit(packet, mtu)
        if smaller is not None:
            assert smaller.largest_segment <= mtu
            segment(smaller)
        answer = packet_too_big(packet, mtu, bytes(4 if pieces[0][0] >> 4 == 4 else 16))
        if answer is not None:
            assert len(answer.data) <= 1280
            well_formed(answer.frame)
        for piece in pieces[:2]:
            if may_fragment(piece):
                assert all(len(part) <= mtu for part in fragment(piece, mtu))


def unsigned(ip: bytes) -> bytes:
    """Without the checksums, which have two spellings of zero."""
    if ip[0] >> 4 == 4:
        at = (ip[0] & 15) * 4
        ip = ip[:10] + b"\0\0" + ip[12:]
        return _without(ip, at, ip[9])
    return _without(ip, 40, ip[6])


def _without(ip: bytes, at: int, protocol: int) -> bytes:
    field = at + {6: 16, 17: 6}.get(protocol, len(ip))
    return ip[:field] + b"\0\0" + ip[field + 2 :] if field + 2 <= len(ip) else ip


def _link(own: frozenset[str], lane: str) -> LinkPort:
    codecs = [(context, codec.NAME, codec().open(own, ALL_KINDS, lane)) for context, codec in _CONTEXTS]
    return LinkPort(None, None, codecs)  # type: ignore[arg-type]  # decoding asks neither connection nor lane


def _written(data: bytes, kind: str) -> Path:
    path = Path(gettempdir()) / f"vpnrs-fuzz-{os.getpid()}.{kind}"
    path.write_bytes(data)
    return path


def _is_one_line(error: object, most: int) -> None:
    assert len(str(error)) < most
    assert str(error).isprintable()


def _shows_nothing(error: str, text: str) -> None:
    for word in text.split():
        assert len(word) < 24 or word not in error
