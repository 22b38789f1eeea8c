"""What a plugin author implements and is given: one file a kind, every public name importable from here.

A name that goes out of use stays in RENAMED for two minor versions, and warns of its successor when it is imported.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vpnrs_core.interfaces.addresses import AddressAllocator, Lease, PoolExhausted
from vpnrs_core.interfaces.admission import AdmissionCheck, Admit
from vpnrs_core.interfaces.authenticator import (
    Accept,
    Attempt,
    Authenticator,
    Bearer,
    Body,
    Challenge,
    ClientHalf,
    Credential,
    PeerKey,
    Reject,
    ServerHalf,
    Verdict,
)
from vpnrs_core.interfaces.codec import Codec, CodecOut, PacketCodec, Wrapper, WrapperCodec
from vpnrs_core.interfaces.common import Address, Code, Network, Refuse, RetryClass, Seconds, retry_class
from vpnrs_core.interfaces.context import Context, Counter, Gauge, Histogram, Sample
from vpnrs_core.interfaces.control import ControlRequest
from vpnrs_core.interfaces.engine import EngineConnection, EngineEvent, QuicEngine, QuicSettings
from vpnrs_core.interfaces.grant import Contribution, GrantContributor, Principal, Rate
from vpnrs_core.interfaces.host import Expected, Finding, HostNeeds, LiveFacts
from vpnrs_core.interfaces.plugin import Files, Provision, VpnrsPlugin
from vpnrs_core.interfaces.protocol import (
    ClientLink,
    ClientRequest,
    Gate,
    Granted,
    GrantListener,
    LinkControl,
    Offer,
    OpenedLink,
    Probes,
    ResumeClaim,
    ResumeTicket,
    SessionProtocol,
)
from vpnrs_core.interfaces.scheduler import LinkScheduler
from vpnrs_core.interfaces.service import Service
from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.stage import (
    Direction,
    Matches,
    Observer,
    Out,
    PeerStage,
    PeerStageFactory,
    Seen,
    Stage,
    StageFactory,
    TunStage,
    TunStageFactory,
)
from vpnrs_core.interfaces.store import Store, StoreUnavailable, Value
from vpnrs_core.interfaces.transport import (
    Aims,
    Connection,
    ConnectionEvents,
    Door,
    Lane,
    Link,
    Listener,
    PathFacts,
    PayloadSizes,
    PeerIdentity,
    ProbedPath,
    Streams,
    Transport,
    TransportFacts,
)
from vpnrs_core.interfaces.tun import TunCounters, TunDevice
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet

__all__ = [
    "Accept",
    "Address",
    "AddressAllocator",
    "AdmissionCheck",
    "Admit",
    "Aims",
    "Attempt",
    "Authenticator",
    "BadPacket",
    "Bearer",
    "Body",
    "Challenge",
    "ClientHalf",
    "ClientLink",
    "ClientRequest",
    "Code",
    "Codec",
    "CodecOut",
    "Connection",
    "ConnectionEvents",
    "Context",
    "Contribution",
    "ControlRequest",
    "Counter",
    "Credential",
    "Direction",
    "Door",
    "EngineConnection",
    "EngineEvent",
    "Expected",
    "Files",
    "Finding",
    "Gate",
    "Gauge",
    "GrantContributor",
    "GrantListener",
    "Granted",
    "Histogram",
    "HostNeeds",
    "Lane",
    "Lease",
    "Link",
    "LinkControl",
    "LinkScheduler",
    "Listener",
    "LiveFacts",
    "Matches",
    "Network",
    "Observer",
    "Offer",
    "OpenedLink",
    "Out",
    "Packet",
    "PacketCodec",
    "PathFacts",
    "PayloadSizes",
    "PeerIdentity",
    "PeerKey",
    "PeerStage",
    "PeerStageFactory",
    "PoolExhausted",
    "Principal",
    "ProbedPath",
    "Probes",
    "Provision",
    "QuicEngine",
    "QuicSettings",
    "Rate",
    "Refuse",
    "Reject",
    "ResumeClaim",
    "ResumeTicket",
    "RetryClass",
    "Sample",
    "Seconds",
    "Seen",
    "ServerHalf",
    "Service",
    "Session",
    "SessionProtocol",
    "Stage",
    "StageFactory",
    "Store",
    "StoreUnavailable",
    "Streams",
    "Transport",
    "TransportFacts",
    "TunCounters",
    "TunDevice",
    "TunStage",
    "TunStageFactory",
    "Value",
    "Verdict",
    "VpnrsPlugin",
    "Wrapper",
    "WrapperCodec",
    "retry_class",
]

# Old name → (its successor, "since 0.2, goes with 0.4").
RENAMED: Mapping[str, tuple[str, str]] = {}

if not TYPE_CHECKING:  # or every misspelt name would be one for the type checker

    def __getattr__(name: str) -> Any:
        if name not in RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import warnings

        from vpnrs_core.hookspecs import Deprecated

        new, when = RENAMED[name]
        warnings.warn(Deprecated(f"{__name__}.{name} is deprecated {when}: use {new} instead"), stacklevel=2)
        return globals()[new]
