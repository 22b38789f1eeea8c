"""What a network namespace holds, in a form that compares: created must equal destroyed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Runs a command in the place that is looked at → its standard output.
Run = Callable[..., str]

# What changes by itself: counters, ages and lifetimes.
_VOLATILE = frozenset({"valid_life_time", "preferred_life_time", "expires", "stats", "stats64", "cstamp", "tstamp"})

# Settings that a tunnel may touch, and the resolver's file; the globs are expanded by the shell in the namespace.
_SYSCTLS = (
    "/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/accept_redirects "
    "/proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/src_valid_mark "
    "/proc/sys/net/ipv6/conf/*/forwarding /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv6/conf/*/disable_ipv6 "
    "/etc/resolv.conf"
)


@dataclass(frozen=True)
class Snapshot:
    """Section (links, routes …) → one text for each object in it."""

    sections: Mapping[str, frozenset[str]]

    def differences(self, later: Snapshot) -> list[str]:
        """ "section: - what was there before", "section: + what is there now"; empty when nothing is left behind."""
        found = []
        for name in sorted({*self.sections, *later.sections}):
            before, after = self.sections.get(name, frozenset()), later.sections.get(name, frozenset())
            found += [f"{name}: - {text}" for text in sorted(before - after)]
            found += [f"{name}: + {text}" for text in sorted(after - before)]
        return found


def take(run: Run) -> Snapshot:
    """Raises what `run` raises; a machine without nftables has no tables."""
    sections = {
        "links": _objects(run("ip", "-j", "-d", "link")),
        "addresses": _objects(run("ip", "-j", "address")),
        "routes4": _objects(run("ip", "-j", "-4", "route", "show", "table", "all")),
        "routes6": _objects(run("ip", "-j", "-6", "route", "show", "table", "all")),
        "rules4": _objects(run("ip", "-j", "-4", "rule")),
        "rules6": _objects(run("ip", "-j", "-6", "rule")),
        "nft": frozenset(run("sh", "-c", "command -v nft >/dev/null && nft list ruleset || true").splitlines()),
        "files": frozenset(run("sh", "-c", f"grep -H . {_SYSCTLS} 2>/dev/null || true").splitlines()),
    }
    return Snapshot(sections)


def _objects(text: str) -> frozenset[str]:
    found: list[Any] = json.loads(text or "[]")
    return frozenset(json.dumps(_steady(each), sort_keys=True) for each in found if each)


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(each) for key, each in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [_steady(each) for each in value]
    return value
