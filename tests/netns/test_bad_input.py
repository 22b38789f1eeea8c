"""Everything that can be wrong before and at the start: one line that says what, where and what to do, an exit code,
and nothing left behind.

client ── server
"""

import os
import re
import subprocess
import sys

import pytest

from vpnrs_core.testkit.instance import VPNRS, run_vpnrs
from vpnrs_core.testkit.tunnel import BEHIND4

CONFIG, PLUGIN, HOST = 2, 3, 4


def refused(net, instance, code, *words, start=(), wait=30):
    """Start; it must end with `code` and one line that has all the words. Nothing may be left."""
    instance.start(*start)
    assert instance.wait(wait) == code, instance.log
    lines = [line for line in instance.log.splitlines() if line.startswith("vpnrs: ") and "warning" not in line]
    assert len(lines) == 1, instance.log
    assert "Traceback" not in instance.log
    assert "internal error" not in instance.log
    for word in words:
        assert word in lines[0], lines[0]
    others = [each.run_dir / each.name for each in (net.server, *net.clients) if each.running]
    left = [text for text in net.left_behind() if not any(str(other) in text for other in others)]
    assert others or left == []
    return lines[0]


@pytest.fixture
def net(tunnel):
    made = tunnel()
    made.remember()
    return made


# What is wrong with the configuration, and words that the one line must have
CONFIGURATIONS = {
    "unknown key": ({"lisen": "0.0.0.0:1"}, CONFIG, ("server.toml", "lisen", "listen")),
    "unknown key in a table": ({"tun": {"mut": 1400}}, CONFIG, ("server.toml", "[tun]", "mut", "mtu")),
    "unknown plugin key": ({"plugins": {"auth_token": {"tokns": "x"}}}, CONFIG, ("auth_token", "tokns", "tokens")),
    "missing plugin": ({"plugins": {"country_list": {}}}, PLUGIN, ("country_list",)),
    "wrong family": ({"addresses": {"ipv4": "fd00::/64"}}, CONFIG, ("server.toml", "ipv4", "fd00::/64")),
    "server's address is the network": ({"addresses": {"server_ipv4": "10.77.0.0"}}, CONFIG, ("10.77.0.0", "network")),
    "prefix too long": ({"addresses": {"ipv4": "10.77.0.0/32"}}, CONFIG, ("10.77.0.0/32",)),
    "unknown method": ({"auth": {"methods": ["password"]}}, CONFIG, ("methods", "password", "token")),
    "unknown engine": ({"quic": {"engine": "quicly"}}, CONFIG, ("quicly", "aioquic")),
    "unknown transport": ({"transport": "carrier"}, CONFIG, ("transport", "carrier", "quic")),
    "missing certificate": ({"quic": {"certificate": "none.crt"}}, CONFIG, ("none.crt",)),
    "missing key": ({"quic": {"key": "none.key"}}, CONFIG, ("none.key",)),
    "missing tokens": ({"plugins": {"auth_token": {"tokens": "none.txt"}}}, CONFIG, ("none.txt",)),
    "bad port": ({"listen": "0.0.0.0:99999"}, CONFIG, ("server.toml", "listen", "99999")),
    "listen address not here": ({"listen": "198.51.100.7:4433"}, HOST, ("198.51.100.7",)),
    "TUN name too long": ({"tun": {"name": "a-name-that-is-too-long"}}, CONFIG, ("server.toml", "name")),
    "TUN name that is none": ({"tun": {"name": "a/b"}}, CONFIG, ("server.toml", "a/b")),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_a_wrong_configuration_is_one_line(net, what):
    changes, code, words = CONFIGURATIONS[what]
    net.server.configure(changes)
    refused(net, net.server, code, *words)


def test_no_toml_a_missing_file_and_a_directory_are_one_line(net):
    for content, word in (("role = \n", "line 1"), (b"\xff\xfe", "UTF-8")):
        net.server.config.write_bytes(content.encode() if isinstance(content, str) else content)
        net.server._log.unlink(missing_ok=True)
        refused(net, net.server, CONFIG, "server.toml", word)
    for path in (net.directory / "none.toml", net.directory):
        done = run_vpnrs("run", str(path), run_dir=net.run_dir, check=False)
        assert done.returncode == CONFIG
        assert len(done.stderr.splitlines()) == 1
        assert str(path) in done.stderr


def test_a_key_that_does_not_fit_its_certificate(net):
    other = net.directory / "other"
    net.vpnrs("init", str(other), "--instance", "other")
    (net.server.config.parent / "server.key").write_bytes((other / "server.key").read_bytes())
    refused(net, net.server, CONFIG, "server.key", "server.crt")


def test_a_key_that_is_none(net):
    (net.server.config.parent / "server.key").write_text("no key\n")
    refused(net, net.server, CONFIG, "server.key")


def as_nobody(net, *command):
    return net.server_ns.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command, check=False,
        env={**os.environ, "VPNRS_RUN_DIR": str(net.run_dir), "HOME": "/"},
    )  # fmt: skip


