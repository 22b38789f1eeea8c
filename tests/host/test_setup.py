"""Changes to a real host, and their undoing, also after a crash of the undoing itself (test_faults.py has the others).

host ── eth (10.203.1.0/24, fd00:203::/64) ── neighbour
 └─ TUN (10.77.0.0/24, fd77::/64)
"""

import asyncio
import contextlib
from ipaddress import ip_address, ip_network

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.events import HostChanged
from vpnrs_core.host import changes, nft
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.setup import HostSetup
from vpnrs_core.host.tun import Tun
from vpnrs_core.host.undo import recover, undo_all

pytestmark = pytest.mark.netns


def addresses(*texts):
    return [(ip_address(text.split("/")[0]), int(text.split("/")[1])) for text in texts]


def networks(*texts):
    return [ip_network(text) for text in texts]


class Host:
    """A namespace with a network, a default route from an advertisement, and settings of its owner's own."""

    def __init__(self, netns, path):
        self.namespace = netns.namespace("host")
        neighbour = netns.namespace("eth")
        netns.connect(self.namespace, neighbour, "10.203.1.0/24", "fd00:203::/64")
        self.path = path
        for command in (
            # Marked like ours, but another interface's: another instance's, say.
            "ip route add 10.66.0.0/16 dev eth proto 157",
            "ip -6 route add fd66::/32 dev eth proto 157",
            "ip route add default via 10.203.1.2",
            "ip -6 route add default via fd00:203::2 dev eth proto ra",
            # What the kernel would change along with forwarding.
            "sysctl -q -w net.ipv4.conf.eth.forwarding=1",
            "sysctl -q -w net.ipv4.conf.all.accept_redirects=0",
            "sysctl -q -w net.ipv6.conf.default.forwarding=1",
        ):
            self.namespace.run(*command.split())

    def ip(self, *command):
        return self.namespace.run("ip", *command).stdout

    def sysctl(self, key):
        return self.namespace.run("sysctl", "-n", key).stdout.strip()

    @contextlib.asynccontextmanager
    async def setup(self, wrap=lambda thing: thing, observe=None):
        """A TUN and a setup that does not undo by itself."""
        with self.namespace.entered():
            netlink = await Netlink.open()
            journal = Journal(self.path / "journal")
            tun = Tun.open()
            try:
                yield tun, HostSetup(wrap(netlink), wrap(journal), "test", observe)
            finally:
                tun.close()
                journal.close()
                await netlink.close()

    async def recover(self):
        with self.namespace.entered():
            journal = Journal(self.path / "journal")
            async with await Netlink.open() as netlink:
                try:
                    return await recover(netlink, journal)
                finally:
                    journal.close()


@pytest.fixture
def host(netns, tmp_path):
    return Host(netns, tmp_path)


async def everything(tun, setup):
    """One of each, with changes of each."""
    await setup.configure_tun(tun, addresses("10.77.0.1/24", "fd77::1/64"), 1280)
    await setup.set_routes(networks("10.8.0.0/16", "fd88::/32"))
    await setup.change_addresses(addresses("10.77.0.2/24", "fd77::1/64"))
    await setup.set_routes(networks("10.9.0.0/16", "fd88::/32"))
    await setup.enable_forwarding(True, True)


async def test_a_configured_tunnel_has_what_was_asked_for(host):
    async with host.setup() as (tun, setup):
        await everything(tun, setup)
        link = host.ip("-d", "link", "show", "dev", tun.name)
        assert "mtu 1280" in link
        assert "UP" in link
        assert "addrgenmode none" in link
        assert [line.split()[3] for line in host.ip("-o", "address", "show", "dev", tun.name).splitlines()] == [
            "10.77.0.2/24",
            "fd77::1/64",
        ]
        assert host.ip("route", "show", "proto", "157", "dev", tun.name).split()[0] == "10.9.0.0/16"
        assert host.ip("-6", "route", "show", "proto", "157", "dev", tun.name).split()[0] == "fd88::/32"
        assert host.sysctl("net.ipv4.ip_forward") == host.sysctl("net.ipv6.conf.all.forwarding") == "1"
        assert host.sysctl("net.ipv6.conf.eth.accept_ra") == "2"
        await setup.set_mtu(1400)
        assert "mtu 1400" in host.ip("link", "show", "dev", tun.name)
        await setup.undo()


async def test_undo_leaves_the_host_as_it_was(host):
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await everything(tun, setup)
        assert before.differences(host.namespace.snapshot())
        await setup.undo()
        assert host.ip("address", "show", "dev", tun.name).count("inet") == 0
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []
    assert list(host.path.iterdir()) == []


class Crash(BaseException):
    """The end of the process, as far as this can be played inside it."""


