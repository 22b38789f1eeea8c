"""pytest fixtures; import them into a conftest.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cache

import pytest

from vpnrs_core.testkit import netns as namespaces


@cache
def _missing() -> str | None:
    """Asked once a run; an ordinary user's process moves into user namespaces here, for the rest of the run."""
    if os.geteuid() != 0 and threading.active_count() == 1:
        refused = namespaces.enter_user_namespace()
        if refused:
            return f"not root, and {refused}"
    return namespaces.unavailable()


@pytest.fixture
def netns() -> Iterator[namespaces.Topology]:
    """An empty topology, removed after the test. Skips, and says why, where namespaces cannot be made."""
    why = _missing()
    if why:
        pytest.skip(why)
    with namespaces.Topology() as net:
        yield net
