"""What a plugin says of the configuration and of the host is looked at before anyone relies on it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vpnrs_core.errors import PluginError
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Finding, HostNeeds
from vpnrs_core.plugins.hooks import findings_of, needs_of
from vpnrs_core.plugins.manager import build_manager

ANY = cast(Any, None)


class Says:
    def __init__(self, said: object) -> None:
        self._said = said

    @impl
    def vpnrs_check(self, configuration: object) -> object:
        return self._said

    @impl
    def vpnrs_declare_host_needs(self) -> object:
        return self._said


def manager(*said: object) -> Any:
    made = build_manager()
    for number, each in enumerate(said):
        made.register(Says(each), f"p{number}")
    return made


def test_findings_of_all_come_in_their_order() -> None:
    one, two = Finding("warning", "one"), Finding("error", "two")
    assert findings_of(manager([one], (two,), []), ANY) == [one, two]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (None, "plugin p1: hook: vpnrs_check returned None, not a list; is a `return` missing?"),
        (3, "plugin p1: hook: vpnrs_check returned 3, not a list of Finding"),
        (["port 53 is taken"], "plugin p1: hook: vpnrs_check returned ['port 53 is taken'], not a list of Finding"),
    ],
)
def test_what_is_no_finding_is_not_passed_over(said: object, text: str) -> None:
    with pytest.raises(PluginError) as caught:
        findings_of(manager([], said), ANY)
    assert str(caught.value).startswith(text)


def test_needs_are_needs_or_none() -> None:
    assert needs_of(manager(None, HostNeeds(forwarding=True))) == [("p1", HostNeeds(forwarding=True))]
    with pytest.raises(PluginError, match="plugin p0: hook: vpnrs_declare_host_needs returned True, not HostNeeds"):
        needs_of(manager(True))
