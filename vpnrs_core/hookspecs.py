"""The contract: every hook that a plugin may implement. Specifications only.

All hooks are called at set-up, by the loop's thread, before any packet moves; all are synchronous and must not
block for long. A hook that raises stops the start, with one line that names plugin, hook and cause. Nothing here is
called per packet: async work lives in the methods of the objects that hooks return.

Registration hooks return objects that carry a NAME; the configuration selects by name. A NAME that is registered
twice refuses the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from vpnrs_core.interfaces import (
        AddressAllocator,
        AdmissionCheck,
        Authenticator,
        ControlRequest,
        Finding,
        GrantContributor,
        HostNeeds,
        LinkScheduler,
        PacketCodec,
        QuicEngine,
        Service,
        SessionProtocol,
        StageFactory,
        Store,
        Transport,
        WrapperCodec,
    )

PROJECT = "vpnrs"
# The contract's version is the core's major.minor.
HOOK_API = "0.1"

spec = pluggy.HookspecMarker(PROJECT)
impl = pluggy.HookimplMarker(PROJECT)


# Connections


@spec
def vpnrs_register_transports() -> Sequence[Transport]:  # type: ignore[empty-body]
    """How connections are made. Server and client. The configuration's `transport` names one. Since 0.1."""


@spec
def vpnrs_register_quic_engines() -> Sequence[QuicEngine]:  # type: ignore[empty-body]
    """Sans-IO QUIC for the QUIC transport, chosen by `quic.engine`. Server and client. Since 0.1."""


@spec
def vpnrs_register_session_protocols() -> Sequence[SessionProtocol]:  # type: ignore[empty-body]
    """How a session is asked for on a connection. Server and client. Two that claim one ALPN refuse the start.
    Since 0.1."""


@spec
def vpnrs_register_datagram_codecs() -> Sequence[PacketCodec | WrapperCodec]:  # type: ignore[empty-body]
    """How packets become payloads and back, negotiated by NAME. Server and client. Since 0.1."""


@spec
def vpnrs_register_link_schedulers() -> Sequence[LinkScheduler]:  # type: ignore[empty-body]
    """Which link of a session carries a packet, chosen by `scheduler`. Server and client. Since 0.1."""


# Who may come in, and with what


@spec
def vpnrs_register_authenticators() -> Sequence[Authenticator]:  # type: ignore[empty-body]
    """Client and server half of a method. `auth.methods` (server) lists the accepted, `auth.method` (client) names
    one. Since 0.1."""


@spec
def vpnrs_register_admission_checks() -> Sequence[AdmissionCheck]:  # type: ignore[empty-body]
    """Vetoes before and news after authentication. Server. All that are registered are asked. Since 0.1."""


@spec
def vpnrs_register_grant_contributors() -> Sequence[GrantContributor]:  # type: ignore[empty-body]
    """Routes, DNS, MTU, rates, expiry and facts for a grant, an attempt at a time. Server. Since 0.1."""


@spec
def vpnrs_register_address_allocators() -> Sequence[AddressAllocator]:  # type: ignore[empty-body]
    """Who gets which address, chosen by `addresses.allocator`. Server. Since 0.1."""


# Packets


@spec
def vpnrs_register_packet_stages() -> Sequence[StageFactory]:  # type: ignore[empty-body]
    """What happens to packets. Server and client. All that are registered run, in the order of their ORDER.
    Since 0.1."""


# State, tasks, commands


@spec
def vpnrs_register_stores() -> Sequence[Store]:  # type: ignore[empty-body]
    """Shared state, chosen by `store`. Server and client. Since 0.1."""


@spec
def vpnrs_register_services() -> Sequence[Service]:  # type: ignore[empty-body]
    """Tasks that live as long as the instance. Server and client. Since 0.1."""


@spec
def vpnrs_register_control() -> Sequence[ControlRequest]:  # type: ignore[empty-body]
    """Queries and commands on the local sockets, reached as `<plugin>.<name>`. Server and client. Since 0.1."""


# The host and the configuration


@spec
def vpnrs_declare_host_needs() -> HostNeeds | None:
    """Routes, reserved addresses, masquerading and forwarding that the plugin needs. Server and client. Since 0.1."""


@spec
def vpnrs_check(configuration: Any) -> Sequence[Finding]:  # type: ignore[empty-body]
    """What is wrong with the whole configuration (a read-only model), as far as this plugin can know without
    starting. Used by start, `vpnrs check` and `vpnrs doctor`. Server and client. Since 0.1."""
