"""One pool of addresses: which one is handed out next, and when a freed one may be used again."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Address

from vpnrs_core.interfaces.common import Address, Network, Seconds

# Freed addresses remembered in order. A larger pool reuses its oldest beyond this, so that memory stays bounded.
REMEMBERED = 65_536
# The longest prefix that holds a server and a client next to the network's own (and IPv4's broadcast) address.
LONGEST_PREFIX = {4: 30, 6: 126}


class Pool:
    """The host addresses of one network, by holder. Nothing is enumerated: a /64 costs what its holders cost.

    Order: addresses never used, ascending; then the least recently freed. A freed address rests for `reuse_delay`
    seconds, so that packets for its last holder do not reach the next one."""

    def __init__(self, network: Network, reuse_delay: Seconds) -> None:
        self.network = network
        self._make: type[IPv4Address] | type[IPv6Address] = IPv4Address if network.version == 4 else IPv6Address
        self._next = int(network.network_address) + 1
        self._last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
        self.hosts = self._last - self._next + 1
        self._delay = reuse_delay
        self._blocked: dict[int, str] = {}
        self._statics = 0
        self._held: dict[int, str] = {}
        self._freed: OrderedDict[int, Seconds] = OrderedDict()

    @property
    def leased(self) -> int:
        return len(self._held)

    @property
    def leasable(self) -> int:
        """Addresses that some principal can get: all but the server's and the reserved ones."""
        return self.hosts - len(self._blocked) + self._statics

    def is_host(self, address: Address) -> bool:
        """Inside, and neither the network's own address nor IPv4's broadcast."""
        first = int(self.network.network_address) + 1
        return address.version == self.network.version and first <= int(address) <= self._last

    def why_taken(self, address: Address) -> str | None:
        """What the address is used for, in words; None when it is free."""
        if (holder := self._held.get(int(address))) is not None:
            return f"leased to session {holder}"
        return self._blocked.get(int(address))

    def block(self, address: Address, why: str, *, static: bool = False) -> None:
        """Keep an address out of dynamic leasing. `static` ones can still be had with `take_static`."""
        self._blocked[int(address)] = why
        self._statics += static
        self._freed.pop(int(address), None)

    def take(self, holder: str, now: Seconds, *, resting: bool) -> Address | None:
        """The next address for `holder`, None: exhausted. `resting` allows one whose reuse delay has not passed."""
        number = None
        if len(self._freed) > REMEMBERED:
            number = self._oldest(now, resting=False)
        if number is None:
            number = self._fresh()
        if number is None:
            number = self._oldest(now, resting=resting)
        if number is None:
            return None
        self._held[number] = holder
        return self._make(number)

    def take_this(self, address: Address, holder: str, now: Seconds) -> bool:
        """A particular address, if it is free and has rested."""
        number = int(address)
        freed_at = self._freed.get(number)
        if not self.is_host(address) or number in self._held or number in self._blocked:
            return False
        if freed_at is not None and now - freed_at < self._delay:
            return False
        self._freed.pop(number, None)
        self._held[number] = holder
        return True

    def take_static(self, address: Address, holder: str) -> bool:
        """A blocked address for the principal it belongs to; False: a session holds it already."""
        if int(address) in self._held:
            return False
        self._held[int(address)] = holder
        return True

    def holder(self, address: Address) -> str | None:
        return self._held.get(int(address))

    def give(self, address: Address, holder: str, now: Seconds) -> bool:
        """Take an address back. False, and nothing happens, when `holder` does not hold it."""
        number = int(address)
        if self._held.get(number) != holder:
            return False
        del self._held[number]
        if number not in self._blocked:
            self._freed[number] = now
        return True

    def _fresh(self) -> int | None:
        while self._next <= self._last:
            number = self._next
            self._next += 1
            if number not in self._blocked and number not in self._held and number not in self._freed:
                return number
        return None

    def _oldest(self, now: Seconds, *, resting: bool) -> int | None:
        if not self._freed:
            return None
        number, freed_at = next(iter(self._freed.items()))
        if not resting and now - freed_at < self._delay:
            return None
        del self._freed[number]
        return number
