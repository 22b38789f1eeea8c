"""What `pytest_plugins = ["vpnrs_core.testkit"]` brings: the fixtures, each importing what it needs when it is used.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vpnrs_core.testkit.fixtures import netns

if TYPE_CHECKING:
    from vpnrs_core.testkit.clock import Clock
    from vpnrs_core.testkit.inprocess import Pair
    from vpnrs_core.testkit.load import Loaded
    from vpnrs_core.testkit.netns import Topology
    from vpnrs_core.testkit.tun import FakeTun
    from vpnrs_core.testkit.tunnel import TunnelNet

__all__ = ["netns"]


@pytest.fixture
def clock() -> Clock:
    """Monotonic seconds that pass only in `clock.advance(seconds)`; `clock()` tells them."""
    from vpnrs_core.testkit.clock import Clock

    return Clock()


@pytest.fixture
def fake_tun() -> Iterator[tuple[FakeTun, FakeTun]]:
    """(device, host): a TUN in memory; what one end writes the other reads."""
    from vpnrs_core.testkit.tun import FakeTun

    device, host = FakeTun.pair()
    with device, host:
        yield device, host


@pytest.fixture
def load_plugin(tmp_path: Path, clock: Clock) -> Callable[..., Loaded]:
    """`load_plugin("name", {table})`: an installed plugin, loaded alone as `vpnrs run` would, on the test's clock.
    Options are those of testkit.load.load."""
    from vpnrs_core.testkit.load import load

    return partial(load, folder=tmp_path, clock=clock)


@pytest.fixture
def in_process(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Pair]]:
    """`async with in_process(server={…}, client={…}) as pair`: a server and a client in this process, over real QUIC on
    loopback; options are those of testkit.inprocess.running."""
    from vpnrs_core.testkit.inprocess import running

    return partial(running, tmp_path)


@pytest.fixture
def tunnel(request: pytest.FixtureRequest, netns: Topology) -> Iterator[Callable[..., TunnelNet]]:
    """`tunnel(**options)` makes a TunnelNet in namespaces (options: see there) in which nothing runs yet; needs root or
    user namespaces. After a test that passed, what it left behind fails it; after one that failed, its report has the
    logs."""
    from vpnrs_core.testkit.tunnel_fixtures import tunnels

    with ExitStack() as stack:
        yield stack.enter_context(tunnels(request.node))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if "tunnel" in getattr(item, "fixturenames", ()):
        from vpnrs_core.testkit.tunnel_fixtures import add_logs

        add_logs(item, report)
    return report
