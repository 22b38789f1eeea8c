"""NAT64 for vpnrs: IPv6-only clients reach IPv4 hosts (RFC 6146, 7915)."""
