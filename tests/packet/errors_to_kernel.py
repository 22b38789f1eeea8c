"""Runs inside a namespace: a socket's packet leaves through a TUN, our ICMP error comes back, and the socket tells what
the kernel learned from it.

    argv    4|6, segments (1: a lone packet, more: a UDP super-packet), too_big|unreachable
    stdout  the path MTU after too_big, the errno's name after unreachable
"""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from ipaddress import ip_address

import pytun

from vpnrs_core.packet.icmp import Unreachable, packet_too_big, unreachable
from vpnrs_core.packet.packet import Packet

TUNSETOFFLOAD, OFFLOADS = 0x400454D0, 0x6F
IP_MTU, IPV6_MTU, UDP_SEGMENT = 14, 24, 103


def main() -> None:
    family, segments, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    local, remote, router = ("10.1.0.1", "10.2.0.1", "10.1.0.9") if family == 4 else ("fd01::1", "fd02::1", "fd01::9")
    tun = pytun.TunTapDevice(name="t0", flags=pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR)
    fcntl.ioctl(tun.fileno(), TUNSETOFFLOAD, OFFLOADS)
    for command in (
        "link set lo up",
        "link set t0 addrgenmode none",
        "link set t0 mtu 1500 up",
        f"addr add {local}/{24 if family == 4 else 64} dev t0" + (" nodad" if family == 6 else ""),
        f"route add {remote} dev t0",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.bind((local, 0))
        udp.connect((remote, 9))
        if segments > 1:
            udp.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1400)
        udp.send(bytes(1400 * segments))
        packet = Packet(os.read(tun.fileno(), 70000))
        while packet.protocol != socket.IPPROTO_UDP:  # the kernel's own multicast listener reports
            packet = Packet(os.read(tun.fileno(), 70000))
        if packet.segments != segments:
            raise SystemExit(f"the kernel handed out {packet.segments} segments")
        source = ip_address(router).packed
        if kind == "too_big":
            error = packet_too_big(packet, 1300, source)
        else:
            error = unreachable(packet, Unreachable.PORT, source)
        if error is None:
            raise SystemExit("no error for this packet")
        os.write(tun.fileno(), error.frame)
        if kind == "unreachable":
            print(errno.errorcode[udp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
            return
        level, option = (socket.IPPROTO_IP, IP_MTU) if family == 4 else (socket.IPPROTO_IPV6, IPV6_MTU)
        for _ in range(20):
            if udp.getsockopt(level, option) != 1500:
                break
            # On a busy machine the kernel notices late that the link is up, and forgets what its routes had learned:
            # a router answers each packet, so again.
            time.sleep(0.05)
            os.write(tun.fileno(), error.frame)
        print(udp.getsockopt(level, option))


if __name__ == "__main__":
    main()
