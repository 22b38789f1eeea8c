"""Names are asked where the server says, through the tunnel, and the host's own resolv.conf comes back.

client ── server            `ip netns exec` mounts /etc/netns/<namespace>/resolv.conf over the client's /etc/resolv.conf
"""

import socket
import threading
from pathlib import Path

import pytest

from vpnrs_core.testkit.traffic import open_socket
from vpnrs_core.testkit.tunnel import SERVER4

OWN = "# the host's own\nnameserver 192.0.2.53\noptions timeout:1 attempts:3\n"


@pytest.fixture
def net(tunnel):
    net = tunnel()
    folder = Path("/etc/netns") / net.client_ns[0].name
    folder.mkdir(parents=True, exist_ok=True)
    net.resolv_conf = folder / "resolv.conf"
    net.resolv_conf.write_text(OWN)
    net.server.configure({"session": {"dns": [SERVER4]}})
    net.client.configure({"accept_dns": True})
    return net


class Responder(threading.Thread):
    """Answers every question for an IPv4 address with 192.0.2.80."""

    def __init__(self, namespace):
        super().__init__()
        self.socket = open_socket(namespace, SERVER4, socket.SOCK_DGRAM, 53)
        self.asked = []

    def run(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(512)
            except OSError:
                return
            if not question:
                return
            self.asked.append(peer[0])
            end = question.index(b"\0", 12) + 5
            is_a = question[end - 4 : end - 2] == b"\0\1"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x50" if is_a else b""
            header = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
            self.socket.sendto(header + question[12:end] + answer, peer)


def test_names_are_asked_through_the_tunnel_and_the_file_comes_back(net):
    net.up()
    responder = Responder(net.server_ns)
    responder.start()
    try:
        found = net.client_ns[0].run("getent", "ahostsv4", "host.corp.example").stdout
    finally:
        with net.server_ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (SERVER4, 53))
        responder.join()
        responder.socket.close()
    assert found.split()[0] == "192.0.2.80"
    assert set(responder.asked) == {net.addresses()[4]}
    assert f"nameserver {SERVER4}" in net.resolv_conf.read_text()
    net.client.kill()
    assert net.resolv_conf.read_text() == OWN, "the guard has put it back"
    net.client.start()
    net.client.wait_state("connected")
    assert net.client.stop() == 0
    assert net.resolv_conf.read_text() == OWN


def test_what_somebody_else_wrote_meanwhile_stays_and_accept_dns_leaves_it_alone(net):
    net.up()
    net.resolv_conf.write_text("nameserver 198.51.100.53\n")
    assert net.client.stop() == 0
    assert net.resolv_conf.read_text() == "nameserver 198.51.100.53\n"
    net.client.configure({"accept_dns": False})
    net.client.start()
    net.client.wait_state("connected")
    assert net.resolv_conf.read_text() == "nameserver 198.51.100.53\n"
    net.resolv_conf.write_text(OWN)


def test_a_resolver_that_cannot_split_names_is_told_once(net):
    net.client.configure({"dns_domains": ["corp.example"]})
    net.up()
    assert net.client.log.count("cannot ask different servers for different domains") == 1