def one_line(done, code, *words):
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_missing_privileges_name_the_capability_and_an_unreadable_key_its_file(net):
    pair = net.server.config.parent
    python = os.path.realpath(sys.executable)
    reachable = as_nobody(net, sys.executable, "-c", "import vpnrs_core.cli").returncode == 0
    if not reachable:
        pytest.fail(f"nobody cannot run {python}; make the checkout and the interpreter readable for all")
    for path in (net.directory, pair, *pair.iterdir()):
        path.chmod(0o755)
    one_line(as_nobody(net, VPNRS, "run", str(net.server.config)), HOST, "CAP_NET_ADMIN", "run as root")
    (pair / "server.toml").chmod(0o600)
    one_line(as_nobody(net, VPNRS, "run", str(net.server.config)), CONFIG, "server.toml", "ermission")
    assert net.left_behind() == []


def in_a_mount_namespace(net, prepare, config):
    command = f'{prepare} && exec "$0" run "$1"'
    return net.server_ns.run(
        "unshare", "--mount", "sh", "-c", command, VPNRS, str(config), check=False,
        env={**os.environ, "VPNRS_RUN_DIR": str(net.run_dir)},
    )  # fmt: skip


def test_a_machine_without_tun_says_how_to_get_it(net):
    one_line(
        in_a_mount_namespace(net, "mount -t tmpfs none /dev/net", net.server.config), HOST, "/dev/net/tun", "modprobe"
    )
    assert net.left_behind() == []


def test_a_run_directory_that_cannot_be_written_is_named(net):
    net.run_dir.mkdir(exist_ok=True)
    prepare = f"mount -t tmpfs -o ro none {net.run_dir}"
    one_line(in_a_mount_namespace(net, prepare, net.server.config), HOST, str(net.run_dir))
    assert net.left_behind() == []


def test_a_port_that_is_taken_is_named(net):
    net.server_ns.spawn(
        sys.executable, "-c",
        "import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',4433)); print(1,"
        "flush=True); time.sleep(60)",
        stdout=subprocess.PIPE,
    ).stdout.readline()  # fmt: skip
    refused(net, net.server, HOST, "4433", "listen")


def test_an_address_that_this_host_has_already_is_named(net):
    net.net.add_address(net.server_ns, "lo", "10.77.0.1/32")
    net.remember()
    refused(net, net.server, HOST, "10.77.0.1")


def test_a_grant_that_this_host_cannot_carry_out_ends_the_client_and_leaves_nothing(tunnel):
    net = tunnel()
    net.net.add_address(net.client_ns[0], "lo", "10.77.0.2/32")
    net.start_server()
    net.client.start()
    assert net.client.wait() == HOST
    assert "10.77.0.2" in net.client.log
    assert "Traceback" not in net.client.log
    net.server.wait_for("rid of it", lambda s: not s["server"]["sessions"], 5)


@pytest.mark.parametrize(
    "command", ["link add taken0 type veth peer name other0", "tuntap add dev taken0 mode tun vnet_hdr"]
)
def test_a_tun_name_that_is_taken_is_named(net, command):
    net.server_ns.run("ip", *command.split())
    net.remember()
    net.server.configure({"tun": {"name": "taken0"}})
    refused(net, net.server, HOST, "taken0")


def test_a_second_instance_of_the_same_name_is_refused_and_the_first_goes_on(tunnel):
    net = tunnel().up()
    done = net.server_ns.run(
        VPNRS, "run", str(net.server.config), check=False, env={**os.environ, "VPNRS_RUN_DIR": str(net.run_dir)}
    )
    one_line(done, HOST, "'server'", str(net.server.pid), "--instance")
    net.client_ns[0].run("ping", "-c1", "-W3", "10.77.0.1")
    assert net.server.status()["pid"] == net.server.pid


def test_a_split_route_over_the_clients_own_network_is_refused(tunnel):
    net = tunnel()
    net.client.configure({"routes": ["10.200.0.0/16"]})
    net.start_server()
    net.client.start()
    assert net.client.wait() == HOST
    assert re.search(r"vpnrs: .*10\.200\.0\.0/16", net.client.log), net.client.log


def test_a_client_whose_server_has_another_key_is_told_before_its_token_leaves(tunnel):
    net = tunnel()
    pin = "sha256:" + "0" * 64
    net.client.configure({"server_pin": pin})
    net.start_server()
    net.client.start()
    assert net.client.wait() == 5
    assert "Traceback" not in net.client.log
    assert "server_pin" in net.client.log
    assert "attempt" not in net.server.log
    assert BEHIND4 not in net.client.log
