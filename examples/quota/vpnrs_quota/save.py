"""Saves what was used, so that a restart and other servers know of it."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from vpnrs_core.interfaces import Context, StoreUnavailable
from vpnrs_quota.account import Accounts
from vpnrs_quota.grant import FOREVER, key


class Saver:
    NAME: ClassVar[str] = "quota"

    def __init__(self, ctx: Context, accounts: Accounts, interval: float) -> None:
        self._ctx, self._accounts, self._interval = ctx, accounts, interval

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.save()
        finally:
            await self.save()

    async def save(self) -> None:
        for account in self._accounts:
            size, account.unsaved = account.unsaved, 0
            if not size:
                continue
            try:
                account.learn(await self._ctx.store.increment(key(account), size, account.limits.period or FOREVER))
            except StoreUnavailable as error:
                account.unsaved += size  # it is saved with the next one
                self._ctx.log.warning("what %s has used cannot be saved: %s", account.name, error)
