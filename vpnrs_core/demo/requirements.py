"""What this process and host must have for the demo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vpnrs_core.errors import HostError
from vpnrs_core.host.preflight import effective_capabilities
from vpnrs_core.host.tun import DEVICE, no_device

_NEEDED: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}


def require(status: str | None = None, device: str = DEVICE) -> None:
    """Raises HostError with one line that says what is missing. `status`: text of /proc/self/status."""
    held = effective_capabilities(Path("/proc/self/status").read_text() if status is None else status)
    missing = [name for name, bit in _NEEDED.items() if not held >> bit & 1]
    if missing:
        who = "run it as root" if os.geteuid() else "this container's root lacks it; allow it, or use another host"
        raise HostError(f"the demo makes network namespaces, which takes {', '.join(missing)}: {who}")
    if not os.path.exists(device):
        raise HostError(no_device())
