"""A client's first packets, sent a second time as they were before qh3 may answer their loss. Pure."""

from __future__ import annotations

from typing import Any

from vpnrs_core.interfaces.common import Seconds


class FirstFlight:
    """qh3 takes its first probe timeout for a path that carries no more than 1,200 bytes, and never goes back: one
    lost packet would keep a whole connection at that size. So the first timeout repeats the flight, byte for byte, and
    only the second is qh3's. On a path that is narrower indeed the handshake takes one timeout longer."""

    def __init__(self) -> None:
        self._packets: list[Any] = []
        self._sent_at: Seconds = 0.0
        self._repeated_at: Seconds | None = None
        self._again = False
        self._over = False

    def sent(self, packets: list[Any], now: Seconds) -> None:
        """What qh3 built before anything was heard."""
        if not self._packets and not self._over:
            self._packets, self._sent_at = packets[:], now

    def heard(self) -> None:
        """The peer answers: from here on timeouts are qh3's."""
        self._over, self._again, self._packets = True, False, []

    def takes(self, now: Seconds) -> bool:
        """A timer of qh3's is due → True: it is not qh3's yet."""
        if self._over or not self._packets:
            return False
        if self._repeated_at is None:
            self._repeated_at, self._again = now, True
            return True
        if now < self._deadline(self._repeated_at):
            return True
        self.heard()
        return False

    def timer(self, at: Seconds | None) -> Seconds | None:
        """When to ask again, where qh3 says `at`."""
        if at is None or self._repeated_at is None or self._over:
            return at
        return max(at, self._deadline(self._repeated_at))

    def again(self) -> list[Any]:
        """The packets, once, when they are to be repeated."""
        again, self._again = self._again, False
        return self._packets if again else []

    def _deadline(self, repeated_at: Seconds) -> Seconds:
        return repeated_at + (repeated_at - self._sent_at)
