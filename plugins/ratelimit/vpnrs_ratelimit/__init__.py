"""Limits on failed authentication: an admission check for vpnrs."""
