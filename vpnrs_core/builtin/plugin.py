"""The built-in plugin: what the core itself brings, registered through the same hooks as anyone else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vpnrs_core.builtin.halves import HalvesCodec
from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.builtin.offload import OffloadCodec
from vpnrs_core.builtin.plain import PlainCodec
from vpnrs_core.builtin.pool import PoolAllocator
from vpnrs_core.builtin.segments import SegmentsCodec
from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.config.models import ClientConfig, Configuration, ServerConfig
from vpnrs_core.config.tables import DATAGRAM_OVERHEAD
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import (
    AddressAllocator,
    Context,
    LinkScheduler,
    PacketCodec,
    QuicEngine,
    SessionProtocol,
    Store,
    Transport,
)
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport

Engines = Callable[[], Mapping[str, QuicEngine]]


class Builtin:
    """Its configuration is the whole one. `engines` gives the registered QUIC engines once loading has ended; the
    transport asks when it makes its first connection."""

    def __init__(self, config: Configuration, ctx: Context, engines: Engines) -> None:
        self._config = config
        self._ctx = ctx
        self._engines = engines

    @impl
    def vpnrs_register_transports(self) -> Sequence[Transport]:
        # The first datagrams carry the first MTU; how much more the path takes is found out.
        start = min(max(self._config.tun.first_mtu, 1280) + DATAGRAM_OVERHEAD, self._config.quic.max_udp_payload)
        return [QuicTransport(_quic(self._config), self._engines, _identity(self._config), start_payload=start)]

    @impl
    def vpnrs_register_quic_engines(self) -> Sequence[QuicEngine]:
        return [AioquicEngine()]

    @impl
    def vpnrs_register_session_protocols(self) -> Sequence[SessionProtocol]:
        return [VpnrsProtocol()]

    @impl
    def vpnrs_register_datagram_codecs(self) -> Sequence[PacketCodec]:
        return [OffloadCodec(), SegmentsCodec(), PlainCodec(), HalvesCodec()]

    @impl
    def vpnrs_register_link_schedulers(self) -> Sequence[LinkScheduler]:
        return [SingleLinkScheduler()]

    @impl
    def vpnrs_register_address_allocators(self) -> Sequence[AddressAllocator]:
        # Without a pool of its own, another allocator is meant, and this one would refuse the start.
        if not isinstance(self._config, ServerConfig) or self._config.addresses.allocator != PoolAllocator.NAME:
            return []
        return [PoolAllocator.from_config(self._config.addresses, self._ctx.now, self._config.where)]

    @impl
    def vpnrs_register_stores(self) -> Sequence[Store]:
        return [MemoryStore(self._ctx.now)]


def _quic(config: Configuration) -> QuicConfig:
    """The table with its files made absolute."""
    paths = {key: getattr(config.quic, key) for key in ("certificate", "key")}
    return config.quic.model_copy(update={key: config.path(str(path)) for key, path in paths.items() if path})


def _identity(config: Configuration) -> ServerIdentity | None:
    if not isinstance(config, ClientConfig):
        return None
    ca = config.ca if config.ca in (None, "system") else str(config.path(str(config.ca)))
    return ServerIdentity(server_pin=config.server_pin, ca=ca, server_name=config.server_name)