class Steps:
    """Counts every step that touches the host or the journal, and crashes before or after one of them."""

    TOUCHING = frozenset(
        {
            *("add_address", "remove_address", "add_route", "remove_route"),
            *("set_link", "silence_ipv6"),
            *("intend", "done", "undoing", "undone", "write_sysctl"),
        }
    )

    def __init__(self, monkeypatch):
        self.count, self.crash_at, self.after = 0, None, False
        self.write_sysctl = changes.write_sysctl
        monkeypatch.setattr(changes, "write_sysctl", self.step("write_sysctl", self.write_sysctl))

    def arm(self, crash_at, after):
        self.count, self.crash_at, self.after = 0, crash_at, after

    def due(self, after):
        if not after:
            self.count += 1
        if self.count == self.crash_at and after == self.after:
            self.crash_at = None
            raise Crash(f"step {self.count}")

    def step(self, name, method):
        def call(*args, **kwargs):
            self.due(False)
            result = method(*args, **kwargs)
            if not hasattr(result, "__await__"):
                self.due(True)
                return result
            return wait(result)

        async def wait(result):
            value = await result
            self.due(True)
            return value

        return call if name in self.TOUCHING else method

    def wrap(self, thing):
        return Stepped(self, thing)


class Stepped:
    def __init__(self, steps, thing):
        self._steps, self._thing = steps, thing

    def __getattr__(self, name):
        return self._steps.step(name, getattr(self._thing, name))


async def test_a_crash_while_recovering_is_recovered_too(host, monkeypatch):
    steps = Steps(monkeypatch)
    before = host.namespace.snapshot()
    crash_at = 0
    crashed = True
    while crashed:
        async with host.setup() as (tun, setup):
            steps.arm(None, False)
            await everything(tun, setup)
            crash_at += 1
            journal = Journal(host.path / "journal")
            async with await Netlink.open() as netlink:
                steps.arm(crash_at, True)
                try:
                    await undo_all(steps.wrap(netlink), steps.wrap(journal))
                    crashed = False
                except Crash:
                    pass
                journal.close()
        steps.arm(None, False)
        await host.recover()
        assert before.differences(host.namespace.snapshot()) == [], f"crash at step {crash_at}"
    assert crash_at > 10


async def test_what_is_only_intended_and_somebody_elses_is_left_alone(host):
    """We crashed between `intend` and the change; meanwhile the host's owner made the same one."""
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        link = await Netlink.open()
        index = (await link.link(tun.name)).index
        await link.close()
        setup._journal.intend(changes.AddRoute(ip_network("10.8.0.0/16"), tun.name, index).record())
        host.ip("address", "add", "10.78.0.1/32", "dev", tun.name)
        host.ip("route", "add", "10.8.0.0/16", "dev", tun.name, "proto", "static")
        await setup.undo()
        assert "inet 10.78.0.1/32" in host.ip("address", "show", "dev", tun.name)
        assert "10.8.0.0/16" in host.ip("route", "show", "dev", tun.name, "proto", "static")


async def test_a_setting_that_somebody_changed_since_is_left_alone(host):
    async with host.setup() as (_, setup):
        await setup.enable_forwarding(False, True)
        host.namespace.run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=2")
        await setup.undo()
    assert host.sysctl("net.ipv6.conf.all.forwarding") == "2"


async def test_forwarding_that_was_on_stays_on(host):
    host.namespace.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    before = host.namespace.snapshot()
    async with host.setup() as (_, setup):
        await setup.enable_forwarding(True, False)
        assert list(host.path.iterdir()) == []
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []


async def test_each_family_is_forwarded_by_itself(host):
    async with host.setup() as (_, setup):
        await setup.enable_forwarding(False, True)
        assert (host.sysctl("net.ipv4.ip_forward"), host.sysctl("net.ipv6.conf.all.forwarding")) == ("0", "1")
        await setup.undo()
        assert host.sysctl("net.ipv6.conf.all.forwarding") == "0"
        await setup.enable_forwarding(True, False)
        assert (host.sysctl("net.ipv4.ip_forward"), host.sysctl("net.ipv6.conf.all.forwarding")) == ("1", "0")
        await setup.undo()


async def test_an_address_on_the_host_is_refused_before_anything_changes(host):
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        with pytest.raises(HostError, match=r"10\.203\.1\.1 is already on this host, on interface eth"):
            await setup.configure_tun(tun, addresses("10.77.0.1/24", "10.203.1.1/32"), 1280)
        assert "UP" not in host.ip("link", "show", "dev", tun.name)
    assert before.differences(host.namespace.snapshot()) == []


