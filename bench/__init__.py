"""Measures the tunnel next to wireguard-go: `python -m bench`, or `make bench`."""
