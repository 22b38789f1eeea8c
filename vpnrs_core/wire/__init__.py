"""The wire format of `vpnrs/1` (docs/wire.md): bytes in, typed messages out, and back. Pure."""