async def test_a_route_over_the_hosts_network_is_refused_before_anything_changes(host):
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        await setup.set_routes(networks("10.8.0.0/16"))
        with pytest.raises(HostError, match=r"route 10\.203\.0\.0/16 .*overlaps 10\.203\.1\.0/24.* interface eth"):
            await setup.set_routes(networks("10.9.0.0/16", "10.203.0.0/16"))
        assert host.ip("route", "show", "dev", tun.name, "proto", "157").split()[0] == "10.8.0.0/16"
        await setup.undo()


async def test_a_default_route_is_two_halves_and_the_server_stays_beside_it(host):
    server = networks("198.51.100.7/32", "2001:db8::7/128")
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24", "fd77::1/64"), 1280)
        await setup.set_routes(networks("0.0.0.0/0", "::/0"), underlay=server)
        for far, near in (("8.8.8.8", "198.51.100.7"), ("2001:db8:1::1", "2001:db8::7")):
            assert f"dev {tun.name}" in host.ip("route", "get", far)
            assert "dev eth" in host.ip("route", "get", near)
        assert host.ip("route", "show", "default").split()[:3] == ["default", "via", "10.203.1.2"]
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []


@pytest.mark.parametrize(
    ("way", "by"),
    [
        ("default via 192.0.2.1 dev eth onlink", "via 192.0.2.1 dev eth"),
        ("default nexthop via 10.204.1.2 dev other nexthop via 10.203.1.2 dev eth", "via 10.203.1.2 dev eth"),
    ],
    ids=["a gateway beyond the link's networks", "of several ways the one that is up"],
)
async def test_a_pin_goes_by_every_kind_of_way(host, way, by):
    # A wire whose far end is down: `other` is up and carries nothing.
    host.ip("link", "add", "other", "type", "veth", "peer", "name", "far")
    host.ip("address", "add", "10.204.1.1/24", "dev", "other")
    host.ip("link", "set", "other", "up")
    host.ip("route", "replace", *way.split())
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        await setup.set_routes(networks("0.0.0.0/0"), underlay=networks("198.51.100.7/32"))
        assert by in host.ip("route", "show", "198.51.100.7", "proto", "157")
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []


async def test_a_route_that_the_host_has_is_not_taken_for_success(host):
    host.ip("route", "add", "10.8.0.0/16", "via", "10.203.1.2")
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        with pytest.raises(HostError, match=r"adding the route 10\.8\.0\.0/16 failed: the host has it already"):
            await setup.set_routes(networks("10.8.0.0/16"))
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []


async def test_a_route_that_comes_with_an_address_is_not_added_twice(host):
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24", "fd77::1/64"), 1280)
        await setup.set_routes(networks("10.77.0.0/24", "fd77::/64", "10.8.0.0/16", "10.8.0.0/16"))
        assert len(host.ip("route", "show", "dev", tun.name, "proto", "157").splitlines()) == 1
        # The address goes, and its network with it: now the route is needed.
        await setup.change_addresses(addresses("10.78.0.1/32", "fd77::1/64"))
        routes = host.ip("route", "show", "dev", tun.name, "proto", "157")
        assert {line.split()[0] for line in routes.splitlines()} == {"10.77.0.0/24", "10.8.0.0/16"}
        await setup.undo()


async def test_routes_and_addresses_survive_what_the_kernel_drops_with_an_address(host):
    """10.77.0.3 is secondary to 10.77.0.2 and goes with it; with the last IPv4 address go all IPv4 routes."""
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.2/24", "10.77.0.3/24"), 1280)
        await setup.set_routes(networks("10.8.0.0/16"))
        await setup.change_addresses(addresses("10.77.0.3/24"))
        assert "10.77.0.3/24" in host.ip("address", "show", "dev", tun.name)
        assert "10.8.0.0/16" in host.ip("route", "show", "dev", tun.name)
        await setup.change_addresses(addresses("10.99.0.1/32"))
        assert "10.8.0.0/16" in host.ip("route", "show", "dev", tun.name)
        await setup.undo()


@pytest.mark.parametrize(
    ("texts", "mtu", "message"),
    [(("fd77::1/64",), 1279, "cannot carry IPv6"), (("10.77.0.1/24",), 575, "below 576")],
)
async def test_an_mtu_that_is_too_small_is_refused(host, texts, mtu, message):
    async with host.setup() as (tun, setup):
        with pytest.raises(HostError, match=message):
            await setup.configure_tun(tun, addresses(*texts), mtu)
        await setup.configure_tun(tun, addresses(*texts), 1280)
        with pytest.raises(HostError, match=message):
            await setup.set_mtu(mtu)
        await setup.undo()


