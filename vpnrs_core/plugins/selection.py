"""What a configuration selects by name from what plugins registered; the same for the start and for a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vpnrs_core.config.models import ClientConfig, Configuration
from vpnrs_core.interfaces import AddressAllocator, Authenticator, LinkScheduler, Store, Transport
from vpnrs_core.plugins.registry import Registry


@dataclass(frozen=True)
class Selection:
    """`authenticators` are the accepted ones in order (server), or the one used (client). `allocator` is None at a
    client. The QUIC engine is selected by the QUIC transport itself."""

    transport: Transport
    scheduler: LinkScheduler
    store: Store
    authenticators: Sequence[Authenticator]
    allocator: AddressAllocator | None


def select(configuration: Configuration, registry: Registry) -> Selection:
    """Raises ConfigError for the first name that nothing registered, with the names that exist."""
    where = configuration.where
    allocator = None
    methods: Sequence[str]
    if isinstance(configuration, ClientConfig):
        methods, key = (configuration.auth.method,), f"{where}: [auth] method"
    else:
        methods, key = configuration.auth.methods, f"{where}: [auth] methods"
        name = configuration.addresses.allocator
        allocator = registry.get("address_allocators", name, f"{where}: [addresses] allocator").object
    engine = configuration.quic.engine
    if configuration.transport == "quic" and engine != "auto":
        # The transport takes it when it dials or listens; the name can be known to be wrong before.
        registry.get("quic_engines", engine, f"{where}: [quic] engine")
    return Selection(
        transport=registry.get("transports", configuration.transport, f"{where}: transport").object,
        scheduler=registry.get("link_schedulers", configuration.scheduler, f"{where}: scheduler").object,
        store=registry.get("stores", configuration.store, f"{where}: store").object,
        authenticators=[entry.object for entry in registry.select("authenticators", methods, key)],
        allocator=allocator,
    )
