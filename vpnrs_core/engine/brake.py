"""Decides when the TUN is not read, so that the kernel holds senders back where our queue would have to drop. Pure.

A local TCP stops as soon as its packets stay in the device (TCP small queues); once they are read, it goes on until one
is lost. With a single session there is nobody else whose packets would wait meanwhile."""

from __future__ import annotations

from vpnrs_core.interfaces.common import Seconds

# Of the queue's limit, which is 100 ms of what it drains: no more is read above the one, and reading goes on below the
# other. Little, for what stays in the device waits in line, sparse flows too.
STOP, GO = 0.25, 0.125
# Seconds without reading, at most. What is still full then is no short pause of the link but more than it can carry;
# from there on the queue drops, which knows flows and delays, as a device's queue does not.
LONGEST = 0.1


class Brake:
    """`until` is when a pause ends at the latest, None: the TUN is read."""

    def __init__(self) -> None:
        self.until: Seconds | None = None
        self._spent = False

    def pulls(self, size: int, limit: int, now: Seconds) -> bool:
        """After a read left `size` bytes in the queue: whether to pause. After a pause that ended by its time there is
        none until the queue has been nearly empty."""
        if self._spent:
            self._spent = size > limit * GO
        if self._spent or self.until is not None or size <= limit * STOP:
            return False
        self.until = now + LONGEST
        return True

    def releases(self, size: int, limit: int, now: Seconds) -> bool:
        """During a pause: whether it ends now."""
        if self.until is None:
            return False
        if size <= limit * GO:
            self.until = None
            return True
        if now >= self.until:
            self.until, self._spent = None, True
            return True
        return False
