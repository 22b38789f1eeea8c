"""What a plugin author implements and is given: one file a kind, every public name importable from here."""

from vpnrs_core.interfaces.addresses import AddressAllocator, Lease
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
from vpnrs_core.interfaces.codec import Codec, CodecOut, PacketCodec, Wrapper
from vpnrs_core.interfaces.common import Address, Code, Network, Refuse, RetryClass, Seconds, retry_class
from vpnrs_core.interfaces.context import Context, Counter, Sample
from vpnrs_core.interfaces.control import ControlRequest
from vpnrs_core.interfaces.engine import EngineConnection, EngineEvent, QuicEngine, QuicSettings
from vpnrs_core.interfaces.grant import Contribution, GrantContributor, Principal, Rate
from vpnrs_core.interfaces.host import Finding, HostNeeds
from vpnrs_core.interfaces.plugin import Files, Provision, VpnrsPlugin
from vpnrs_core.interfaces.protocol import (
    ClientRequest,
    Gate,
    Granted,
    Offer,
    OpenedLink,
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
    Stage,
    StageFactory,
    TunStage,
    TunStageFactory,
)
from vpnrs_core.interfaces.store import Store, StoreUnavailable, Value
from vpnrs_core.interfaces.transport import (
    Connection,
    ConnectionEvents,
    Lane,
    Link,
    Listener,
    PathFacts,
    PeerIdentity,
    Streams,
    Transport,
)
from vpnrs_core.interfaces.tun import TunDevice
from vpnrs_core.packet.packet import Packet

__all__ = [
    "Accept",
    "Address",
    "AddressAllocator",
    "AdmissionCheck",
    "Admit",
    "Attempt",
    "Authenticator",
    "Bearer",
    "Body",
    "Challenge",
    "ClientHalf",
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
    "EngineConnection",
    "EngineEvent",
    "Files",
    "Finding",
    "Gate",
    "GrantContributor",
    "Granted",
    "HostNeeds",
    "Lane",
    "Lease",
    "Link",
    "LinkScheduler",
    "Listener",
    "Matches",
    "Network",
    "Observer",
    "Offer",
    "OpenedLink",
    "Out",
    "Packet",
    "PacketCodec",
    "PathFacts",
    "PeerIdentity",
    "PeerKey",
    "PeerStage",
    "PeerStageFactory",
    "Principal",
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
    "TunDevice",
    "TunStage",
    "TunStageFactory",
    "Value",
    "Verdict",
    "VpnrsPlugin",
    "Wrapper",
    "retry_class",
]
