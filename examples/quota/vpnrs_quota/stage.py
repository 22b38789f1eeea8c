"""Counts what sessions move, and ends those whose principal has used up its bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from vpnrs_core.interfaces import Code, Direction, Out, Packet, Refuse, Session
from vpnrs_quota.account import Account, Accounts


class Meter:
    """One session's stage; sessions of one principal share its account."""

    def __init__(self, session: Session, account: Account) -> None:
        self._session, self._account = session, account
        self._ended = False

    def process(self, direction: Direction, batch: Sequence[Packet], out: Out, now: float) -> None:
        for packet in batch:
            if self._account.spend(packet.ip_bytes, now):
                out.forward(packet)
            else:
                out.drop(packet, "quota.used_up")
                self._end(now)

    def _end(self, now: float) -> None:
        if not self._ended:
            self._ended = True
            self._session.end(used_up(self._account, now))


class MeterFactory:
    """Behind all stages that change packets: what is counted is what goes over the tunnel."""

    NAME: ClassVar[str] = "quota"
    ORDER: ClassVar[int] = 900

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def bind(self, session: Session, wake_at: Callable[[float], None]) -> Meter:
        return Meter(session, self._accounts.of(session.principal.name))


def used_up(account: Account, now: float) -> Refuse:
    """BLOCKED is tried again later by the client, POLICY is final."""
    again = account.again_in(now)
    detail = f"{account.name} has used up {account.limits.bytes} bytes"
    return Refuse(Code.POLICY, detail=detail) if again is None else Refuse(Code.BLOCKED, again, detail)
