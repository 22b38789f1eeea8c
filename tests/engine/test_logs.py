"""Logs: events as lines for people and for programs, and never a secret in either."""

import io
import json
import logging

import pytest
from vpnrs_auth_token.token import new_token

from vpnrs_core import events
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter
from vpnrs_core.engine.logs import (
    LOGGER,
    Flood,
    HumanFormatter,
    JsonFormatter,
    change_logging,
    level_of,
    log_event,
    set_up_logging,
)
from vpnrs_core.interfaces import Bearer, Body, PeerKey
from vpnrs_core.interfaces.transport import PeerIdentity
from vpnrs_core.testkit.clock import Clock


@pytest.fixture
def logged():
    """Emit events with a format → the lines."""
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate

    def log(style, *what, level="info"):
        stream = io.StringIO()
        set_up_logging(level, style, stream)
        bus = EventBus()
        bus.listen(log_event)
        for event in what:
            bus.emit(event)
        return stream.getvalue().splitlines()

    yield log
    logger.handlers, logger.level, logger.propagate = before
    logging.getLogger("asyncio").handlers = []


REFUSED = events.AttemptRefused(
    source="192.0.2.9", method="token", fingerprint="0a0b", code="auth_failed", detail="a b"
)


def test_people_read_one_line_with_what_matters(logged):
    (line,) = logged("human", REFUSED)
    assert line.endswith(
        'warning attempt_refused source=192.0.2.9 method=token fingerprint=0a0b code=auth_failed detail="a b"'
    )


def test_programs_read_one_object_a_line(logged):
    (line,) = logged("json", REFUSED)
    read = json.loads(line)
    assert read.pop("at") > 1e9
    assert read == {
        "level": "warning", "event": "attempt_refused", "source": "192.0.2.9", "method": "token",
        "fingerprint": "0a0b", "code": "auth_failed", "detail": "a b",
    }  # fmt: skip


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_peer_cannot_begin_a_line_of_its_own(logged, style):
    forged = "x\n\x1b[31m"
    assert len(logged(style, events.AttemptRefused(source=forged, method="", fingerprint="", code="", detail=""))) == 1
    forged = 'x\n2026-01-01 00:00:00 info session_opened principal="root"\r\x1b[31m'
    lines = logged(style, events.AttemptRefused(source="s", method=forged, fingerprint="", code="c", detail=forged))
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_plugins_own_message_is_one_line_too(logged, style):
    stream = io.StringIO()
    set_up_logging("info", style, stream)
    logging.getLogger(f"{LOGGER}.country").warning("first\nsecond")
    assert len(stream.getvalue().splitlines()) == 1


def test_details_are_for_debug_and_failures_are_errors(logged):
    opened = events.ConnectionOpened(source="s", transport="quic", alpn="vpnrs/1")
    assert logged("human", opened) == []
    assert len(logged("human", opened, level="debug")) == 1
    assert level_of(events.PluginFailed(plugin="p", hook="h", error="e")) == logging.ERROR
    assert logged("human", REFUSED, level="error") == []


@pytest.mark.parametrize("style", ["human", "json"])
def test_credentials_are_unreadable_wherever_they_are_printed(logged, style):
    token = new_token(lambda n: bytes(range(n)))
    secret = token.text.rpartition("_")[2] or token.text
    credentials = (Bearer(token.text), Body({"password": token.text}), PeerKey(PeerIdentity(b"key")))
    reporter_events = []
    bus = EventBus()
    bus.listen(reporter_events.append)
    FailureReporter(bus).report("p", "begin", f"cannot judge {credentials}", 0.0)
    text = "\n".join(logged(style, *reporter_events))
    assert "Bearer(…)" in text or "Bearer(\\u2026)" in text
    assert token.text not in text
    assert secret not in text
    assert token.text not in repr(token)
    assert token.text not in str(token)


def test_failures_that_repeat_are_counted_and_told_sparsely():
    told = []
    bus = EventBus()
    bus.listen(told.append)
    reporter = FailureReporter(bus)
    for n in range(1000):
        reporter.report("p", "process", "broken", 100 + n / 1000)
    assert reporter.counts == {"p": 1000}
    assert 5 <= len(told) <= 6
    reporter.report("p", "another hook", "broken", 101.0)
    assert told[-1].hook == "another hook"
    reporter.report("p", "process", "broken", 110.0)
    assert told[-1].hook == "process"


def test_what_the_loop_says_is_a_line_like_the_others(logged):
    stream = io.StringIO()
    logged("json")
    set_up_logging("info", "json", stream)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    assert json.loads(stream.getvalue())["logger"] == "asyncio"


def test_level_and_format_change_while_it_runs(logged):
    stream = io.StringIO()
    logged("human")
    set_up_logging("info", "human", stream)
    bus = EventBus()
    bus.listen(log_event)
    opened = events.ConnectionOpened(source="192.0.2.1:1", transport="quic", alpn="vpnrs/1")
    bus.emit(opened)
    assert stream.getvalue() == ""
    assert change_logging() == ("info", "human")
    assert change_logging("debug", "json") == ("debug", "json")
    bus.emit(opened)
    assert json.loads(stream.getvalue())["event"] == "connection_opened"
    assert change_logging("error") == ("error", "json")
    bus.emit(REFUSED)
    assert len(stream.getvalue().splitlines()) == 1


def test_what_strangers_cause_fills_no_disk_and_nothing_is_lost_from_sight(logged):
    lines = logged("human", *[REFUSED] * 500, events.InstanceStopping(reason="x"))
    assert len(lines) < 60
    assert "instance_stopping" in lines[-1]
    clock = Clock()
    flood = Flood(clock)

    def shown():
        record = logging.LogRecord("vpnrs", logging.WARNING, "", 0, "attempt_refused", None, None)
        record.event = REFUSED
        return record.unsaid if flood.filter(record) else None

    assert [shown() for _ in range(60)] == [0] * 50 + [None] * 10
    clock.advance(0.2)
    assert [shown(), shown()] == [10, None]
    record = logging.LogRecord("vpnrs", logging.WARNING, "", 0, "attempt_refused", None, None)
    record.event, record.unsaid = REFUSED, 7
    assert HumanFormatter().format(record).endswith("unsaid=7")
    assert json.loads(JsonFormatter().format(record))["unsaid"] == 7
