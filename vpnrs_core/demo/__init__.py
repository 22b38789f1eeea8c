"""What `vpnrs demo` does: a tunnel between network namespaces, with real traffic, and nothing left afterwards."""
