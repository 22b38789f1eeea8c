"""Runs inside a namespace: writes frames to a TUN that takes super-packets, and tells what the kernel forwards to a
second TUN without any offload. A packet socket on that one has to have seen the same.

    stdin   {"frame": hex, "expect": packets}  a line
    stdout  [hex, …]                           a line: the packets that came out, in order
"""

import fcntl
import json
import os
import select
import socket
import subprocess
import sys

import pytun

TUNSETOFFLOAD = 0x400454D0
CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6 = 1, 2, 4, 8, 0x20, 0x40
DEADLINE_MS = 3000
ETH_P_ALL, PACKET_OUTGOING, SO_RCVBUFFORCE = 3, 4, 33


def tun(name: str, flags: int, mtu: int) -> pytun.TunTapDevice:
    device = pytun.TunTapDevice(name=name, flags=pytun.IFF_TUN | pytun.IFF_NO_PI | flags)
    # Without link-local addresses the kernel has nothing of its own to say on the device.
    for command in (
        f"link set {name} addrgenmode none",
        f"link set {name} txqueuelen 5000 mtu {mtu}",
        f"link set {name} up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def listen(device: str) -> socket.socket:
    """A packet socket that sees what leaves by the device."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sock.bind((device, ETH_P_ALL))
    sock.setblocking(False)
    return sock


def seen(sock: socket.socket) -> list[str]:
    packets: list[str] = []
    while True:
        try:
            packet, (_, _, kind, *_) = sock.recvfrom(70000)
        except BlockingIOError:
            return packets
        if kind == PACKET_OUTGOING and not report(packet):
            packets.append(packet.hex())


def report(packet: bytes) -> bool:
    """The kernel's own multicast listener reports."""
    return packet[0] >> 4 == 6 and packet[24] == 0xFF


def main() -> None:
    mtu = int(sys.argv[1])
    for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open(f"/proc/sys/net/{key}", "w") as sysctl:
            sysctl.write("1")
    source = tun("in0", pytun.IFF_VNET_HDR, 65535)
    fcntl.ioctl(source.fileno(), TUNSETOFFLOAD, CSUM | TSO4 | TSO6 | TSO_ECN | USO4 | USO6)
    sink = tun("out0", 0, mtu)
    routes = ["route add 10.1.0.0/24 dev in0", "route add 10.2.0.0/24 dev out0"]
    if mtu >= 1280:
        routes += ["-6 route add fd01::/64 dev in0", "-6 route add fd02::/64 dev out0"]
    for command in routes:
        subprocess.run(["ip", *command.split()], check=True)
    os.set_blocking(sink.fileno(), False)
    watched = listen("out0")
    ready = select.poll()
    ready.register(sink.fileno(), select.POLLIN)
    print("[]", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        os.write(source.fileno(), bytes.fromhex(order["frame"]))
        packets: list[str] = []
        while True:
            # The kernel forwards within the write; the wait is for a machine where it does not.
            waiting = len(packets) < order["expect"]
            if not ready.poll(DEADLINE_MS if waiting else 0):
                break
            packet = os.read(sink.fileno(), 70000)
            if not report(packet):
                packets.append(packet.hex())
        if seen(watched) != packets:
            raise SystemExit("the packet socket saw other packets than the TUN gave")
        print(json.dumps(packets), flush=True)


if __name__ == "__main__":
    main()
