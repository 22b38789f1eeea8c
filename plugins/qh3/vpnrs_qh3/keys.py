"""When a connection's keys are updated."""

from __future__ import annotations

import logging
from typing import Any

from qh3.quic.connection import QuicConnectionError

log = logging.getLogger("vpnrs.quic")

# Packets under one key: half of what AES-GCM allows at most (RFC 9001 section 6.6), which takes a minute at a gigabit;
# qh3 itself would go on for ever. An update that is refused is asked for again so many packets later.
_PACKETS_A_KEY = 1 << 22
_ASK_AGAIN = 1 << 10


class KeyLife:
    """`update` is due at `update_at` packets."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.update_at = _PACKETS_A_KEY

    def update(self, packets: int) -> None:
        """From the next packet on. Refused while the peer has not answered the last one."""
        try:
            self._connection.request_key_update()
        except (QuicConnectionError, ValueError, AssertionError) as error:
            log.debug("updating the key: %s", error)
            self.update_at = packets + _ASK_AGAIN
        else:
            self.update_at = packets + _PACKETS_A_KEY