async def test_without_ipv6_on_the_host_it_says_so(host):
    host.namespace.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    async with host.setup() as (tun, setup):
        with pytest.raises(HostError, match="IPv6 is disabled"):
            await setup.configure_tun(tun, addresses("10.77.0.1/24", "fd77::1/64"), 1280)
        await setup.undo()


async def test_an_interface_that_is_not_here_is_refused(host):
    async with host.setup() as (tun, setup):
        tun.close()
        with pytest.raises(HostError, match="vpnrs0 is not in this network namespace"):
            await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        with pytest.raises(HostError, match="has no tunnel interface yet"):
            await setup.set_routes([])


async def test_undo_works_when_the_device_has_gone_before(host):
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await everything(tun, setup)
        tun.close()
        await setup.undo()
    assert before.differences(host.namespace.snapshot()) == []


async def test_every_change_is_told(host):
    told: list[HostChanged] = []
    async with host.setup(observe=told.append) as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        await setup.set_routes(networks("10.8.0.0/16"))
        await setup.undo()
    assert [(event.what, event.undone) for event in told] == [
        ("address 10.77.0.1/24 on vpnrs0", False),
        ("route 10.8.0.0/16 into vpnrs0", False),
        ("route 10.8.0.0/16 into vpnrs0", True),
        ("address 10.77.0.1/24 on vpnrs0", True),
    ]


async def test_a_journal_of_another_namespace_is_forgotten(host, netns):
    """The same instance name, in two namespaces that share one /run."""
    async with host.setup() as (_, setup):
        await setup.enable_forwarding(True, False)
        elsewhere = netns.namespace("elsewhere")
        elsewhere.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        with elsewhere.entered():
            journal = Journal(host.path / "journal")
            async with await Netlink.open() as netlink:
                assert await recover(netlink, journal) == []
        assert elsewhere.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "1"
        await setup.undo()


async def test_one_failure_keeps_no_other_change_and_stays_in_the_journal(host, monkeypatch):
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        await setup.enable_forwarding(True, False)
        with monkeypatch.context() as patch:

            def refuse(key, value):
                raise HostError(f"cannot set {key}")

            patch.setattr(changes, "write_sysctl", refuse)
            with pytest.raises(HostError, match=r"not everything could be undone.*cannot set net/ipv4/ip_forward"):
                await setup.undo()
        assert "inet " not in host.ip("address", "show", "dev", tun.name)
        assert [entry.change["kind"] for entry in Journal(host.path / "journal").pending] == ["sysctl"]
        await setup.undo()
    assert host.sysctl("net.ipv4.ip_forward") == "0"


async def test_nft_that_has_gone_meanwhile_keeps_nothing_else_and_is_asked_for_by_name(host, monkeypatch):
    before = host.namespace.snapshot()
    async with host.setup() as (tun, setup):
        await setup.configure_tun(tun, addresses("10.77.0.1/24"), 1280)
        await setup.set_gateway(networks("10.77.0.0/24"), True)
        await setup.enable_forwarding(True, False)
        with monkeypatch.context() as gone:
            gone.setattr(nft, "_PATH", "")
            gone.setenv("PATH", str(host.path))
            with pytest.raises(HostError, match=r"not everything could be undone .* 'nft' is missing: install"):
                await setup.undo()
        assert host.sysctl("net.ipv4.ip_forward") == "0"
        assert "vpnrs_test" in host.namespace.run("nft", "list", "tables").stdout
    await host.recover()
    assert before.differences(host.namespace.snapshot()) == []


async def test_the_next_start_of_an_instance_undoes_what_the_last_one_left(host, monkeypatch):
    monkeypatch.setenv("VPNRS_RUN_DIR", str(host.path))
    before = host.namespace.snapshot()
    with host.namespace.entered():
        for last in (False, True):
            rundir = RunDir.claim("demo")
            tun = Tun.open()
            setup = await HostSetup.open(rundir)
            assert before.differences(host.namespace.snapshot()) == [
                text for text in before.differences(host.namespace.snapshot()) if tun.name in text
            ]
            await everything(tun, setup)
            if last:
                await setup.undo()
            await setup.close()
            tun.close()
            rundir.release()
            assert (host.path / "demo").exists() is not last
    assert before.differences(host.namespace.snapshot()) == []


async def test_an_answer_that_nobody_waits_for_any_more_spoils_no_other(host):
    """The kernel refuses a dump while half of another one is still in the socket."""
    with host.namespace.entered():
        netlink = await Netlink.open()
    async with netlink:
        whole = await netlink.routes()
        for turns in range(12):
            asked = asyncio.ensure_future(netlink.routes())
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            asyncio.get_running_loop().call_soon(asked.cancel)  # and once more, while it waits for the end
            assert await netlink.routes() == whole
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert await asyncio.gather(*(netlink.routes() for _ in range(5))) == [whole] * 5
