"""A server's translator put together from configuration and context: its stage, its needs of the host, its grant."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, ClassVar

from vpnrs_core.config.models import ServerConfig
from vpnrs_core.interfaces import Context, Contribution, ControlRequest, HostNeeds, Principal, Session
from vpnrs_nat64.check import reserved, source_addresses
from vpnrs_nat64.config import Nat64Config
from vpnrs_nat64.control import NUMBERS, Control
from vpnrs_nat64.events import Notices
from vpnrs_nat64.limiter import Limiters
from vpnrs_nat64.nat64 import Nat64
from vpnrs_nat64.stage import Nat64Stage
from vpnrs_nat64.state.options import Options, StaticBinding
from vpnrs_nat64.state.records import endpoint
from vpnrs_nat64.state.sessions import Sessions
from vpnrs_nat64.translate.fragments import Fragments
from vpnrs_nat64.translate.prefix import Prefix

if TYPE_CHECKING:
    from vpnrs_core.interfaces import Attempt

# The core lets a stage hold a mebibyte of whole packets; the store's own bound and 1,024 stored SYNs stay below it, so
# that the store decides which fragments go.
_HELD_BYTES = 768 << 10


class Translator:
    """interfaces.TunStageFactory. It learns its addresses from the whole configuration, which comes last."""

    NAME: ClassVar[str] = "nat64"
    ORDER: ClassVar[int] = 300

    def __init__(self, config: Nat64Config, ctx: Context) -> None:
        self._config, self._ctx = config, ctx
        self._sources = tuple(config.source_ip or ())
        self._server: ServerConfig | None = None
        self._stage: Nat64Stage | None = None
        self._translated = ctx.counter("translated_packets", "packets translated, by what they became", ["to"])
        self._errors = ctx.counter("icmp_errors", "ICMP errors of the translator's own", ["outcome"])

    def configured(self, server: ServerConfig) -> None:
        """The whole configuration is known."""
        self._server = server
        self._sources = tuple(source_addresses(self._config, server))

    def needs(self) -> HostNeeds:
        server = self._server
        if self._config.source_ip is None:
            self._ctx.log.info("source_ip %s was reserved for NAT64", ", ".join(map(str, self._sources)))
        own = [IPv4Network(source) for source in self._sources]
        return HostNeeds(
            to_tun=own,
            masquerade=own if self._config.masquerade else [],
            reserve=reserved(self._sources, server) if server is not None else [],
            forwarding=True,
        )

    def tun(self, wake_at: Callable[[float], None]) -> Nat64Stage:
        config, ctx = self._config, self._ctx
        prefix = Prefix(config.prefix)
        packed = tuple(source.packed for source in self._sources)
        addresses: dict[bytes, Session] = {}
        state = Sessions(self._options(packed), ctx.random, prefix.embed, addresses.get)
        nat64 = Nat64(
            prefix,
            packed,
            state,
            allow_private=config.allow_private,
            tos=config.tos,
            first_ident=int.from_bytes(ctx.random(2), "big"),
        )
        self._stage = Nat64Stage(
            nat64,
            addresses,
            Fragments(lifetime=config.fragment_timeout, max_bytes=_HELD_BYTES),
            Limiters(config.icmp_errors_per_second),
            wake_at,
            self._translated,
            self._errors,
            Notices(ctx.emit),
        )
        return self._stage

    def requests(self) -> list[ControlRequest]:
        return Control(self._running, self._ctx.now).requests()

    def _running(self) -> Nat64Stage:
        assert self._stage is not None, "control requests are answered once the pipeline is there"
        return self._stage

    def _options(self, sources: tuple[bytes, ...]) -> Options:
        config = self._config
        return Options(
            sources=sources,
            ports=config.port_range,
            udp=config.udp_timeout,
            tcp_established=config.tcp_established_timeout,
            tcp_transitory=config.tcp_transitory_timeout,
            tcp_incoming_syn=config.tcp_syn_timeout,
            icmp=config.icmp_timeout,
            address_dependent=config.address_dependent_filtering,
            inbound_refresh=config.inbound_refresh,
            max_bindings=config.max_bindings,
            max_sessions=config.max_sessions,
            client_bindings=config.max_bindings_per_client,
            client_sessions=config.max_sessions_per_client,
            static=[
                StaticBinding(
                    NUMBERS[static.protocol],
                    endpoint(static.to[0].packed, static.to[1]),
                    endpoint(static.source_ip.packed if static.source_ip else sources[0], static.port),
                )
                for static in config.static
            ],
        )


class PrefixGrant:
    """interfaces.GrantContributor: clients learn the prefix, and route it into the tunnel."""

    NAME: ClassVar[str] = "nat64"

    def __init__(self, config: Nat64Config) -> None:
        routes = (config.prefix,) if config.push_route else ()
        self._contribution = Contribution(routes=routes, facts={"public": {"prefix": str(config.prefix)}})

    async def contribute(self, attempt: Attempt, principal: Principal) -> Contribution:
        return self._contribution
