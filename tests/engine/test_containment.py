"""A failure bears the name of the plugin whose code raised, whoever called it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.containment import FailureReporter, Owners, expect
from vpnrs_core.errors import PluginError
from vpnrs_core.plugins.registry import Registry
from vpnrs_core.quic.driver import expect_connection


class Stamp:
    def __init__(self, name: str) -> None:
        self.NAME = name


@pytest.fixture
def owners() -> Any:
    registry = Registry()
    registry._add("address_allocators", "rooms", Stamp("cellar"))
    registry._add("quic_engines", "engine", Stamp("steam"))
    classes = {"rooms": "acme_rooms.plugin", "engine": "acme_engine", "core": "vpnrs_core.builtin.plugin"}
    loaded = [
        SimpleNamespace(name=name, builtin=name == "core", plugin=type("P", (), {"__module__": module})())
        for name, module in classes.items()
    ]
    return Owners(SimpleNamespace(loaded=loaded, registry=registry))  # type: ignore[arg-type]


def raised(module: str, code: str = "1 / 0", **names: Any) -> BaseException:
    """What this code raises in a module of that name."""
    try:
        exec(code, {"__name__": module, **names})
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_code_that_raised_is_found_by_its_package(owners: Owners) -> None:
    assert owners.of_error(raised("acme_rooms.deep.inside")) == "rooms"
    assert owners.of_error(raised("acme")) is None

    def called() -> None:
        raise raised("acme_engine")

    assert owners.of_error(raised("acme_rooms", "called()", called=called)) == "engine"


@pytest.mark.parametrize(
    ("said", "exc", "name"),
    [
        ("core", raised("acme_engine.connection"), "engine"),
        ("codec", raised("acme_rooms"), "rooms"),
        ("rooms", raised("acme_engine"), "rooms"),  # the caller knows
        ("cellar", "took longer than 5 s", "rooms"),
        ("core", raised("vpnrs_core.engine.gate"), "core"),
        ("nobody", "an own text", "nobody"),
    ],
)
def test_a_report_bears_the_plugins_name(owners: Owners, said: str, exc: Any, name: str) -> None:
    bus, told = EventBus(), []
    bus.listen(told.append)
    reporter = FailureReporter(bus)
    reporter.owners = owners
    reporter.report(said, "hook", exc, 0.0)
    assert reporter.counts == {name: 1}
    assert told[0].plugin == name


def test_an_engine_that_makes_nothing_is_found_by_its_name(owners: Owners) -> None:
    """Its driver finds out, whose code raises then."""
    engine = SimpleNamespace(NAME="steam")
    with pytest.raises(PluginError, match="QUIC engine 'steam': server returned NoneType, which lacks receive") as told:
        expect_connection(engine, "server", None)  # type: ignore[arg-type]
    assert owners.of("core", told.value) == "engine"


def test_what_was_not_promised_is_said() -> None:
    expect("text", "strip", "plugin x: dial", "Connection")
    with pytest.raises(PluginError, match="plugin x: dial returned NoneType, not a Connection: it has no `alpn`"):
        expect(None, "alpn", "plugin x: dial", "Connection")
