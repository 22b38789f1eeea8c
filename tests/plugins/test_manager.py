"""Hooks are called one by one: each failure is contained and has an owner."""

from __future__ import annotations

import pytest

from vpnrs_core.errors import PluginError
from vpnrs_core.hookspecs import impl
from vpnrs_core.plugins.failure import Failure
from vpnrs_core.plugins.manager import build_manager, call_each, hook_names


class Needs:
    def __init__(self, needs: object) -> None:
        self._needs = needs

    @impl
    def vpnrs_declare_host_needs(self) -> object:
        if isinstance(self._needs, Exception):
            raise self._needs
        return self._needs


def test_results_come_in_the_order_of_registration_with_their_owner() -> None:
    manager = build_manager()
    for name, needs in (("b", "two"), ("a", "one"), ("none", None)):
        manager.register(Needs(needs), name)
    assert call_each(manager, "vpnrs_declare_host_needs") == [("b", "two"), ("a", "one")]


def test_one_that_raises_keeps_nobody_from_being_called() -> None:
    manager = build_manager()
    manager.register(Needs(ValueError("no")), "bad")
    manager.register(Needs("fine"), "good")
    failures: list[Failure] = []
    assert call_each(manager, "vpnrs_declare_host_needs", failures=failures) == [("good", "fine")]
    assert [(failure.plugin, failure.stage) for failure in failures] == [("bad", "hook")]
    assert failures[0].cause.startswith("vpnrs_declare_host_needs raised ValueError: no (test_manager.py line ")


def test_without_a_list_for_failures_all_are_raised_at_the_end() -> None:
    manager = build_manager()
    manager.register(Needs(ValueError("one")), "first")
    manager.register(Needs(OSError("two")), "second")
    with pytest.raises(PluginError) as caught:
        call_each(manager, "vpnrs_declare_host_needs")
    assert [line.split(" (")[0] for line in str(caught.value).splitlines()] == [
        "plugin first: hook: vpnrs_declare_host_needs raised ValueError: one",
        "plugin second: hook: vpnrs_declare_host_needs raised OSError: two",
    ]


def test_every_hook_of_the_contract_can_be_called() -> None:
    manager = build_manager()
    for hook in hook_names():
        assert call_each(manager, hook, configuration=None) == []
