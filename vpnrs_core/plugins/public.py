"""The modules of the core that plugins may import: what they hold changes only as docs/hook-changelog.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

PUBLIC: Mapping[str, str] = {
    "vpnrs_core": "`__version__`",
    "vpnrs_core.hookspecs": "`impl`, `HOOK_API`, the hooks",
    "vpnrs_core.interfaces": "what a plugin implements and is given, and its files one by one",
    "vpnrs_core.events": "what can be observed",
    "vpnrs_core.errors": "errors by who must act",
    "vpnrs_core.config.secret": "`Secret`, a reference to a file or environment variable",
    "vpnrs_core.packet.prefix": "`PrefixTable`, longest prefix match",
    "vpnrs_core.packet.checksum": "ones' complement sums",
    "vpnrs_core.packet.icmp": "ICMP errors",
    "vpnrs_core.builtin.lanes": "`DatagramLane`, `StreamLane`, for session protocols",
    "vpnrs_core.engine.local_client": "`LocalClient`, `choose_instance`, for commands",
    "vpnrs_core.quic.aioquic_engine": "`AioquicEngine`, to build an engine on",
    "vpnrs_core.quic.identity": "`spki_of`, `pin_of`, `make_certificate`",
    "vpnrs_core.testkit": "the test kit, every module of it, for tests",
}


def is_public(module: str) -> bool:
    return module in PUBLIC or module.startswith(("vpnrs_core.testkit.", "vpnrs_core.interfaces."))


def private_imports(package: Path) -> Iterator[tuple[Path, int, str]]:
    """(file, line, module) of each import in `package`, a folder or a file, of what is not public."""
    for path in sorted(package.rglob("*.py")) if package.is_dir() else [package]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
                if node.module == "vpnrs_core":  # from vpnrs_core import wire
                    names = [f"vpnrs_core.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
            for name in names:
                if name.split(".")[0] == "vpnrs_core" and not is_public(name):
                    yield path, getattr(node, "lineno", 0), name
