"""Application close codes of the QUIC transport; session protocols have their own."""

from __future__ import annotations

# The peer did not authenticate in time.
CLOSE_DEADLINE = 0x4101
# Something on this side failed; its log says what.
CLOSE_INTERNAL = 0x4102
# The server's key is not the pinned one.
CLOSE_IDENTITY = 0x4103
# The listener or the whole transport was closed.
CLOSE_GOING_AWAY = 0x4104
