"""The merge of what the configuration and plugins contribute to one grant, and the contradictions that refuse it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from vpnrs_core.interfaces.common import Address, Code, Network, Refuse, Seconds
from vpnrs_core.interfaces.grant import Contribution, Principal, Rate

MAX_FACTS = 4096
SMALLEST_MTU = {4: 576, 6: 1280}
LARGEST_MTU = 65_535
# Of a session whose path is not known: IPv6 fits, and nearly every path carries it.
FIRST_MTU = 1280
PUBLIC = "public"


@dataclass(frozen=True)
class MergedGrant:
    """What all contributions come to. `expires` is POSIX seconds; `facts` are by plugin."""

    routes: tuple[Network, ...] = ()
    dns: tuple[Address, ...] = ()
    mtu: int = SMALLEST_MTU[6]
    up: Rate | None = None
    down: Rate | None = None
    expires: Seconds | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def public_facts(self) -> dict[str, Any]:
        """What the same plugins at the client may see."""
        return {plugin: facts[PUBLIC] for plugin, facts in self.facts.items() if PUBLIC in facts}


def merge(
    principal: Principal,
    contributions: Sequence[tuple[str, Contribution]],
    *,
    default_mtu: int,
    wall: Seconds,
) -> MergedGrant | Refuse:
    """`contributions`: (plugin or "server", contribution) in declared order. `wall` is now, in POSIX seconds.

    Routes are united, DNS keeps the declared order without duplicates, of MTU, rates and expiry the smallest holds.
    → a refusal whose detail names the contradiction and who caused it."""
    problem = next(filter(None, (_problem(plugin, c) for plugin, c in contributions)), None)
    if problem is not None:
        return Refuse(Code.POLICY, detail=problem)
    all_of = [c for _, c in contributions]
    expiries = [e for e in (principal.expires, *(c.expires for c in all_of)) if e is not None]
    expires = min(expiries, default=None)
    if expires is not None and expires <= wall:
        who = next((plugin for plugin, c in contributions if c.expires == expires), "the credential")
        return Refuse(Code.POLICY, detail=f"grant of {principal.name!r} has expired already ({who})")
    facts: dict[str, Mapping[str, Any]] = {}
    for plugin, c in contributions:
        if c.facts:
            facts[plugin] = {**facts.get(plugin, {}), **c.facts}
    merged = MergedGrant(
        routes=_union(route for c in all_of for route in c.routes),
        dns=tuple(dict.fromkeys(address for c in all_of for address in c.dns)),
        mtu=min([default_mtu, *(c.mtu for c in all_of if c.mtu is not None)]),
        up=_slowest(c.up for c in all_of),
        down=_slowest(c.down for c in all_of),
        expires=expires,
        facts=facts,
    )
    contradiction = _contradiction(merged)
    return merged if contradiction is None else Refuse(Code.POLICY, detail=contradiction)


def within(fits: int, cap: int, addresses: Iterable[Address]) -> int:
    """The MTU of a session of which `fits` bytes fit its path: at most `cap`, and never too small for the families that
    it has addresses of. IPv6 has no smaller one (RFC 8200 section 5)."""
    floor = SMALLEST_MTU[max((address.version for address in addresses), default=4)]
    return min(cap, max(floor, fits))


def _problem(plugin: str, c: Contribution) -> str | None:
    """What is wrong with one contribution by itself."""
    if c.mtu is not None and not SMALLEST_MTU[4] <= c.mtu <= LARGEST_MTU:
        return f"{plugin} contributes MTU {c.mtu}; it must be {SMALLEST_MTU[4]} to {LARGEST_MTU}"
    for name, rate in (("up", c.up), ("down", c.down)):
        if rate is not None and (rate.bits_per_second <= 0 or rate.burst_bytes <= 0):
            return f"{plugin} contributes a rate {name} that lets nothing through ({rate}); end the session instead"
    try:
        size = len(json.dumps(dict(c.facts), allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        return f"{plugin} contributes facts that are not JSON: {error}"
    if size > MAX_FACTS:
        return f"{plugin} contributes {size} bytes of facts; {MAX_FACTS} are allowed"
    return None


def _contradiction(merged: MergedGrant) -> str | None:
    """What is wrong with all of them together."""
    wants_v6 = any(r.version == 6 for r in merged.routes) or any(a.version == 6 for a in merged.dns)
    if wants_v6 and merged.mtu < SMALLEST_MTU[6]:
        return f"MTU {merged.mtu} cannot carry the IPv6 routes or DNS granted; IPv6 needs {SMALLEST_MTU[6]}"
    for name, rate in (("up", merged.up), ("down", merged.down)):
        if rate is not None and rate.burst_bytes < merged.mtu:
            return f"rate {name} allows bursts of {rate.burst_bytes} bytes, less than one packet of MTU {merged.mtu}"
    for plugin, facts in merged.facts.items():
        if len(json.dumps(dict(facts)).encode()) > MAX_FACTS:
            return f"{plugin} contributes more than {MAX_FACTS} bytes of facts in all"
    return None


def _slowest(rates: Iterable[Rate | None]) -> Rate | None:
    """The smaller bit rate and the smaller burst: no contributor's limit is exceeded in either."""
    given = [rate for rate in rates if rate is not None]
    if not given:
        return None
    return Rate(min(r.bits_per_second for r in given), min(r.burst_bytes for r in given))


def _union(routes: Iterable[Network]) -> tuple[Network, ...]:
    given = list(routes)
    v4 = collapse_addresses(r for r in given if isinstance(r, IPv4Network))
    v6 = collapse_addresses(r for r in given if isinstance(r, IPv6Network))
    return (*v4, *v6)
