"""Logs are events rendered: one line of text for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, TextIO

from vpnrs_core import events
from vpnrs_core.events import Event

LOGGER = "vpnrs"

_WARNINGS: tuple[type[Event], ...] = (
    events.AttemptRefused,
    events.ConnectFailed,
    events.Disconnected,
    events.PluginSlow,
    events.ServiceRestarted,
    events.Missed,
)
_ERRORS: tuple[type[Event], ...] = (events.PluginFailed,)
_DETAILS: tuple[type[Event], ...] = (events.ConnectionOpened, events.ConnectionClosed, events.HostChanged)


def snake_case(name: str) -> str:
    """SessionOpened → session_opened: the event's stable name in logs."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def event_fields(event: Event) -> dict[str, Any]:
    """An event's fields as JSON-ready values, `at` left out."""
    return {f.name: _plain(getattr(event, f.name)) for f in fields(event) if f.name != "at"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def level_of(event: Event) -> int:
    """The log level that an event's type has."""
    return level_of_type(type(event))


def level_of_type(event: type[Event]) -> int:
    """A plugin's own type may say it as LEVEL."""
    if isinstance(level := getattr(event, "LEVEL", None), int):
        return level
    if issubclass(event, _ERRORS):
        return logging.ERROR
    if issubclass(event, _WARNINGS):
        return logging.WARNING
    return logging.DEBUG if issubclass(event, _DETAILS) else logging.INFO


def log_event(event: Event) -> None:
    """An EventBus listener."""
    logger = logging.getLogger(LOGGER)
    level = level_of(event)
    if logger.isEnabledFor(level):
        logger.log(level, snake_case(type(event).__name__), extra={"event": event})


class Flood(logging.Filter):
    """Strangers cause some events as often as they like, and must not fill a disk: of each type that says so (LIMITED)
    50 lines come at once and then 5 a second. What was left out is said with the next line, as `unsaid`; it is counted
    and told to subscribers all the same."""

    BURST, PER_SECOND = 50.0, 5.0

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}
        self._unsaid: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        if not getattr(type(event), "LIMITED", False):
            return True
        kind, now = record.getMessage(), self._now()
        left, at = self._left.get(kind, (self.BURST, now))
        left = min(self.BURST, left + (now - at) * self.PER_SECOND)
        self._left[kind] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return False
        record.unsaid = self._unsaid.pop(kind, 0)
        return True


class HumanFormatter(logging.Formatter):
    """2026-05-01 12:00:00 info session_opened session=… principal=alice"""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = f"{stamp} {record.levelname.lower()} {one_line(record.getMessage())}"
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            text += "".join(f" {k}={_quote(v)}" for k, v in event_fields(event).items() if v not in ("", None))
        if unsaid := getattr(record, "unsaid", 0):
            text += f" unsaid={unsaid}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"at": round(record.created, 6), "level": record.levelname.lower()}
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            line |= {"event": record.getMessage(), **event_fields(event)}
            if unsaid := getattr(record, "unsaid", 0):
                line["unsaid"] = unsaid
        else:
            line |= {"event": "message", "text": record.getMessage(), "logger": record.name}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _quote(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return json.dumps(text) if " " in text or '"' in text or not text.isprintable() else text


def one_line(text: str) -> str:
    """What peers and files say may hold line ends and terminal sequences: nobody begins a line of his own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


Style = Literal["human", "json"]
Level = Literal["debug", "info", "warning", "error"]


def change_logging(level: Level | None = None, style: Style | None = None) -> tuple[Level, Style]:
    """Set what is given, from the next line on → what is in force."""
    logger = logging.getLogger(LOGGER)
    if level is not None:
        logger.setLevel(level.upper())
    for handler in logger.handlers if style is not None else ():
        handler.setFormatter(_formatter(style))
    is_json = any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers)
    names: dict[int, Level] = {10: "debug", 20: "info", 30: "warning", 40: "error"}
    return names[logger.getEffectiveLevel()], "json" if is_json else "human"


def _formatter(style: Style | None) -> logging.Formatter:
    return JsonFormatter() if style == "json" else HumanFormatter()


def set_up_logging(level: str, style: Style, stream: TextIO | None = None) -> logging.Logger:
    """Log to stderr. `level` is a logging level's name in any case."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(style))
    handler.addFilter(Flood())
    logger.handlers = [handler]
    # What the loop itself has to say (a task that failed unseen) is a line like the others.
    logging.getLogger("asyncio").handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger
