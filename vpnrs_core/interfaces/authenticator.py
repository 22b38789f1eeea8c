"""Authenticators: a client half that presents a credential, a server half that judges it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from vpnrs_core.interfaces.common import Code
from vpnrs_core.interfaces.grant import Principal
from vpnrs_core.interfaces.transport import PeerIdentity


@dataclass(frozen=True, repr=False)
class Bearer:
    """A secret string: whoever has it is let in."""

    token: str

    def __repr__(self) -> str:  # a credential never reaches a log
        return "Bearer(…)"


@dataclass(frozen=True, repr=False)
class PeerKey:
    """The key or certificate that the transport has verified the peer to hold."""

    identity: PeerIdentity

    def __repr__(self) -> str:
        return "PeerKey(…)"


@dataclass(frozen=True, repr=False)
class Body:
    """A method's own JSON object."""

    body: Mapping[str, Any]

    def __repr__(self) -> str:
        return "Body(…)"


Credential = Bearer | PeerKey | Body


@dataclass(frozen=True)
class Attempt:
    """One request for a session, as plugins see it: never the credential, never its public id.

    `source` is the peer's underlay address without port; `fingerprint` is keyed (≤ 16 bytes), None where the method
    has nothing to identify; `resumed`: a resume was proven, which replaces authentication."""

    id: str
    protocol: str
    source: str
    method: str
    fingerprint: bytes | None
    resumed: bool


@dataclass(frozen=True)
class Accept:
    principal: Principal


@dataclass(frozen=True)
class Reject:
    """`detail` goes to the log; the wire gets a generic text."""

    detail: str = ""


@dataclass(frozen=True)
class Challenge:
    body: Mapping[str, Any]


Verdict = Accept | Reject | Challenge


class ServerHalf(Protocol):
    """Judges one attempt, at most four challenges, allocating nothing that would have to be given back. Each call may
    take 5 s; raising, or taking longer, refuses with `internal`."""

    async def begin(self, attempt: Attempt, credential: Credential, channel: bytes) -> Verdict:
        """`channel`: what to sign to bind an answer to this connection (ALPN, SPKI hash, nonces, role)."""

    async def answer(self, body: Mapping[str, Any]) -> Verdict:
        """To the last challenge."""


class ClientHalf(Protocol):
    """One object for the life of the client. PeerError and HostError count as a failed attempt, which is tried again;
    whatever else it raises ends the client."""

    async def prepare(self) -> None:
        """Before dialling, with no deadline: may ask a person."""

    def start(self) -> Mapping[str, Any]:
        """The credential for HELLO: {"bearer": token}, {} for PeerKey, or the method's own body."""

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        """`channel`: what to sign, as at the server's half, with the client's role in it."""

    def refused(self, code: Code) -> bool:
        """True allows one more attempt with a new credential although the refusal is final."""


class Authenticator(Protocol):
    """NAME is the method's name on the wire. TAKES: the credential types that the server half judges."""

    NAME: ClassVar[str]
    TAKES: ClassVar[frozenset[type]]

    def identify(self, credential: Credential) -> bytes | None:
        """Bytes that stand for the presented credential (the core fingerprints them with its key), or None."""

    def server(self) -> ServerHalf:
        """A new object for one attempt."""

    def client(self) -> ClientHalf:
        """Called once, at the start of a client."""
