"""From a configuration to a running instance, and to an exit code."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

from vpnrs_core.config.fields import split_host_port
from vpnrs_core.config.models import Configuration, ServerConfig
from vpnrs_core.engine.instance import Instance
from vpnrs_core.engine.logs import set_up_logging
from vpnrs_core.host.preflight import Plan, require


def run_instance(configuration: Configuration, *, enable: Sequence[str] = (), block: Sequence[str] = ()) -> int:
    """Run until stopped → exit code 0. Raises VpnrsError for everything that makes it impossible."""
    logger = set_up_logging(configuration.log.level, configuration.log.format)
    # Privileges are checked before anything else is touched.
    for finding in require(plan_of(configuration)):
        logger.warning(finding.text)
    asyncio.run(_run(configuration, enable, block))
    return 0


def plan_of(configuration: Configuration) -> Plan:
    """What preflight must know of a configuration."""
    if not isinstance(configuration, ServerConfig):
        return Plan()
    routes = configuration.session.routes
    return Plan(
        forwards_ipv4=any(route.version == 4 for route in routes),
        forwards_ipv6=any(route.version == 6 for route in routes),
        sets_forwarding=configuration.forwarding.enable,
        port=split_host_port(configuration.listen)[1],
    )


async def _run(configuration: Configuration, enable: Sequence[str], block: Sequence[str]) -> None:
    instance = Instance(configuration, enable, block)
    # What the imports made lives as long as the process: the collector need not walk it again and again.
    gc.freeze()
    await instance.run()
