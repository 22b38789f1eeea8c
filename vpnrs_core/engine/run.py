"""From a configuration to a running instance, and to an exit code."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.models import Configuration, ServerConfig
from vpnrs_core.engine.ending import run_to_the_end
from vpnrs_core.engine.instance import Instance
from vpnrs_core.engine.logs import set_up_logging
from vpnrs_core.host import coredump
from vpnrs_core.host.preflight import Plan, require


def run_instance(
    configuration: Configuration,
    *,
    enable: Sequence[str] = (),
    block: Sequence[str] = (),
    reread: Callable[[], Configuration] | None = None,
) -> int:
    """Run until stopped → exit code 0. `reread` reads the configuration anew, for `vpnrs reload`. Raises VpnrsError for
    everything that makes it impossible."""
    coredump.forbid()
    logger = set_up_logging(configuration.log.level, configuration.log.format)
    # Privileges are checked before anything else is touched.
    for finding in require(plan_of(configuration)):
        logger.warning(finding.text)
    run_to_the_end(_run(configuration, enable, block, reread))
    return 0


def plan_of(configuration: Configuration) -> Plan:
    """What preflight must know of a configuration."""
    tun_name = configuration.tun.name.replace("%d", "0")
    if not isinstance(configuration, ServerConfig):
        return Plan(
            needs_nft="kill_switch" if configuration.kill_switch else "",
            full_ipv4=any(route.version == 4 and route.prefixlen <= 1 for route in configuration.routes),
            mtu=configuration.tun.first_mtu,
            tun_name=tun_name,
        )
    session, addresses, forwarding = configuration.session, configuration.addresses, configuration.forwarding
    pools = [pool for pool in (addresses.ipv4, addresses.ipv6) if pool is not None]
    # A DNS server that clients are told to ask is beyond this host like a route, unless it is in the tunnel's network.
    asked = [server for server in session.dns if not any(server in pool for pool in pools)]
    beyond = {each.version for each in (*session.routes, *asked)}
    return Plan(
        forwards_ipv4=forwarding.nat44 or 4 in beyond,
        forwards_ipv6=6 in beyond,
        sets_forwarding=forwarding.enable,
        needs_nft=next((f"[forwarding] {key}" for key in ("nat44", "clamp_mss") if getattr(forwarding, key)), ""),
        ipv6=configuration.addresses.ipv6 is not None,
        mtu=configuration.tun.first_mtu,
        tun_name=tun_name,
        port=split_host_port(configuration.listen)[1],
    )


async def _run(
    configuration: Configuration,
    enable: Sequence[str],
    block: Sequence[str],
    reread: Callable[[], Configuration] | None,
) -> None:
    instance = Instance(configuration, enable, block, reread)
    # What the imports made lives as long as the process: the collector need not walk it again and again.
    gc.freeze()
    await instance.run()
