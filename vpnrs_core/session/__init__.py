"""Sessions as rules: handshake tables, resume, leases, grants and the table of sessions. Pure."""
