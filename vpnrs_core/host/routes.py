"""The routes into the tunnel, and the pins that keep the transport out of it, held to what the host is on now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vpnrs_core.errors import HostError
from vpnrs_core.host.changes import AddRoute, Change
from vpnrs_core.host.conflicts import check_route, check_underlay
from vpnrs_core.host.netlink import HostAddress, HostLink, HostRoute
from vpnrs_core.host.pins import BACKSTOP_METRIC, Backstop, Pin, halves, pin_by, to_pin, way_to
from vpnrs_core.interfaces.common import Network

if TYPE_CHECKING:
    from vpnrs_core.host.setup import HostSetup

log = logging.getLogger("vpnrs.host")


class TunnelRoutes:
    """One TUN's. `withdrawn` are the wanted networks that are not routed while the host is on an overlapping one."""

    def __init__(self, setup: HostSetup, link: HostLink) -> None:
        self._setup = setup
        self._link = link
        self._wanted: tuple[Network, ...] = ()
        self._declared = False
        self._underlay: dict[Network, None] = {}
        self._made: dict[Change, int] = {}
        self._pins: dict[Network, Pin] = {}
        self.withdrawn: dict[Network, str] = {}

    async def want(
        self, networks: Sequence[Network], underlay: Sequence[Network], *, declared: bool, strict: bool
    ) -> None:
        """See HostSetup.set_routes. Not `strict`: what overlaps is withdrawn instead of refused."""
        here, routes = await self._look()
        if strict:
            for network in networks:
                check_route(network, here, declared=declared)
                check_underlay(network, underlay)
        self._wanted, self._declared = tuple(dict.fromkeys(networks)), declared
        # Never taken back before the end: a packet to an address that was dialled once may still be on its way.
        self._underlay.update(dict.fromkeys(underlay))
        await self._sync(here, routes)

    async def refresh(self) -> None:
        """The host's addresses, links or routes have changed."""
        await self._sync(*await self._look())

    def forget(self) -> None:
        """All of it is being undone."""
        self._wanted = ()
        self._underlay.clear()
        self._made.clear()
        self._pins.clear()
        self.withdrawn.clear()

    async def _look(self) -> tuple[list[HostAddress], list[HostRoute]]:
        netlink = self._setup.netlink
        here = [address for address in await netlink.addresses() if address.index != self._link.index]
        return here, await netlink.routes()

    async def _sync(self, here: Sequence[HostAddress], routes: Sequence[HostRoute]) -> None:
        """Pins first, so that no route into the tunnel is there without them."""
        routed = [part for network in self._still_fits(here) for part in halves(network)]
        for target in to_pin(self._underlay, routed):
            await self._pin(target, routes)
        for change in [c for c in self._made if isinstance(c, AddRoute) and c.network not in routed]:
            await self._setup.take_back(change, self._made.pop(change))
        # The network of one of our addresses is on the device already, without a route of ours.
        present = {route.network for route in routes if route.index == self._link.index}
        for network in routed:
            change = AddRoute(network, self._link.name, self._link.index)
            if network in present:
                continue
            if change in self._made:
                await change.apply(self._setup.netlink)
            else:
                self._made[change] = await self._setup.make(change)

    def _still_fits(self, here: Sequence[HostAddress]) -> list[Network]:
        fitting: list[Network] = []
        withdrawn: dict[Network, str] = {}
        for network in self._wanted:
            try:
                check_route(network, here, declared=self._declared)
                check_underlay(network, self._underlay)
                fitting.append(network)
            except HostError as error:
                withdrawn[network] = str(error)
        for network, text in withdrawn.items():
            if network not in self.withdrawn:
                log.error("%s; until then it does not lead into the tunnel", text)
        for network in self.withdrawn.keys() - withdrawn.keys():
            if network in fitting:
                log.warning("the route %s leads into the tunnel again", network)
        self.withdrawn = withdrawn
        return fitting

    async def _pin(self, target: Network, routes: Sequence[HostRoute]) -> None:
        setup, tun = self._setup, self._link.index
        backstop = Backstop(target, BACKSTOP_METRIC + tun)
        if backstop not in self._made:
            self._made[backstop] = await setup.make(backstop)
        way = way_to(target, routes, tun)
        old = self._pins.get(target)
        # Without any way the old pin stays, if the kernel has left it: the network may come back as it was.
        if way is None or way.network == target:
            return
        pin = pin_by(target, way, tun)
        if pin == old and any(pin.describes(route) for route in routes):
            return
        if pin == old:
            await pin.apply(setup.netlink)
            return
        number = await setup.make(pin)
        if old is not None:
            # The new one is in its place: nothing is left to undo.
            setup.forget(self._made.pop(old))
        self._made[pin], self._pins[target] = number, pin
