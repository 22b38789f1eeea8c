"""An IPv6-only client, a server that translates, and an IPv4-only host behind it.

client (fd77::2) ── server (10.88.0.1 is the translator) ── behind (10.99.0.2, with a route to 10.88.0.1)
"""

import pytest

from vpnrs_core.testkit.tunnel_fixtures import netns, pytest_runtest_makereport, tunnel

__all__ = ["netns", "pytest_runtest_makereport", "tunnel"]

PREFIX, SOURCE = "64:ff9b:1::", "10.88.0.1"


def pytest_collection_modifyitems(items):
    for item in items:
        if "nat64/tests/netns" in item.path.as_posix():
            item.add_marker(pytest.mark.netns)


@pytest.fixture
def translated(tunnel):
    """`translated(table, **options)` makes a tunnel that runs; `table`: more keys of [plugins.nat64], `server`: of the
    server's configuration."""

    def make(table=None, server=None, up=True, **options):
        net = tunnel(**{"behind": True, "ipv4": None, **options})
        nat64 = {"prefix": f"{PREFIX}/96", "source_ip": SOURCE, **(table or {})}
        net.server.configure({"session": {"dns": ["fd77::1"]}, "plugins": {"nat64": nat64}, **(server or {})})
        # IPv4 only: what comes from behind as IPv6 would hide that nothing was translated.
        net.net.add_route(net.behind_ns, f"{SOURCE}/32", "10.99.0.1")
        net.behind_ns.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        return net.up() if up else net

    return make
