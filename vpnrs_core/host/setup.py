"""The host as a tunnel needs it: the TUN's addresses, MTU and routes, and forwarding; every change journalled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.events import HostChanged
from vpnrs_core.host.changes import AddAddress, AddRoute, Change, SetSysctl, list_sysctls
from vpnrs_core.host.conflicts import check_address, check_route, check_underlay
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import PROTOCOL_RA, HostLink, Netlink
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.undo import Observe, recover, undo_all
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.interfaces.tun import TunDevice

# Bytes: what the kernel hands out as one super-packet has to fit one UDP GSO send once it is encrypted.
GSO_MAX_SIZE: Final = 59_500
# Packets that wait in the kernel for us to read; a full queue drops.
TX_QUEUE_LENGTH: Final = 1000

IPV6_MIN_MTU: Final = 1280  # RFC 8200 section 5
_MIN_MTU: Final = 576
# Seconds; it takes milliseconds on a host that is not overloaded.
_ADDRESS_PATIENCE: Final = 5.0


class HostSetup:
    """One instance's changes to this host. Everything is undone by `undo`; the order of calls is: `configure_tun`,
    then the others in any order and as often as needed. All raise HostError."""

    def __init__(self, netlink: Netlink, journal: Journal, instance: str, observe: Observe | None = None) -> None:
        self._netlink = netlink
        self._journal = journal
        self._instance = instance
        self._observe = observe
        self._tun: HostLink | None = None
        self._addresses: dict[AddAddress, int] = {}
        self._routes: dict[AddRoute, int] = {}
        self._wanted_routes: tuple[Network, ...] = ()

    @classmethod
    async def open(cls, rundir: RunDir, observe: Observe | None = None) -> Self:
        """With a netlink socket and the journal of its own, after undoing what a crashed predecessor left."""
        journal = Journal(rundir.journal)
        netlink = await Netlink.open()
        try:
            await recover(netlink, journal, observe)
        except BaseException:
            journal.close()
            await netlink.close()
            raise
        return cls(netlink, journal, rundir.instance, observe)

    async def configure_tun(self, tun: TunDevice, addresses: Sequence[tuple[Address, int]], mtu: int) -> None:
        """Bring the device up with these addresses (each with its prefix length) and this MTU in bytes. Conflicts
        are found before anything is changed."""
        link = await self._netlink.link(tun.name)
        if link is None:
            raise HostError(f"the interface {tun.name} is not in this network namespace")
        _check_mtu(mtu, [address for address, _ in addresses])
        await self._check_addresses(addresses, link.index)
        self._tun = link
        # Silent before it is up: a link-local address would send router solicitations into the tunnel.
        await self._netlink.silence_ipv6(link.index)
        await self._netlink.set_gso_max_size(link.index, GSO_MAX_SIZE)
        await self._netlink.set_link(link.index, mtu=mtu, txqueuelen=TX_QUEUE_LENGTH)
        await self._netlink.set_link(link.index, up=True)
        await self.change_addresses(addresses)

    async def change_addresses(self, addresses: Sequence[tuple[Address, int]]) -> None:
        """Make these the tunnel's addresses: what is missing is added, what is not among them goes."""
        link = self._configured()
        await self._check_addresses(addresses, link.index)
        wanted = {AddAddress(link.name, link.index, address, prefixlen) for address, prefixlen in addresses}
        for change in [change for change in self._addresses if change not in wanted]:
            await self._take_back(change, self._addresses.pop(change))
        # With an IPv4 address the kernel removes those of the same network that came after it, and with the last one
        # every route of the interface: both are put back.
        present = {(a.address, a.prefixlen) for a in await self._netlink.addresses() if a.index == link.index}
        for address, prefixlen in dict.fromkeys(addresses):
            change = AddAddress(link.name, link.index, address, prefixlen)
            if (address, prefixlen) in present and change in self._addresses:
                continue
            if change in self._addresses:
                await change.apply(self._netlink)
            else:
                self._addresses[change] = await self.make(change)
        await self._await_local([address for address, _ in addresses])
        await self._sync_routes()

    async def set_routes(
        self, networks: Sequence[Network], underlay: Sequence[Network] = (), *, declared: bool = False
    ) -> None:
        """Make these the whole list of routes into the tunnel. `underlay` is what the transport sends to: no route
        may swallow it. `declared`: they are all needs of plugins (conflicts.check_route). Conflicts are found before
        anything is changed."""
        link = self._configured()
        here = [address for address in await self._netlink.addresses() if address.index != link.index]
        routes = [route for route in await self._netlink.routes() if route.index != link.index]
        for network in networks:
            check_route(network, here, declared=declared)
            check_underlay(network, underlay, routes)
        self._wanted_routes = tuple(dict.fromkeys(networks))
        await self._sync_routes()

    async def set_mtu(self, mtu: int) -> None:
        """Bytes; at least 1280 while the tunnel has an IPv6 address."""
        link = self._configured()
        _check_mtu(mtu, [change.address for change in self._addresses])
        await self._netlink.set_link(link.index, mtu=mtu)

    async def enable_forwarding(self, ipv4: bool, ipv6: bool) -> None:
        """Let the host forward packets; what was on already is left alone, and stays on."""
        if ipv4:
            # The kernel sets these along with it, in both directions.
            beside = [*list_sysctls("net/ipv4/conf/*/forwarding"), "net/ipv4/conf/all/accept_redirects"]
            await self._set_sysctl("net/ipv4/ip_forward", "1", beside)
        if ipv6:
            # A forwarding host ignores router advertisements unless told otherwise: it would lose its default route.
            for route in await self._netlink.routes():
                if route.protocol == PROTOCOL_RA and route.network.prefixlen == 0:
                    await self._set_sysctl(f"net/ipv6/conf/{route.interface}/accept_ra", "2", ())
            await self._set_sysctl("net/ipv6/conf/all/forwarding", "1", list_sysctls("net/ipv6/conf/*/forwarding"))

    async def make(self, change: Change) -> int:
        """Make any change, journalled → its number in the journal."""
        number = self._journal.intend(change.record())
        await change.apply(self._netlink)
        self._journal.done(number)
        if self._observe is not None:
            self._observe(HostChanged(what=str(change)))
        return number

    async def undo(self) -> None:
        """Take everything back, newest first. May be called at any time, and twice."""
        self._addresses.clear()
        self._routes.clear()
        self._wanted_routes = ()
        await undo_all(self._netlink, self._journal, self._observe)

    async def close(self) -> None:
        """Close journal and socket. What has not been undone stays in the journal."""
        self._journal.close()
        await self._netlink.close()

    def _configured(self) -> HostLink:
        if self._tun is None:
            raise HostError(f"instance {self._instance!r} has no tunnel interface yet")
        return self._tun

    async def _check_addresses(self, addresses: Sequence[tuple[Address, int]], index: int) -> None:
        others = [address for address in await self._netlink.addresses() if address.index != index]
        for address, prefixlen in addresses:
            check_address(address, prefixlen, others)

    async def _await_local(self, addresses: Sequence[Address]) -> None:
        """The kernel finishes an IPv6 address later, in a work queue that tells nobody; until then it drops what
        arrives for it, and a first packet that is lost costs its sender a second."""
        try:
            async with asyncio.timeout(_ADDRESS_PATIENCE):
                for address in addresses:
                    while not await self._netlink.is_local(address):  # noqa: ASYNC110  # the kernel's state
                        await asyncio.sleep(0.002)
        except TimeoutError:
            raise HostError(f"the kernel did not make the address {address} usable: is IPv6 disabled here?") from None

    async def _sync_routes(self) -> None:
        """Remove ours that are not wanted, add what is wanted and missing."""
        link = self._configured()
        for change in [change for change in self._routes if change.network not in self._wanted_routes]:
            await self._take_back(change, self._routes.pop(change))
        # The network of one of our addresses is on the device already, without a route of ours.
        present = {route.network for route in await self._netlink.routes() if route.index == link.index}
        for network in self._wanted_routes:
            change = AddRoute(network, link.name, link.index)
            if network in present:
                continue
            if change in self._routes:
                await change.apply(self._netlink)
            else:
                self._routes[change] = await self.make(change)

    async def _set_sysctl(self, key: str, value: str, beside: Sequence[str]) -> None:
        change = SetSysctl.of(key, value, beside)
        if change is not None:
            await self.make(change)

    async def _take_back(self, change: Change, number: int) -> None:
        self._journal.undoing(number)
        await change.undo(self._netlink)
        self._journal.undone(number)
        if self._observe is not None:
            self._observe(HostChanged(what=str(change), undone=True))


def _check_mtu(mtu: int, addresses: Sequence[Address]) -> None:
    if mtu < _MIN_MTU:
        raise HostError(f"a tunnel MTU of {mtu} bytes is below {_MIN_MTU}, the least that IPv4 hosts must take")
    if mtu < IPV6_MIN_MTU and any(address.version == 6 for address in addresses):
        raise HostError(f"a tunnel MTU of {mtu} bytes cannot carry IPv6: set at least {IPV6_MIN_MTU}, or use IPv4 only")
