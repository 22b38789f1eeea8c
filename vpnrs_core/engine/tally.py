"""How often each event happened: an EventBus listener, and the counters that are nothing but counted events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vpnrs_core import events
from vpnrs_core.engine.logs import snake_case
from vpnrs_core.events import Event
from vpnrs_core.interfaces import Code, Sample

# A client that reached nobody has no code of a refusal.
UNREACHABLE = "unreachable"
CODES = (*(code.value for code in Code), UNREACHABLE)

# Counters of their own, by the event that they count.
_PLAIN = {
    "session_opened": ("vpnrs_sessions_opened", "sessions granted"),
    "session_resumed": ("vpnrs_sessions_resumed", "sessions that came back on a new link"),
    "session_closed": ("vpnrs_sessions_closed", "sessions that ended"),
    "disconnected": ("vpnrs_disconnects", "client: connections lost after they had been up"),
}


def core_events() -> list[type[Event]]:
    """The types of vpnrs_core.events."""
    return [
        each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event) and each != Event
    ]


class Tally:
    """`declared` are the events that plugins declared; what nobody did is counted as "other": labels are closed."""

    def __init__(self, declared: Iterable[type[Event]] = ()) -> None:
        self.events: Counter[str] = Counter({name_of(each): 0 for each in (*core_events(), *declared)})
        self.refused: Counter[str] = Counter({code.value: 0 for code in Code})
        self.failed: Counter[str] = Counter(dict.fromkeys(CODES, 0))
        self.reconnects = 0
        self._connected = False

    def declare(self, declared: Iterable[type[Event]]) -> None:
        """Plugins have loaded."""
        for each in declared:
            self.events.setdefault(name_of(each), 0)

    def heard(self, event: Event) -> None:
        """An EventBus listener."""
        name = name_of(type(event))
        self.events[name if name in self.events else "other"] += 1
        if isinstance(event, events.AttemptRefused):
            self.refused[event.code] += 1
        elif isinstance(event, events.ConnectFailed):
            self.failed[event.code if event.code in self.failed else UNREACHABLE] += 1
        elif isinstance(event, events.Connected):
            self.reconnects += self._connected
            self._connected = True
        elif isinstance(event, events.SessionResumed):
            self.reconnects += 1

    def samples(self) -> Iterable[Sample]:
        for name, count in self.events.items():
            yield Sample("vpnrs_events", "counter", "", "events, as the log names them", {"event": name}, count)
        for name, (metric, help) in _PLAIN.items():
            yield Sample(metric, "counter", "", help, {}, self.events[name])
        for code, count in self.refused.items():
            yield Sample("vpnrs_attempts_refused", "counter", "", "server: refusals by code", {"code": code}, count)
        for code, count in self.failed.items():
            help = "client: failed attempts by the code of the refusal"
            yield Sample("vpnrs_connect_failures", "counter", "", help, {"code": code}, count)
        help = "server: resumed sessions; client: connects after the first"
        yield Sample("vpnrs_reconnects", "counter", "", help, {}, self.reconnects)


def name_of(event: type[Event]) -> str:
    """The event's stable name, as logs and labels have it."""
    return snake_case(event.__name__)
