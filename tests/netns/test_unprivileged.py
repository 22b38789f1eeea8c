"""Without root: an ordinary user with CAP_NET_ADMIN alone, as the systemd units have it, does all that a host needs.

client ── server ── behind
"""

import os
import shutil
from pathlib import Path

import pytest

from vpnrs_core.testkit.instance import VPNRS
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import BEHIND4, BEHIND_NETWORKS

NOBODY = 65534
# The device may be root's alone on this machine; ordinary ones have it open to everybody (systemd-tmpfiles).
PREPARE = "mknod -m 0666 {0} c 10 200 && mount --bind {0} /dev/net/tun && "


def start(net, instance):
    """As `instance.start` does, for the user nobody."""
    script = PREPARE.format(net.directory / f"tun-{instance.name}") + (
        f"exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs --inh-caps=-all,+net_admin "
        f"--ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin {VPNRS} run {instance.config}"
    )
    with instance._log.open("ab") as log:
        instance.process = instance.namespace.spawn(
            "sh", "-c", script, stdout=log, stderr=log,
            env={**os.environ, "VPNRS_RUN_DIR": str(net.run_dir), "HOME": str(net.directory)},
        )  # fmt: skip


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not installed here")
@pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"] or os.geteuid() != 0,
    reason="only the real root can become somebody else and make a device",
)
def test_cap_net_admin_is_enough(tunnel):
    net = tunnel(behind=True)
    net.behind_ns.run("ip", "route", "del", "10.77.0.0/24")
    net.server_ns.run("sysctl", "-q", "net.ipv4.ip_forward=0")
    net.server.configure({"session": {"routes": BEHIND_NETWORKS}, "forwarding": {"enable": True, "nat44": True}})
    net.client.configure({"routes": ["0.0.0.0/0", "::/0"], "kill_switch": True})
    net.remember()
    for root, folders, files in os.walk(net.directory):
        for name in (".", *folders, *files):
            os.chown(os.path.join(root, name), NOBODY, NOBODY)
    start(net, net.server)
    net.server.wait_state("listening")
    start(net, net.client)
    net.client.wait_state("connected")
    for instance in (net.server, net.client):
        with open(f"/proc/{instance.pid}/status") as status:
            lines = dict(line.split(":\t") for line in status if ":\t" in line)
        assert lines["Uid"].split()[1] == str(NOBODY)
        assert int(lines["CapEff"], 16) == 1 << 12
    ping(net.client_ns[0], BEHIND4)
    net.client.kill()
    assert "the guard has undone" in net.client.log
    assert net.server.stop() == 0
    assert net.left_behind() == []
