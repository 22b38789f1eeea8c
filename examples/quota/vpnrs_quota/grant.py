"""Lets a principal in, or not, and says how fast it may be and until when."""

from __future__ import annotations

from typing import ClassVar

from vpnrs_core.interfaces import Attempt, Code, Context, Contribution, Principal, Rate, Refuse, StoreUnavailable
from vpnrs_quota.account import Account, Accounts
from vpnrs_quota.stage import used_up

# A tenth of a second may go at once, and never less than one super-packet.
BURST_SECONDS, LEAST_BURST = 0.1, 65_536
FOREVER = 10 * 365 * 86_400.0


class QuotaGrant:
    NAME: ClassVar[str] = "quota"

    def __init__(self, ctx: Context, accounts: Accounts) -> None:
        self._ctx, self._accounts = ctx, accounts

    async def contribute(self, attempt: Attempt, principal: Principal) -> Contribution | Refuse:
        account = self._accounts.of(principal.name)
        limits, now = account.limits, self._ctx.now()
        expires = None if limits.expires is None else limits.expires.timestamp()
        if expires is not None and expires <= self._ctx.wall():
            return Refuse(Code.POLICY, detail=f"{principal.name} has expired at {limits.expires}")
        try:
            account.learn(await self._ctx.store.increment(key(account), 0, limits.period or FOREVER))
        except StoreUnavailable as error:
            return Refuse(Code.INTERNAL, detail=f"what {principal.name} has used is not known: {error}")
        if account.left(now) == 0:
            return used_up(account, now)
        # A resume brings a session back that is counted already.
        open_now = sum(session.principal.name == principal.name for session in self._ctx.sessions())
        if not attempt.resumed and open_now >= limits.sessions:
            return Refuse(Code.SERVER_FULL, 10, f"{principal.name} has {open_now} sessions, as many as it may")
        return Contribution(down=self._share(limits.down, account), up=self._share(limits.up, account), expires=expires)

    def _share(self, bits_per_second: int | None, account: Account) -> Rate | None:
        """Each of its sessions gets an equal part, so that all together keep to the limit."""
        if bits_per_second is None:
            return None
        speed = max(1, bits_per_second // account.limits.sessions)
        return Rate(speed, max(LEAST_BURST, int(speed * BURST_SECONDS / 8)))


def key(account: Account) -> str:
    return f"used/{account.name}"
