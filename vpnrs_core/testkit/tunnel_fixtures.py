"""The fixture `tunnel`: tunnels made for a test, checked for what they leave behind, removed whatever happens.

For a conftest.py of a run without the whole kit: `from vpnrs_core.testkit.tunnel_fixtures import netns,
pytest_runtest_makereport, tunnel`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vpnrs_core.testkit.fixtures import netns
from vpnrs_core.testkit.netns import Topology
from vpnrs_core.testkit.tunnel import TunnelNet

__all__ = ["netns", "pytest_runtest_makereport", "tunnel"]

_tunnels = pytest.StashKey[list[TunnelNet]]()
_passed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report has the logs of its tunnels."""
    report = yield
    add_logs(item, report)
    return report


def add_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """Once, whoever asks; also those of tunnels that its module has for all its tests."""
    if report.when == "call":
        item.stash[_passed] = report.passed
    if report.failed and not any(title.startswith("log of ") for title, _ in report.sections):
        for each in (each for node in item.listchain() for each in node.stash.get(_tunnels, [])):
            report.sections += [(f"log of {name}", text) for name, text in each.logs()]


@pytest.fixture
def tunnel(request: pytest.FixtureRequest, netns: Topology) -> Iterator[Callable[..., TunnelNet]]:
    """`tunnel(**options)` makes a TunnelNet (options: see there) in which nothing runs yet."""
    with tunnels(request.node) as make:
        yield make


@contextmanager
def tunnels(item: pytest.Item | pytest.Module) -> Iterator[Callable[..., TunnelNet]]:
    """After a test that passed, what still runs is stopped, must exit with 0 and must have left nothing behind. After
    one that failed, the logs are in the report. What a module has for all its tests it stops and checks itself."""
    made: list[TunnelNet] = []
    item.stash[_tunnels] = made

    def make(**options: Any) -> TunnelNet:
        made.append(TunnelNet(**options))
        return made[-1]

    try:
        yield make
        if item.stash.get(_passed, False):
            for each in made:
                codes = each.stop()
                assert not any(codes.values()), codes
                assert each.left_behind() == []
    finally:
        for each in made:
            each.close()
