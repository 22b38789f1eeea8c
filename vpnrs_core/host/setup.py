"""The host as a tunnel needs it: the TUN's addresses, MTU and routes, forwarding, firewall and DNS; all journalled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.events import HostChanged
from vpnrs_core.host import rulesets, shared
from vpnrs_core.host.changes import AddAddress, Change, SetSysctl, list_sysctls, read_sysctl
from vpnrs_core.host.conflicts import check_address
from vpnrs_core.host.dns import ResolvConfFile, dns_change
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.netlink import PROTOCOL_RA, HostLink, Netlink
from vpnrs_core.host.nft import NftTable
from vpnrs_core.host.routes import TunnelRoutes
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.undo import Observe, recover, undo_all
from vpnrs_core.host.watch import Watch
from vpnrs_core.host.whole import whole
from vpnrs_core.interfaces.common import Address, Network
from vpnrs_core.interfaces.tun import TunDevice

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
        self.netlink = netlink
        self._journal = journal
        self._instance = instance
        self._observe = observe
        self._tun: HostLink | None = None
        self._addresses: dict[AddAddress, int] = {}
        self._routes: TunnelRoutes | None = None
        self._tables: dict[str, tuple[NftTable, int]] = {}
        self._gateway: tuple[Sequence[Network], bool] = ((), False)
        self._dns: tuple[Change, int] | None = None
        self._dns_asked: tuple[Sequence[Address], Sequence[str]] = ((), ())
        self._dns_warning = ""
        self._mtu = 0
        self._watch: Watch | None = None

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
        link = await self.netlink.link(tun.name)
        if link is None:
            raise HostError(f"the interface {tun.name} is not in this network namespace")
        _check_mtu(mtu, [address for address, _ in addresses])
        await self._check_addresses(addresses, link.index)
        self._tun = link
        # Silent before it is up: a link-local address would send router solicitations into the tunnel.
        await self.netlink.silence_ipv6(link.index)
        await self.netlink.set_link(link.index, mtu=mtu, txqueuelen=TX_QUEUE_LENGTH)
        await self.netlink.set_link(link.index, up=True)
        self._mtu = mtu
        await self.change_addresses(addresses)

    async def change_addresses(self, addresses: Sequence[tuple[Address, int]]) -> None:
        """Make these the tunnel's addresses: what is missing is added, what is not among them goes."""
        link = self._configured()
        await self._check_addresses(addresses, link.index)
        wanted = {AddAddress(link.name, link.index, address, prefixlen) for address, prefixlen in addresses}
        for change in [change for change in self._addresses if change not in wanted]:
            await self.take_back(change, self._addresses.pop(change))
        # With an IPv4 address the kernel removes those of the same network that came after it, and with the last one
        # every route of the interface: both are put back.
        await self._restore_addresses()
        for address, prefixlen in dict.fromkeys(addresses):
            change = AddAddress(link.name, link.index, address, prefixlen)
            if change not in self._addresses:
                self._addresses[change] = await self.make(change)
        await self._await_local([address for address, _ in addresses])
        if self._routes is not None:
            await self._routes.refresh()

    async def set_routes(
        self,
        networks: Sequence[Network],
        underlay: Sequence[Network] = (),
        *,
        declared: bool = False,
        strict: bool = True,
    ) -> None:
        """Make these the whole list of routes into the tunnel, a default route as two halves. `underlay` is what the
        transport sends to: what the routes would swallow of it is pinned to the way that the host has to it.
        `declared`: they are all needs of plugins (conflicts.check_route). A route that overlaps a network that the
        host is on is refused before anything is changed; not `strict`: it is withdrawn as long as it does."""
        # Dialling, which asks for it, may be given up meanwhile.
        await whole(self._routes_of().want(networks, underlay, declared=declared, strict=strict))

    async def refresh(self) -> None:
        """Hold routes and pins to what the host is on now; what overlaps by now is withdrawn, with words."""
        if self._tun is None or not await self._is_up():
            return
        await self._restore_addresses()
        if self._routes is not None:
            await self._routes.refresh()

    @property
    def withdrawn(self) -> Mapping[Network, str]:
        """Routes that are not in force while the host is on a network that they overlap, each with the reason."""
        return {} if self._routes is None else self._routes.withdrawn

    async def lacks_ipv6(self, tun: TunDevice) -> bool:
        """The TUN takes no IPv6, nor has this host any that could leave beside the tunnel. Containers often are so."""
        if read_sysctl(f"net/ipv6/conf/{tun.name}/disable_ipv6") == "0":
            return False
        here = [each.address for each in await self.netlink.addresses()]
        return all(address.version == 4 or address.is_loopback for address in here)

    async def set_mtu(self, mtu: int) -> None:
        """Bytes; at least 1280 while the tunnel has an IPv6 address."""
        link = self._configured()
        _check_mtu(mtu, [change.address for change in self._addresses])
        await self.netlink.set_link(link.index, mtu=mtu)
        if mtu != self._mtu:
            self._mtu = mtu
            await self.set_gateway(*self._gateway)

    async def enable_forwarding(self, ipv4: bool, ipv6: bool) -> None:
        """Let the host forward packets; what was on already is left alone, and stays on. Where another instance turned
        it on, the last one that runs turns it off."""
        if ipv4:
            # The kernel sets these along with it, in both directions.
            beside = [*list_sysctls("net/ipv4/conf/*/forwarding"), "net/ipv4/conf/all/accept_redirects"]
            await self._set_sysctl("net/ipv4/ip_forward", "1", beside)
        if ipv6:
            # A forwarding host ignores router advertisements unless told otherwise: it would lose its default route.
            for route in await self.netlink.routes():
                if route.protocol == PROTOCOL_RA and route.network.prefixlen == 0:
                    await self._set_sysctl(f"net/ipv6/conf/{route.interface}/accept_ra", "2", ())
            await self._set_sysctl("net/ipv6/conf/all/forwarding", "1", list_sysctls("net/ipv6/conf/*/forwarding"))

    async def set_gateway(self, masquerade: Sequence[Network], clamp: bool) -> None:
        """Give what comes from these prefixes the host's address where it leaves by another interface than the TUN;
        `clamp`: hold the MSS of TCP through the TUN to its MTU."""
        self._gateway = (tuple(masquerade), clamp)
        table = rulesets.gateway_table(self._instance)
        if not (masquerade or clamp):
            await self._drop_table(table)
        else:
            body = rulesets.gateway(self._configured().name, masquerade, self._mtu if clamp else None)
            await self._set_table(NftTable(table, body, "masquerading" if masquerade else "MSS clamping"))

    async def set_kill_switch(self, tun: str, underlay: Iterable[Network], port: int | None, after_crash: bool) -> None:
        """From now on nothing leaves but through the TUN, and the transport's own flow (rulesets.kill_switch). May be
        called again when the underlay changes. `after_crash`: it stays in force when this process is killed."""
        targets = sorted(set(underlay), key=str)
        body = rulesets.kill_switch(tun, targets, port)
        table = rulesets.kill_switch_table(self._instance)
        await self._set_table(NftTable(table, body, rulesets.KILL_SWITCH, after_crash, tuple(map(str, targets))))

    async def open_kill_switch(self) -> None:
        await self._drop_table(rulesets.kill_switch_table(self._instance))

    def left_open(self) -> list[Network]:
        """The underlay of a kill switch that a crash has left in force."""
        switches = [entry.change for entry in self._journal.pending if entry.change.get("kind") == NftTable.KIND]
        return [ip_network(text) for switch in switches for text in switch["about"]]

    async def set_dns(self, servers: Sequence[Address], domains: Sequence[str]) -> str:
        """Ask these servers for these domains, none: for all names; no servers: as before → a warning, or nothing."""
        link = self._configured()
        wanted, warning = None, ""
        if servers:
            if self._dns is not None and isinstance(self._dns[0], ResolvConfFile):
                if self._dns_asked == (tuple(servers), tuple(domains)) and await self._dns[0].is_ours(self.netlink):
                    return self._dns_warning  # it is in force, and not to be gone for a moment at every reconnect
                # What stands in the file now is ours: the former content is to be taken from before.
                await self.take_back(*self._dns)
                self._dns = None
            wanted, warning = dns_change(servers, domains, link.name, link.index, self._instance)
        if self._dns is not None and self._dns[0] != wanted:
            await self.take_back(*self._dns)
            self._dns = None
        if wanted is not None and self._dns is None:
            self._dns = (wanted, await self.make(wanted))
        self._dns_asked, self._dns_warning = (tuple(servers), tuple(domains)), warning
        return warning

    async def drop_outliving(self) -> None:
        """Take back what was left in force after a crash, unless it has been renewed."""
        await undo_all(self.netlink, self._journal, self._observe, only_outliving=True)

    async def watch(self, tun: TunDevice, changed: Callable[[str], None], tun_changed: Callable[[], None]) -> None:
        """Have `changed` called, with words, when the host's network has changed or it has slept; `tun_changed` when
        somebody has changed the TUN."""
        link = await self.netlink.link(tun.name)
        if self._watch is None:
            self._watch = Watch(0 if link is None else link.index, changed, tun_changed)

    async def make(self, change: Change) -> int:
        """Make any change, journalled → its number in the journal."""
        number = self._journal.intend(change.record())
        await change.apply(self.netlink)
        self._journal.done(number)
        if self._observe is not None:
            self._observe(HostChanged(what=str(change)))
        return number

    async def take_back(self, change: Change, number: int) -> None:
        self._journal.undoing(number)
        await change.undo(self.netlink)
        self._journal.undone(number)
        if self._observe is not None:
            self._observe(HostChanged(what=str(change), undone=True))

    def forget(self, number: int) -> None:
        """Another change has taken this one's place."""
        self._journal.undone(number)

    async def undo(self, *, failed: bool = False) -> None:
        """Take everything back, newest first. May be called at any time, and twice. `failed`: this is no end in order,
        and what is to outlive a crash stays."""
        self._addresses.clear()
        self._tables.clear()
        self._gateway, self._dns = ((), False), None
        if self._routes is not None:
            self._routes.forget()
        await undo_all(self.netlink, self._journal, self._observe, crashed=failed)

    async def close(self) -> None:
        """Close journal and socket. What has not been undone stays in the journal."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._journal.close()
        await self.netlink.close()

    def _configured(self) -> HostLink:
        if self._tun is None:
            raise HostError(f"instance {self._instance!r} has no tunnel interface yet")
        return self._tun

    async def _check_addresses(self, addresses: Sequence[tuple[Address, int]], index: int) -> None:
        others = [address for address in await self.netlink.addresses() if address.index != index]
        for address, prefixlen in addresses:
            check_address(address, prefixlen, others)

    async def _is_up(self) -> bool:
        """The TUN is here and up: somebody may have set it down, or moved it to another namespace, which is their right
        and takes its routes away until it is up again."""
        link = await self.netlink.link(self._configured().name)
        return link is not None and link.index == self._configured().index and link.up

    async def _restore_addresses(self) -> None:
        """Of ours, those that are missing: the kernel takes IPv6 addresses away with the interface's being up."""
        index = self._configured().index
        present = {(a.address, a.prefixlen) for a in await self.netlink.addresses() if a.index == index}
        missing = [change for change in self._addresses if (change.address, change.prefixlen) not in present]
        for change in missing:
            await change.apply(self.netlink)
        await self._await_local([change.address for change in missing])

    async def _await_local(self, addresses: Sequence[Address]) -> None:
        """The kernel finishes an IPv6 address later, in a work queue that tells nobody; until then it drops what
        arrives for it, and a first packet that is lost costs its sender a second."""
        try:
            async with asyncio.timeout(_ADDRESS_PATIENCE):
                for address in addresses:
                    while not await self.netlink.is_local(address):  # noqa: ASYNC110  # the kernel's state
                        await asyncio.sleep(0.002)
        except TimeoutError:
            raise HostError(f"the kernel did not make the address {address} usable: is IPv6 disabled here?") from None

    def _routes_of(self) -> TunnelRoutes:
        link = self._configured()
        if self._routes is None:
            self._routes = TunnelRoutes(self, link)
        return self._routes

    async def _set_table(self, table: NftTable) -> None:
        old = self._tables.get(table.table)
        if old is not None and old[0] == table:
            return
        number = await self.make(table)
        for entry in self._journal.pending:
            # Older ones of the same name, also those that a crash has left, have given way to it.
            if entry.number != number and entry.change.get("table") == table.table:
                self._journal.undone(entry.number)
        self._tables[table.table] = (table, number)

    async def _drop_table(self, name: str) -> None:
        if (made := self._tables.pop(name, None)) is not None:
            await self.take_back(*made)

    async def _set_sysctl(self, key: str, value: str, beside: Sequence[str]) -> None:
        with shared.turn(self._journal):
            change = shared.set_sysctl(self._journal, SetSysctl.of(key, value, beside), key, value)
            if change is not None:
                await self.make(change)


def _check_mtu(mtu: int, addresses: Sequence[Address]) -> None:
    if mtu < _MIN_MTU:
        raise HostError(f"a tunnel MTU of {mtu} bytes is below {_MIN_MTU}, the least that IPv4 hosts must take")
    if mtu < IPV6_MIN_MTU and any(address.version == 6 for address in addresses):
        raise HostError(f"a tunnel MTU of {mtu} bytes cannot carry IPv6: set at least {IPV6_MIN_MTU}, or use IPv4 only")
