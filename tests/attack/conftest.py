"""The tunnels come from the testkit."""

from vpnrs_core.testkit.tunnel_fixtures import netns, pytest_runtest_makereport, tunnel

__all__ = ["netns", "pytest_runtest_makereport", "tunnel"]
