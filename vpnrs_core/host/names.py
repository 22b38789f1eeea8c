"""What a TUN device may be called: the kernel's rule for interface names, known before the kernel is asked."""

from __future__ import annotations

import re

from vpnrs_core.errors import HostError

# 15 bytes beside the terminating zero (IFNAMSIZ). The kernel takes bytes of any encoding, people read ASCII everywhere.
# A template keeps two bytes for the number that replaces %d.
_CHARACTER = "[!-$&-.0-9;-~]"
_TUN_NAME = re.compile(rf"(?!\.{{1,2}}$){_CHARACTER}{{1,15}}|{_CHARACTER}{{1,13}}%d")


def valid_tun_name(name: str) -> str:
    """`name` itself, which may be a template with %d at its end. Raises HostError."""
    if not _TUN_NAME.fullmatch(name):
        raise HostError(
            f"TUN name {name!r}: an interface name has 1 to 15 ASCII characters, no space, '/' or ':'; "
            "%d at its end stands for a free number"
        )
    return name
