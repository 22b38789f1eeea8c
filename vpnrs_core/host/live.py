"""The host's side of a running tunnel at this moment: its interface and addresses, where the kernel would send packets,
and who answers through the tunnel. Everything is read, or asked of a peer once."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from vpnrs_core.host.netlink import Netlink
from vpnrs_core.interfaces.common import Address
from vpnrs_core.interfaces.host import Expected, LiveFacts

# Seconds that an answer through the tunnel may take.
PATIENCE = 2.0
_SYSCTLS = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# Protocol, type of an echo request, type of its answer (RFC 792, RFC 4443).
_ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}
# For the root's name servers, which every resolver knows: recursion desired, one question, NS, IN.
_QUERY = struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 2, 1)
_SO_BINDTODEVICE = 25


async def look(tun: str, probes: Expected) -> LiveFacts:
    """Takes a little more than PATIENCE seconds at most. Raises HostError when netlink does not answer."""
    async with await Netlink.open() as netlink:
        link = await netlink.link(tun)
        addresses = [each.address for each in await netlink.addresses() if each.interface == tun]
        names = {each.index: each.name for each in await netlink.links()}
    ways = await _ways([*probes.inside, *probes.outside], names)
    answers = [_echo(tun, address) for address in probes.echo] + [_resolves(address) for address in probes.dns]
    answered = iter(await asyncio.gather(*answers))
    return LiveFacts(
        up=link is not None and link.up,
        mtu=0 if link is None else link.mtu,
        addresses=frozenset(addresses),
        ways=ways,
        forwarding={version: _sysctl(key) == "1" for version, key in _SYSCTLS.items()},
        echoes={address: next(answered) for address in probes.echo},
        resolvers={address: next(answered) for address in probes.dns},
    )


async def _ways(addresses: Sequence[Address], names: dict[int, str]) -> dict[Address, str]:
    """The interface that the kernel would send a packet to each address by, "": it has no route."""
    found: dict[Address, str] = {}
    ipr = AsyncIPRoute()
    await ipr.setup_endpoint()
    try:
        for address in addresses:
            try:
                answers = list(await ipr.route("get", dst=str(address)))
            except NetlinkError:
                answers = []
            found[address] = names.get(answers[0].get("oif") or 0, "") if answers else ""
    finally:
        ipr.close()
        await asyncio.sleep(0)
    return found


async def _echo(tun: str, address: Address) -> float | str | None:
    """Ping once through the TUN → seconds, None: no answer, or why it could not be tried."""
    protocol, request, answer = _ECHO[address.version]
    number = int.from_bytes(os.urandom(2), "big")
    packet = _with_checksum(struct.pack("!BBHHH", request, 0, 0, number, 1) + b"vpnrs doctor")
    try:
        sock = socket.socket(_FAMILY[address.version], socket.SOCK_RAW, protocol)
    except PermissionError:
        return "CAP_NET_RAW is missing"
    with sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, tun.encode())

        def is_answer(data: bytes) -> bool:
            icmp = data[(data[0] & 0x0F) * 4 :] if address.version == 4 else data
            return icmp[:1] == bytes((answer,)) and icmp[4:6] == number.to_bytes(2, "big")

        return await _exchange(sock, packet, (str(address), 0), is_answer)


async def _resolves(address: Address) -> float | str | None:
    """Ask a resolver for something that it knows → seconds, None: no answer, or what went wrong."""
    number = os.urandom(2)
    with socket.socket(_FAMILY[address.version], socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        return await _exchange(sock, number + _QUERY, (str(address), 53), lambda data: data[:2] == number)


async def _exchange(sock: socket.socket, data: bytes, where: tuple[str, int], is_answer: object) -> float | str | None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert callable(is_answer)
    try:
        async with asyncio.timeout(PATIENCE):
            sock.connect(where)  # nobody else's answer counts, and a port that is closed says so
            await loop.sock_sendall(sock, data)
            while not is_answer(await loop.sock_recv(sock, 2048)):
                pass
    except TimeoutError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return loop.time() - began


def _with_checksum(icmp: bytes) -> bytes:
    """RFC 1071; the kernel computes an ICMPv6 one itself."""
    total = sum(struct.unpack(f"!{len(icmp) // 2}H", icmp))
    total = (total & 0xFFFF) + (total >> 16)
    return icmp[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + icmp[4:]


def _sysctl(key: str) -> str:
    try:
        return Path("/proc/sys", key).read_text().strip()
    except OSError:
        return ""
