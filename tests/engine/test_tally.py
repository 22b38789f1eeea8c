"""Counted events: closed labels, and counters that agree with what was emitted."""

from __future__ import annotations

from dataclasses import dataclass

from vpnrs_core import events
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.tally import Tally, core_events, name_of
from vpnrs_core.events import Event


@dataclass(frozen=True, kw_only=True)
class AuthBlockedGlobal(Event):
    failures: int


@dataclass(frozen=True, kw_only=True)
class NeverDeclared(Event):
    pass


def heard(*what, declared=()):
    tally, bus = Tally(), EventBus()
    tally.declare(declared)
    bus.listen(tally.heard)
    for event in what:
        bus.emit(event)
    return tally


def refused(code):
    return events.AttemptRefused(source="s", method="token", fingerprint="", code=code, detail="")


def failed(code):
    return events.ConnectFailed(server="s", code=code, error="", attempt=1, next_try=1.0)


def connected():
    return events.Connected(session="s", server="s", addresses=(), handshake_seconds=0.1, resumed=False)


def test_every_core_event_is_a_label_from_the_start():
    labels = {sample.labels["event"] for sample in Tally().samples() if sample.name == "vpnrs_events"}
    assert {name_of(each) for each in core_events()} == labels
    assert {"session_opened", "attempt_refused", "connect_failed", "plugin_failed"} <= labels


def test_a_plugins_events_are_counted_under_their_stable_names():
    tally = heard(AuthBlockedGlobal(failures=3), NeverDeclared(), declared=[AuthBlockedGlobal])
    assert (tally.events["auth_blocked_global"], tally.events["other"]) == (1, 1)
    assert "never_declared" not in tally.events


def test_refusals_and_failures_are_counted_by_code():
    tally = heard(refused("auth_failed"), refused("auth_failed"), refused("blocked"), failed(""), failed("server_full"))
    found = {(s.name, s.labels.get("code")): s.value for s in tally.samples() if s.value and "code" in s.labels}
    assert found == {
        ("vpnrs_attempts_refused", "auth_failed"): 2,
        ("vpnrs_attempts_refused", "blocked"): 1,
        ("vpnrs_connect_failures", "unreachable"): 1,
        ("vpnrs_connect_failures", "server_full"): 1,
    }


def test_the_first_connect_is_no_reconnect():
    assert heard(connected()).reconnects == 0
    assert heard(connected(), connected(), connected()).reconnects == 2
    assert heard(events.SessionResumed(session="s", principal="p", source="s")).reconnects == 1
