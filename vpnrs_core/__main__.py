"""`python -m vpnrs_core` is the command `vpnrs`."""

from vpnrs_core.cli import main

if __name__ == "__main__":
    main()
