"""vpnrs: an IP-over-QUIC VPN for Linux. A small core, everything else a plugin."""

__version__ = "0.1.0"
