"""Tunnels for tests: made by the fixture `tunnel`, checked for what they leave behind, removed whatever happens."""

from collections.abc import Callable, Iterator

import pytest

from vpnrs_core.testkit.fixtures import netns
from vpnrs_core.testkit.tunnel import TunnelNet

__all__ = ["netns"]

_tunnels = pytest.StashKey[list[TunnelNet]]()
_passed = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/netns" in item.path.as_posix():
            item.add_marker(pytest.mark.netns)
    # The long ones first, so that the other workers have something to do beside them.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    if report.failed:
        for tunnel in item.stash.get(_tunnels, []):
            report.sections += [(f"log of {name}", text) for name, text in tunnel.logs()]
    return report


@pytest.fixture
def tunnel(request, netns) -> Iterator[Callable[..., TunnelNet]]:
    """`tunnel(**options)` makes a TunnelNet (options: see there) in which nothing runs yet.

    After a test that passed, what still runs is stopped, must exit with 0 and must have left nothing behind. After
    one that failed, the logs are in the report."""
    made: list[TunnelNet] = []
    request.node.stash[_tunnels] = made

    def make(**options) -> TunnelNet:
        made.append(TunnelNet(**options))
        return made[-1]

    try:
        yield make
        if request.node.stash.get(_passed, False):
            for each in made:
                codes = each.stop()
                assert not any(codes.values()), codes
                assert each.left_behind() == []
    finally:
        for each in made:
            each.close()
