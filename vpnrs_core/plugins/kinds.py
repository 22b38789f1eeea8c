"""The kinds of plugins by the word that people use for them: `--kind stage`, the how-to, the contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`registry` is the kind's name in hooks (`vpnrs_register_<registry>`) and in the registry of what was registered;
    `suite` the contract suite of vpnrs_core.testkit.suites; `what` one line about it."""

    word: str
    registry: str
    suite: str
    what: str


_ROWS = (
    Kind("stage", "packet_stages", "StageSuite", "looks at, changes or drops packets"),
    Kind("authenticator", "authenticators", "AuthenticatorSuite", "says who a client is"),
    Kind("admission", "admission_checks", "AdmissionSuite", "vetoes attempts before authentication"),
    Kind("allocator", "address_allocators", "AllocatorSuite", "gives addresses to sessions"),
    Kind("transport", "transports", "TransportSuite", "makes connections"),
    Kind("engine", "quic_engines", "EngineSuite", "speaks QUIC for the built-in transport, without I/O"),
    Kind("protocol", "session_protocols", "ProtocolSuite", "asks for sessions and grants them on a connection"),
    Kind("codec", "datagram_codecs", "CodecSuite", "turns packets into payloads and back"),
    Kind("scheduler", "link_schedulers", "SchedulerSuite", "says which link of a session carries a packet"),
    Kind("service", "services", "ServiceSuite", "is a task that lives as long as the instance"),
    Kind("store", "stores", "StoreSuite", "keeps state, for one instance or shared by several"),
    Kind("grant", "grant_contributors", "GrantSuite", "adds routes, rates, expiry to what a client is granted"),
    Kind("command", "control", "CommandSuite", "adds requests to the local sockets, and a command group to vpnrs"),
)
BY_WORD: Mapping[str, Kind] = {kind.word: kind for kind in _ROWS}
BY_REGISTRY: Mapping[str, Kind] = {kind.registry: kind for kind in _ROWS}
