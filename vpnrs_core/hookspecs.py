"""The contract: every hook that a plugin may implement. Specifications only.

All hooks are called once, when all plugins that the configuration names have been loaded and before any packet moves,
in the loop's thread; `vpnrs check` calls them too, with a context of an instance that never runs. All are synchronous
and must not block: async work lives in the methods of the objects that they return. Nothing here is called per packet.

Registration hooks return objects that carry a NAME (control requests: a name); the configuration selects by name. A
hook that raises, returns what is no sequence of such objects, or a NAME that is taken, stops the start with one line
that names plugin, hook and cause; the other plugins' hooks are called all the same, so that one start tells all.
ConfigError says in the plugin's own words what the user must change. Hook wrappers are refused. What the returned
objects may raise, and what it costs, stands at their interfaces and in docs/plugins.md.
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


class Deprecated(FutureWarning):
    """What a plugin uses still works and will go. The text says since when, until when, and what to use instead: on a
    hook, `@spec(warn_on_impl=Deprecated("since 0.2, goes with 0.4: implement vpnrs_… instead"))`."""


# Connections


@spec
def vpnrs_register_transports() -> Sequence[Transport]:  # type: ignore[empty-body]
    """How connections are made: listen at a server, dial at a client.

    Server and client. The configuration's `transport` names one; the others are made and never asked. Open no socket
    before `listen` or `dial`. Since 0.1."""


@spec
def vpnrs_register_quic_engines() -> Sequence[QuicEngine]:  # type: ignore[empty-body]
    """Sans-IO QUIC for the built-in QUIC transport.

    Server and client. `[quic] engine` names one, "auto" takes the highest PREFERENCE. An engine that cannot work
    here (a library is missing or not understood) raises PluginError when it is made. Since 0.1."""


@spec
def vpnrs_register_session_protocols() -> Sequence[SessionProtocol]:  # type: ignore[empty-body]
    """How a session is asked for and granted on a connection.

    Server and client. All are offered by ALPN, the built-in vpnrs/1 first, then in the order of loading; a server
    leaves out those that want what its transport lacks. Two that claim one ALPN refuse the start. Since 0.1."""


@spec
def vpnrs_register_datagram_codecs() -> Sequence[PacketCodec | WrapperCodec]:  # type: ignore[empty-body]
    """How packets become payloads and back, and wrappers, which work from datagram to datagram around them.

    Server and client. All are offered and negotiated by NAME; an object with neither `open` nor `wrapper` refuses the
    start. Since 0.1."""


@spec
def vpnrs_register_link_schedulers() -> Sequence[LinkScheduler]:  # type: ignore[empty-body]
    """Which link of a session carries a packet.

    Server and client. The configuration's `scheduler` names one. Since 0.1."""


# Who may come in, and with what


@spec
def vpnrs_register_authenticators() -> Sequence[Authenticator]:  # type: ignore[empty-body]
    """Client and server half of a method.

    Server and client. `[auth] methods` lists what a server accepts, `[auth] method` names a client's. Since 0.1."""


@spec
def vpnrs_register_admission_checks() -> Sequence[AdmissionCheck]:  # type: ignore[empty-body]
    """Vetoes before authentication, and news of the outcome after it.

    Server; a client calls the hook and asks none of them. All that are registered are asked, in the order of loading;
    the first refusal stands. Since 0.1."""


@spec
def vpnrs_register_grant_contributors() -> Sequence[GrantContributor]:  # type: ignore[empty-body]
    """Routes, DNS, MTU, rates, expiry and facts for a grant, an attempt at a time.

    Server; a client calls the hook and asks none of them. All are asked, in the order of loading, which is the order
    of the DNS servers. Since 0.1."""


@spec
def vpnrs_register_address_allocators() -> Sequence[AddressAllocator]:  # type: ignore[empty-body]
    """Who gets which address.

    Server. `[addresses] allocator` names one. The built-in `pool` registers only when it is named, so that another
    allocator's table need not fit it. Since 0.1."""


# Packets


@spec
def vpnrs_register_packet_stages() -> Sequence[StageFactory]:  # type: ignore[empty-body]
    """What happens to packets between the TUN and a peer.

    Server and client. All that are registered run, by their ORDER; equal ones by NAME. A factory has `tun` (one object
    an instance, made at the start) or `bind` (one a session). Since 0.1."""


# State, tasks, commands


@spec
def vpnrs_register_stores() -> Sequence[Store]:  # type: ignore[empty-body]
    """Shared state of an instance, or of several that act as one.

    Server and client. The configuration's `store` names one; it is there for plugins once all have loaded. Since
    0.1."""


@spec
def vpnrs_register_services() -> Sequence[Service]:  # type: ignore[empty-body]
    """Tasks that live as long as the instance: started last, when it serves, and stopped after the sessions.

    Server and client. All run. Since 0.1."""


@spec
def vpnrs_register_control() -> Sequence[ControlRequest]:  # type: ignore[empty-body]
    """Queries and commands on the local sockets, reached as `<plugin>.<name>`.

    Server and client. Those that only read are answered on the status socket too. Since 0.1."""


# The host and the configuration


@spec
def vpnrs_declare_host_needs() -> HostNeeds | None:
    """What the plugin needs of the host, or None: routes into the TUN, addresses that are never leased, forwarding.

    Server and client; a client has no addresses to reserve. Called after the configuration's choices
    have been made and before the TUN is opened; not by `vpnrs check`. A need that cannot be met refuses the start.
    Since 0.1."""


@spec
def vpnrs_check(configuration: Any) -> Sequence[Finding]:  # type: ignore[empty-body]
    """What is wrong with the whole configuration (a read-only model), as far as this plugin can know without
    starting: no network, no change to the host.

    Server and client. Called by the start, which errors refuse and warnings do not, and by `vpnrs check`, which prints
    both. Since 0.1."""
