"""The server's table of sessions: links come and go, sessions park, resume, expire and end; actions come out.

Every method changes the table first and returns what has to be done about it. So an action that fails to be carried
out is never asked for a second time, and the leases of a session appear in exactly one ReleaseLeases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from vpnrs_core.interfaces.common import Code, Refuse, Seconds
from vpnrs_core.interfaces.protocol import ResumeClaim
from vpnrs_core.interfaces.transport import Link
from vpnrs_core.session.leases import ReleaseLeases
from vpnrs_core.session.resume import SECRET_LENGTH, reject_unknown
from vpnrs_core.session.session import SessionRecord, SessionState

RESUME_WINDOW = 120.0


@dataclass(frozen=True)
class CloseLink:
    """Tell the peer on this link why, and close it."""

    session: SessionRecord
    link: Link
    refuse: Refuse


@dataclass(frozen=True)
class Parked:
    """The last link is gone; without a resume the session ends at `until` (monotonic seconds)."""

    session: SessionRecord
    until: Seconds
    reason: str


@dataclass(frozen=True)
class Resumed:
    """A parked session has a link again."""

    session: SessionRecord


@dataclass(frozen=True)
class Ended:
    """Gone from the table. `refuse` None: the client said goodbye."""

    session: SessionRecord
    refuse: Refuse | None
    reason: str


Action = CloseLink | Parked | Resumed | Ended | ReleaseLeases


class SessionTable:
    """`resume_window`: seconds that a session without links keeps its leases. `random` makes the decoy that unknown
    sessions are checked against."""

    def __init__(self, random: Callable[[int], bytes], resume_window: Seconds = RESUME_WINDOW) -> None:
        self.resume_window = resume_window
        self._decoy = random(SECRET_LENGTH)
        self._sessions: dict[str, SessionRecord] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(tuple(self._sessions.values()))

    def get(self, session: str) -> SessionRecord | None:
        return self._sessions.get(session)

    def open(self, record: SessionRecord, link: Link) -> list[Action]:
        """A new session with its first link. Raises ValueError for an id in use and for a record that has ended."""
        if record.id in self._sessions or record.state is SessionState.ENDED:
            raise ValueError(f"session {record.id} exists already, or has ended")
        self._sessions[record.id] = record
        record.attached.append(link)
        return []

    def claim(self, claim: ResumeClaim) -> tuple[SessionRecord, int] | None:
        """→ the session that the proof is good for and the generation used, to be given to `secrets.rotate`."""
        record = self._sessions.get(claim.session)
        if record is None or record.secrets is None:
            reject_unknown(claim, self._decoy)
            return None
        generation = record.secrets.verify(claim)
        return None if generation is None else (record, generation)

    def link_up(self, session: str, link: Link, mode: Literal["replace", "add"]) -> list[Action]:
        """A resume was granted. `replace` closes the older links as superseded. Raises LookupError when the session
        has ended since its claim was checked."""
        record = self._sessions.get(session)
        if record is None:
            raise LookupError(f"session {session} has ended")
        actions: list[Action] = []
        if record.state is SessionState.PARKED:
            record.state, record.parked_at = SessionState.OPEN, None
            actions.append(Resumed(record))
        older = tuple(record.attached) if mode == "replace" else ()
        for old in older:
            record.attached.remove(old)
        record.attached.append(link)
        superseded = Refuse(Code.SUPERSEDED, detail="resumed on another connection")
        return actions + [CloseLink(record, old, superseded) for old in older]

    def link_down(self, session: str, link: Link, now: Seconds, *, graceful: bool, reason: str = "") -> list[Action]:
        """A link is gone. Links that the table has let go of already are ignored. After the last one the session
        parks, or ends if the client said goodbye or cannot resume."""
        record = self._sessions.get(session)
        if record is None or link not in record.attached:
            return []
        record.attached.remove(link)
        if record.attached:
            return []
        if graceful or record.secrets is None or self.resume_window <= 0:
            return self._end(record, None, reason or "the client said goodbye")
        record.state, record.parked_at = SessionState.PARKED, now
        return [Parked(record, now + self.resume_window, reason)]

    def end(self, session: str, refuse: Refuse, reason: str = "") -> list[Action]:
        """End one session, parked or not. Unknown ids are ignored."""
        record = self._sessions.get(session)
        return [] if record is None else self._end(record, refuse, reason or refuse.detail or refuse.code.value)

    def revoke(self, concerns: Callable[[SessionRecord], bool], refuse: Refuse) -> list[Action]:
        """End every session that `concerns` picks, parked ones too. What it raises leaves the table as it was."""
        picked = [record for record in self._sessions.values() if concerns(record)]
        return [action for record in picked for action in self.end(record.id, refuse)]

    def revoke_principal(self, name: str, refuse: Refuse) -> list[Action]:
        return self.revoke(lambda record: record.principal.name == name, refuse)

    def of_principal(self, name: str) -> int:
        """How many sessions a principal has, parked ones included."""
        return sum(record.principal.name == name for record in self._sessions.values())

    def take_longest_parked(self, principal: str | None = None) -> list[Action]:
        """A pool, or a principal's share, is exhausted: end the session that has been parked longest (of this
        principal). Empty when none is parked."""
        parked = [
            r for r in self._sessions.values() if r.parked_at is not None and principal in (None, r.principal.name)
        ]
        if not parked:
            return []
        longest = min(parked, key=lambda record: record.parked_at or 0.0)
        return self._end(longest, Refuse(Code.POOL_EXHAUSTED), "its address was needed")

    def tick(self, now: Seconds) -> list[Action]:
        """End what has expired, and what was parked for the whole window."""
        actions: list[Action] = []
        for record in tuple(self._sessions.values()):
            if record.expires_at is not None and record.expires_at <= now:
                actions += self._end(record, Refuse(Code.POLICY, detail="the grant has expired"), "expired")
            elif record.parked_at is not None and record.parked_at + self.resume_window <= now:
                actions += self._end(record, None, "not resumed in time")
        return actions

    def next_deadline(self) -> Seconds | None:
        """When `tick` is due next, monotonic seconds."""
        return min((due for record in self._sessions.values() for due in self._due(record)), default=None)

    def _due(self, record: SessionRecord) -> Iterator[Seconds]:
        if record.expires_at is not None:
            yield record.expires_at
        if record.parked_at is not None:
            yield record.parked_at + self.resume_window

    def _end(self, record: SessionRecord, refuse: Refuse | None, reason: str) -> list[Action]:
        """Leases come last: stages hear of the end before the addresses can be leased again."""
        del self._sessions[record.id]
        links, record.attached = record.attached, []
        record.state, record.parked_at = SessionState.ENDED, None
        why = refuse or Refuse(Code.INTERNAL, detail=reason)
        return [
            *(CloseLink(record, link, why) for link in links),
            Ended(record, refuse, reason),
            *record.holder.release(),
        ]


def carry_out(actions: list[Action], do: Callable[[Action], None], failed: Callable[[Action, Exception], None]) -> None:
    """Do every action, also when one before it fails."""
    for action in actions:
        try:
            do(action)
        except Exception as exc:
            failed(action, exc)
