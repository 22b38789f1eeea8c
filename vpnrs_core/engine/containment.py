"""How a plugin's failure is turned into an event that names it: plugin, hook, error and line."""

from __future__ import annotations

import traceback

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.events import PluginFailed

REPEATS_PER_SECOND = 1.0
BURST = 5.0


def describe(exc: BaseException, *, with_text: bool = True) -> str:
    """Type, text, and the file and line that raised."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}{f': {exc}' if with_text else ''}{where}"


class FailureReporter:
    """Emits PluginFailed, limited a plugin and hook: a stage that raises for each batch must not flood the log.

    `counts` holds every failure, reported or not, by plugin."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._tokens: dict[tuple[str, str], tuple[float, float]] = {}
        self.counts: dict[str, int] = {}

    def report(self, plugin: str, hook: str, exc: BaseException | str, now: float) -> None:
        """`now` is monotonic seconds."""
        self.counts[plugin] = self.counts.get(plugin, 0) + 1
        tokens, at = self._tokens.get((plugin, hook), (BURST, now))
        tokens = min(BURST, tokens + (now - at) * REPEATS_PER_SECOND)
        if tokens >= 1.0:
            self._bus.emit(PluginFailed(plugin=plugin, hook=hook, error=exc if isinstance(exc, str) else describe(exc)))
            tokens -= 1.0
        self._tokens[plugin, hook] = (tokens, now)
