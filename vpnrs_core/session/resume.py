"""Resume: proofs bound to one connection, and secrets that change at each use without locking a client out."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from vpnrs_core.interfaces.protocol import ResumeClaim, ResumeTicket

SECRET_LENGTH = 32
CHANNEL_LABEL = b"vpnrs channel 1\0"


def binding(client_nonce: bytes, server_nonce: bytes, server_spki: bytes) -> bytes:
    """What a resume proof is made over: both nonces and the SHA-256 of the server's public key. 96 bytes."""
    return client_nonce + server_nonce + hashlib.sha256(server_spki).digest()


def channel(alpn: str, client_nonce: bytes, server_nonce: bytes, server_spki: bytes, signer: str) -> bytes:
    """What an authentication method signs to bind itself to this connection. `signer` is "client" or "server"."""
    return b"".join(
        (CHANNEL_LABEL, alpn.encode(), b"\0", binding(client_nonce, server_nonce, server_spki), signer.encode())
    )


def make_proof(secret: bytes, bound: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes."""
    return hmac.digest(secret, bound, "sha256")


def reject_unknown(claim: ResumeClaim, decoy: bytes) -> None:
    """Spend on an unknown session what a known one costs, so that time does not tell which sessions exist."""
    for _ in range(2):
        hmac.compare_digest(make_proof(decoy, claim.binding), claim.proof)


class ResumeSecrets:
    """One session's secrets, server side: the newest, and the one that was used last.

    Each use makes a new secret and tells it in WELCOME. WELCOME may be lost, so the used one stays valid until the
    new one has been used: a client that never heard of the new one resumes with the old."""

    def __init__(self, session: str, random: Callable[[int], bytes]) -> None:
        self._session = session
        self._random = random
        self._current = ResumeTicket(session, random(SECRET_LENGTH), 0)
        self._previous: ResumeTicket | None = None

    @property
    def ticket(self) -> ResumeTicket:
        """The newest, to be sent to the client."""
        return self._current

    def verify(self, claim: ResumeClaim) -> int | None:
        """→ the generation whose secret made this proof, None when none did. Takes the same time either way."""
        found: int | None = None
        for ticket in (self._current, self._previous or self._current):
            proven = hmac.compare_digest(make_proof(ticket.secret, claim.binding), claim.proof)
            if proven and claim.session == self._session and claim.generation == ticket.generation:
                found = ticket.generation
        return found

    def rotate(self, used: int) -> ResumeTicket:
        """`used`: the generation that `verify` returned → the new ticket. Raises ValueError when it is no longer
        valid, as after another resume that was faster."""
        kept = next((t for t in (self._current, self._previous) if t is not None and t.generation == used), None)
        if kept is None:
            raise ValueError(f"generation {used} of session {self._session} is no longer valid")
        new = ResumeTicket(self._session, self._random(SECRET_LENGTH), self._current.generation + 1)
        self._previous, self._current = kept, new
        return new
