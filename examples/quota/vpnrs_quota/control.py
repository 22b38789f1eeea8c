"""Answers `quota.show` and `quota.reset` of a running server."""

from __future__ import annotations

import pydantic
from pydantic import Field

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Context, ControlRequest
from vpnrs_quota.account import Account, Accounts
from vpnrs_quota.grant import key


class ShowRequest(pydantic.BaseModel):
    name: str | None = Field(None, description="Only this principal.")


class Row(pydantic.BaseModel):
    name: str
    used: int
    left: int | None
    again_in: float | None


class ShowAnswer(pydantic.BaseModel):
    accounts: list[Row]


class ResetRequest(pydantic.BaseModel):
    name: str = Field(description="The principal whose bytes begin again.")


class Control:
    def __init__(self, ctx: Context, accounts: Accounts) -> None:
        self._ctx, self._accounts = ctx, accounts

    def requests(self) -> list[ControlRequest]:
        return [
            ControlRequest("show", ShowRequest, self.show, reads_only=True),
            ControlRequest("reset", ResetRequest, self.reset, reads_only=False),
        ]

    async def show(self, request: ShowRequest) -> ShowAnswer:
        return ShowAnswer(accounts=[self._row(a) for a in self._accounts if request.name in (None, a.name)])

    async def reset(self, request: ResetRequest) -> ShowAnswer:
        known = [account for account in self._accounts if account.name == request.name]
        if not known:
            raise ConfigError(
                f"{request.name!r} has not been here since the server started; `vpnrs quota show` lists who"
            )
        await self._ctx.store.delete(key(known[0]))
        known[0].reset()
        return ShowAnswer(accounts=[self._row(known[0])])

    def _row(self, account: Account) -> Row:
        now = self._ctx.now()
        left = account.left(now)
        return Row(name=account.name, used=account.used, left=left, again_in=account.again_in(now))
