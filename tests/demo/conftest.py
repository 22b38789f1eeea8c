from vpnrs_core.testkit.fixtures import netns

__all__ = ["netns"]
