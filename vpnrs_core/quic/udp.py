"""A non-blocking UDP socket that moves many datagrams a call (UDP_SEGMENT, UDP_GRO) and falls back where it must."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby, pairwise
from typing import NamedTuple

from vpnrs_core.errors import HostError
from vpnrs_core.interfaces.engine import SocketAddress

log = logging.getLogger("vpnrs.quic")

# <linux/udp.h>, <linux/in.h>, <linux/in6.h>: not in the socket module of every Python that we run on.
_UDP_SEGMENT, _UDP_GRO = 103, 104
_IP_PKTINFO, _IP_MTU, _IP_MTU_DISCOVER = 8, 14, 10
_IPV6_MTU_DISCOVER, _IPV6_MTU = 23, 24
_PMTUDISC_PROBE = 3
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

MOST_SEGMENTS = 64
MOST_BURST_BYTES = 65_000
_PKTINFO = frozenset({(socket.IPPROTO_IP, _IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)})
_RECEIVE_BYTES = 65_535
_CONTROL_BYTES = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)
_UDP_OVER_IPV4, _UDP_OVER_IPV6 = 28, 48

# These lose one packet, as a network may; the rest is QUIC's business.
_LOSSES = frozenset(
    {
        errno.EPERM,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.ENETDOWN,
        errno.EADDRNOTAVAIL,
        errno.ENOBUFS,
        errno.EINVAL,
        errno.EACCES,
    }
)


class Received(NamedTuple):
    """One receive call's yield: a payload, or several of `segment` bytes; `local` is the raw PKTINFO, b"" if none."""

    data: bytes
    segment: int
    address: SocketAddress
    local: bytes


# Without Python's own steps: one is made with every read.
_received: Callable[[tuple[object, ...]], Received] = partial(tuple.__new__, Received)


@dataclass
class SocketCounters:
    """`too_large` is what the path refused (EMSGSIZE), `lost` what the host did."""

    bytes_in: int = 0
    packets_in: int = 0
    bytes_out: int = 0
    packets_out: int = 0
    too_large: int = 0
    lost: int = 0


