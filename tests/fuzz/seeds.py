"""The first inputs of each target: what a well-behaved peer or person would write."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable

from vpnrs_auth_token.config import provision
from vpnrs_auth_token.token import new_token
from vpnrs_auth_token.tokenfile import HEADER

from tests.fuzz import nat64
from tests.fuzz.session import granted, wish
from vpnrs_core.engine import local_protocol
from vpnrs_core.interfaces import Code, QuicSettings, Refuse
from vpnrs_core.packet.cut import cut
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.segment import segment
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import make_certificate
from vpnrs_core.session.client_handshake import ClientHandshake, Start
from vpnrs_core.session.handshake import Send, close_message, reject_message
from vpnrs_core.session.server_handshake import Opened, ServerHandshake, ServerState
from vpnrs_core.testkit.packets import echo, super_tcp, super_udp, tcp, udp
from vpnrs_core.wire.addresses import UNSPECIFIED, AddressRequest, PrefixEntry
from vpnrs_core.wire.capsule import CapsuleParser, encode_capsule
from vpnrs_core.wire.codepoints import ALPN, CONTROL_LIMITS, CapsuleType
from vpnrs_core.wire.messages import Auth, ChallengeMessage, Close, Ext, Ping, Pong, encode_message

FOUR, SIX = ("10.0.0.1", "10.9.0.2"), ("fd00::1", "fd00:9::2")
TIMESTAMPS = bytes.fromhex("0101080a0000123400005678")
V6_OPTION = bytes.fromhex("1e0400000000")


def from_client() -> list[bytes]:
    machine = ClientHandshake(wish(), bytes(32), ALPN, b"spki", lane="datagram")
    hello = next(encode_message(a.message) for a in machine.step(Start({"bearer": "x"}), 0.0) if isinstance(a, Send))
    [(_, value)] = CapsuleParser(CONTROL_LIMITS).feed(hello)
    resuming = json.loads(value) | {"resume": {"session": "a", "generation": 1}, "mtu": 1280, "wanted": ["::/0"]}
    request = AddressRequest((PrefixEntry(1, UNSPECIFIED[4]), PrefixEntry(2, UNSPECIFIED[6])))
    after = [Ping(id=7), Pong(id=7), Ext(codec="x", body=b"abc"), request, Close()]
    return [
        hello,
        capsule(CapsuleType.HELLO, json.dumps(resuming).encode()),
        encode_message(Auth(proof=bytes(32))),
        encode_message(Auth(body={"a": [1, {"b": None}]})),
        *map(encode_message, after),
    ]


def from_server() -> list[bytes]:
    machine = ServerHandshake(bytes(32), ALPN, b"spki", 0.0)
    machine.state = ServerState.JUDGING
    opened = [
        encode_message(a.message) for a in machine.step(Opened(granted(), "datagram"), 1.0) if isinstance(a, Send)
    ]
    refuse = Refuse(Code.BLOCKED, retry_after=7.0)
    return [
        encode_message(ChallengeMessage(nonce=bytes(32), about="method", body={"n": 1})),
        *opened,
        encode_message(reject_message(refuse)),
        encode_message(close_message(refuse)),
        capsule(CapsuleType.UPDATE, b'{"terms": {"mtu": 1400, "dns": ["10.0.0.1"], "expires": 2e9}}'),
    ]


def capsule(kind: int, value: bytes) -> bytes:
    return encode_capsule(int(kind), value)


def supers() -> list[Packet]:
    return [
        super_tcp(*FOUR, bytes(3000), 1000, options=TIMESTAMPS),
        super_tcp(*SIX, bytes(2500), 1000),
        super_tcp(*FOUR, bytes(6000), 300),
        super_udp(*FOUR, bytes(2400), 1200),
        super_udp(*SIX, bytes(2500), 1200),
    ]


def singles() -> list[bytes]:
    return [
        tcp(*FOUR, b"abc", options=TIMESTAMPS),
        tcp(*SIX, b"abc"),
        udp(*FOUR, b"x" * 600),
        udp(*SIX, b"x"),
        echo(*FOUR),
        echo(*SIX, bytes(1400)),
    ]


def listed(payloads: Iterable[bytes]) -> bytes:
    return b"".join(len(payload).to_bytes(2, "big") + payload for payload in payloads)


def payload_lists() -> list[bytes]:
    plain = [b"\0" + ip for ip in singles()]
    pieces = [[b"\4" + piece for piece in cut(packet)] for packet in supers()]
    lone = [b"\2" + super_tcp(*FOUR, b"abc", 1000).frame, b"\2" + super_udp(*SIX, b"abc", 1000).frame]
    whole = [b"\2" + packet.frame for packet in supers()]
    stream = [b"\0" + ip for ip in segment(super_tcp(*FOUR, bytes(4000), 1000))]
    mixed = [*plain, *pieces[0][1:], *lone, *pieces[3], *stream]
    return [listed(each) for each in (plain, *pieces, pieces[0][::-1], pieces[2][2:], lone, whole, stream, mixed)]


def initials() -> list[bytes]:
    engine = AioquicEngine().client(QuicSettings(is_client=True, alpns=(ALPN,)))
    engine.connect(("192.0.2.1", 443), time.monotonic())
    [first] = [packet for group, _ in engine.transmit(time.monotonic()) for packet in group][:1]
    return [first, first[:1] + b"\x1a\x2a\x3a\x4a" + first[5:], first[:1] + bytes(4) + first[5:], b"\x40" + bytes(60)]


def configurations() -> list[bytes]:
    server = b"""role = "server"
