"""The service that keeps sessions and the tokens file in step: who is revoked or expired is out within a second."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from vpnrs_auth_token.events import TokensChanged, TokensUnusable
from vpnrs_auth_token.live import CLAIM, LiveTokens
from vpnrs_auth_token.tokenfile import format_expiry
from vpnrs_core.interfaces import Code, Context, Refuse, Session


class TokenWatch:
    """Looks at the file's status each `interval` seconds, and at every session, parked ones too."""

    NAME: ClassVar[str] = "auth_token.watch"

    def __init__(self, tokens: LiveTokens, ctx: Context, interval: float) -> None:
        self._tokens, self._ctx, self._interval = tokens, ctx, interval

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self._interval)

    def look(self) -> None:
        """One pass. Sessions are compared each time: one may have been opening while its token went."""
        found = self._tokens.refresh(self._ctx.wall())
        gone: frozenset[str] = frozenset()
        if found is not None:
            gone = found.gone
            if found.error:
                self._ctx.emit(TokensUnusable(error=found.error, accepted=found.count))
            else:
                self._ctx.emit(TokensChanged(count=found.count, gone=tuple(sorted(gone))))
        for session in self._ctx.sessions():
            token_id = session.principal.claims.get(CLAIM)
            if isinstance(token_id, str):
                self._judge(session, token_id, gone)

    # An expiry moved later in the file reaches a session when it authenticates again: until then it keeps its grant's.
    def _judge(self, session: Session, token_id: str, gone: frozenset[str]) -> None:
        entry = self._tokens.entry(token_id)
        if entry is None or token_id in gone:
            session.end(Refuse(Code.AUTH_FAILED, detail=f"token {token_id} was revoked"))
        elif entry.expired(self._ctx.wall()):
            when = format_expiry(entry.expires)
            session.end(Refuse(Code.AUTH_FAILED, detail=f"token {token_id} of {entry.name} expired at {when}"))
