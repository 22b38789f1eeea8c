"""Numbers as people read them: sizes, rates, durations, and a line of bars."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def size(count: float) -> str:
    """1536 → 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def rate(bytes_per_second: float) -> str:
    """125000 → 1.0 Mbit/s."""
    bits = bytes_per_second * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if bits < 1000:
            return f"{bits:.0f} {unit}" if unit == "bit/s" else f"{bits:.1f} {unit}"
        bits /= 1000
    return f"{bits:.1f} Gbit/s"


def duration(seconds: float) -> str:
    """3700 → 1 h 1 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def sparkline(values: Sequence[float], most: int = 30) -> str:
    """One bar a value, the last `most` of them, the largest one full. Empty where nothing ever was."""
    shown = values[-most:]
    top = max(shown, default=0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value * len(_BARS) / top))] for value in shown)