listen = "0.0.0.0:4433"
[addresses]
ipv4 = "10.77.0.0/24"
ipv6 = "fd77::/64"
[auth]
methods = ["token"]
[session]
routes = ["10.99.0.0/24"]
resume_window = 120
[quic]
certificate = "server.crt"
key = "server.key"
[plugins.auth_token]
tokens = "tokens.txt"
"""
    client = b"""role = "client"
server = "192.0.2.1:4433"
server_pin = "sha256:%s"
routes = ["0.0.0.0/0"]
[auth]
method = "token"
[reconnect]
min = 1
max = 60
[plugins.auth_token]
token = { file = "client.token" }
""" % (b"ab" * 32)
    return [server, client]


def tokens() -> list[bytes]:
    given = provision("alice")
    [file], [token] = given.server_files.values(), given.client_files.values()
    made = new_token(random.Random(1).randbytes)
    two = "".join([file, "# a comment\n\n", file.splitlines()[-1].replace("never", "2030-12-31T23:59:59Z")])
    return [file.encode(), token.encode(), made.text.encode(), two.encode(), HEADER.encode()]


def journals() -> list[bytes]:
    lines = [
        {"journal": 1, "boot": "b", "namespace": "4:5"},
        {"intend": 1, "change": {"kind": "route", "network": "10.8.0.0/16"}},
        {"done": 1},
        {"undoing": 1},
        {"undone": 1},
    ]
    text = [json.dumps(line).encode() + b"\n" for line in lines]
    return [b"".join(text), b"".join(text[:3]), b"".join(text[:2])[:-5]]


def key_pairs() -> list[bytes]:
    one, other = make_certificate("vpn.example"), make_certificate("192.0.2.1")
    return [one.certificate + one.key, one.certificate + other.key, one.certificate * 2, one.key]


def local() -> list[bytes]:
    asked = [local_protocol.request(1, "core.status", {}), local_protocol.error(1, "refused", "no")]
    return [*asked, *(message[local_protocol.HEADER.size :] for message in asked)]


def seeds() -> dict[str, list[bytes]]:
    client, server = from_client(), from_server()
    kinds = [kind for kind in CapsuleType if kind is not CapsuleType.DATAGRAM]
    bodies = []
    for kind, value in CapsuleParser(CONTROL_LIMITS).feed(b"".join((*client, *server))):
        bodies.append(bytes([kinds.index(CapsuleType(kind))]) + value)
    lists = payload_lists()
    return {
        "capsules": [
            b"".join(client),
            b"".join(server),
            capsule(0x7777, bytes(300)) + client[0],
            capsule(0, bytes(2000)),
        ],
        "messages": bodies,
        "server_handshake": [b"".join(client[:1] + client[4:]), b"".join(client[1:3] + client[4:]), client[0] * 2],
        "client_handshake": [b"".join(server[1:4] + server[6:]), b"".join(server[:4]), server[4], b"".join(server)],
        "datagrams": lists,
        "frames": [packet.frame for packet in supers()] + [Packet.of(ip).frame for ip in singles()],
        "coalescing": [listed(singles()), *(listed(segment(packet)) for packet in supers())],
        "ingress": lists,
        "quic_packets": initials(),
        "config_files": configurations(),
        "token_files": tokens(),
        "journals": journals(),
        "key_pairs": key_pairs(),
        "local_messages": local(),
        "nat64": [listed(packets) for packets in nat64.seeds()],
    }
