"""Tunnels for the test that traces a real one."""

import pytest

from vpnrs_core.testkit.tunnel_fixtures import netns, pytest_runtest_makereport, tunnel

__all__ = ["netns", "pytest_runtest_makereport", "tunnel"]


def pytest_collection_modifyitems(items):
    for item in items:
        if "trace/tests/test_live" in item.path.as_posix():
            item.add_marker(pytest.mark.netns)
