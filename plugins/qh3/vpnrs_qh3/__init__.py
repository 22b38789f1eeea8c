"""qh3 as a QUIC engine of vpnrs."""