def bursts(packets: list[bytes]) -> list[list[bytes]]:
    """Cut packets, in order, into what one UDP_SEGMENT send takes: equal sizes but for a shorter last one, at most 64
    segments and 65,000 bytes."""
    sizes = list(map(len, packets))
    # As nearly always: all of one size, but perhaps the last.
    if sizes and sizes[-1] <= sizes[0] and sizes.count(sizes[0]) == len(sizes) - (sizes[-1] < sizes[0]):
        most = max(1, min(MOST_SEGMENTS, MOST_BURST_BYTES // max(sizes[0], 1)))
        return [packets[at : at + most] for at in range(0, len(packets), most)]
    groups: list[list[bytes]] = []
    runs = [(size, len(list(run))) for size, run in groupby(sizes)]
    at = taken = 0  # taken: packets of a run that the one before has closed with
    for (size, count), (following, _) in pairwise([*runs, (MOST_BURST_BYTES, 0)]):
        left, taken = count - taken, 0
        most = max(1, min(MOST_SEGMENTS, MOST_BURST_BYTES // max(size, 1)))
        while left:
            now = min(left, most)
            left -= now
            taken = int(not left and now < most and following < size)
            groups.append(packets[at : at + now + taken])
            at += now + taken
    return groups


class UdpSocket:
    """`recv` and `send` never block. Replies leave from where they were received: PKTINFO goes in and out."""

    def __init__(self, sock: socket.socket, *, gso: bool = True, gro: bool = True, buffer: int = 4 << 20) -> None:
        self._sock = sock
        self._v6 = sock.family == socket.AF_INET6
        self.counters = SocketCounters()
        self._replies: dict[bytes, list[tuple[int, int, bytes]]] = {b"": []}
        sock.setblocking(False)
        self._buffers(buffer)
        self._options()
        self.gro = gro and self._try(socket.SOL_UDP, _UDP_GRO, 1)
        # Setting the default segment size to 0 changes nothing, but tells whether the kernel knows the option.
        self.gso = gso and self._try(socket.SOL_UDP, _UDP_SEGMENT, 0)

    def _try(self, level: int, option: int, value: int) -> bool:
        try:
            self._sock.setsockopt(level, option, value)
        except OSError:
            return False
        return True

    def _buffers(self, size: int) -> None:
        for force, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            if not self._try(socket.SOL_SOCKET, force, size):  # needs CAP_NET_ADMIN; net.core.*mem_max caps the other
                self._try(socket.SOL_SOCKET, plain, size)

    def _options(self) -> None:
        if self._v6:
            self._try(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._try(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            self._try(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        # On a dual-stack socket this one is for IPv4.
        self._try(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def name(self) -> SocketAddress:
        address: SocketAddress = self._sock.getsockname()
        return address

    def close(self) -> None:
        self._sock.close()

    def recv(self) -> Received | None:
        """None: nothing is there."""
        try:
            data, ancillary, _, address = self._sock.recvmsg(_RECEIVE_BYTES, _CONTROL_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:  # an ICMP error of an earlier send
            log.debug("receive: %s", error)
            return None
        size = segment = len(data)
        local = b""
        for level, kind, value in ancillary:
            if kind == _UDP_GRO and level == socket.SOL_UDP:
                segment = int.from_bytes(value, sys.byteorder)
            elif (level, kind) in _PKTINFO:
                local = value
        counters = self.counters
        counters.bytes_in += size
        counters.packets_in += -(-size // segment) if segment else 1
        return _received((data, segment, address, local))

    def send(self, packets: Sequence[bytes], address: SocketAddress, local: bytes) -> int:
        """Send what `bursts` grouped → how many packets are dealt with, sent or lost. Fewer than all: the socket's
        buffer is full. A packet that the path refuses as too large is lost and counted."""
        control = self._replies.get(local)
        if control is None:
            control = self._replies[local] = [_reply_from(local)]
        if self.gso and len(packets) > 1:
            size = struct.pack("=H", len(packets[0]))
            try:
                sent = self._sock.sendmsg(packets, [*control, (socket.SOL_UDP, _UDP_SEGMENT, size)], 0, address)
            except (BlockingIOError, InterruptedError):
                return 0
            except OSError as error:
                self._segment_refused(error)
            else:
                self.counters.bytes_out += sent
                self.counters.packets_out += len(packets)
                return len(packets)
        for number, packet in enumerate(packets):
            if not self._send_one(packet, control, address):
                return number
        return len(packets)

    def _segment_refused(self, error: OSError) -> None:
        # EIO: the device cannot segment or checksum. EINVAL, EMSGSIZE: this size, on this path, now.
        if error.errno in (errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT):
            log.warning("UDP segmentation offload does not work here (%s): sending one datagram a call", error.strerror)
            self.gso = False

    def _send_one(self, packet: bytes, control: list[tuple[int, int, bytes]], address: SocketAddress) -> bool:
        try:
            self._sock.sendmsg([packet], control, 0, address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self.counters.too_large += 1
            elif error.errno in _LOSSES:
                self.counters.lost += 1
                log.debug("send to %s: %s", address, error)
            else:
                raise
            return True
        self.counters.bytes_out += len(packet)
        self.counters.packets_out += 1
        return True


def _reply_from(local: bytes) -> tuple[int, int, bytes]:
    """The control message that makes a packet leave from where another, with that PKTINFO, arrived."""
    if len(local) == 12:  # struct in_pktinfo: interface, address to answer from, destination in the header
        return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=I4s4s", 0, local[4:8], bytes(4))
    # struct in6_pktinfo. Only a link-local address needs its interface; routing chooses for the others.
    address, interface = struct.unpack("=16sI", local[:20])
    scope = interface if IPv6Address(address).is_link_local else 0
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", address, scope)


def local_host(local: bytes) -> str:
    """The address in a PKTINFO, as text; "" for none."""
    if len(local) == 12:
        return str(IPv4Address(local[4:8]))
    return host_text(str(IPv6Address(local[:16]))) if len(local) >= 16 else ""


def host_text(host: str) -> str:
    """An address as people write it: IPv4-mapped ones as IPv4."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return host if mapped is None else str(mapped)


def address_text(address: SocketAddress) -> str:
    """ "host:port" or "[v6]:port"."""
    return join_host_port(host_text(address[0]), address[1])


def join_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(address: SocketAddress, family: socket.AddressFamily) -> socket.socket:
    """A bound UDP socket; `::` takes IPv4 as well. Raises HostError in words."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise HostError(_cannot_listen(join_host_port(address[0], address[1]), error)) from None
    return sock


def _cannot_listen(where: str, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"cannot listen on {where}: another program uses this UDP port. `ss -lunp` names it; stop it, or "
                "choose another port."
            )
        case errno.EADDRNOTAVAIL:
            return f"cannot listen on {where}: this host has no such address. `ip address` lists them; [::] means all."
        case errno.EACCES | errno.EPERM:
            return f"cannot listen on {where}: not permitted. Ports below 1024 need CAP_NET_BIND_SERVICE."
    return f"cannot listen on {where}: {error.strerror}."


def path_payload(address: SocketAddress) -> int | None:
    """The largest UDP payload that the route to `address` takes in one piece, bytes; None: no route."""
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    is_v4 = ":" not in host_text(address[0])
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
            if is_v4:
                return probe.getsockopt(socket.IPPROTO_IP, _IP_MTU) - _UDP_OVER_IPV4
            return probe.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU) - _UDP_OVER_IPV6
        except OSError:
            return None
