"""The demo's page over HTTP: what was offered is what must arrive."""

import pytest

from vpnrs_core.demo import page
from vpnrs_core.errors import PeerError
from vpnrs_core.testkit.netns import Namespace, Topology

pytestmark = pytest.mark.netns


@pytest.fixture
def ends(netns: Topology) -> tuple[Namespace, Namespace]:
    left, right = netns.namespace("left"), netns.namespace("right")
    netns.connect(left, right, "10.204.1.0/24", "fd00:204::/64")
    return left, right


def test_a_page_is_fetched_whole_and_both_ends_are_told(ends: tuple[Namespace, Namespace]) -> None:
    left, right = ends
    got = page.fetch(left.name, right.name, "10.204.1.2", "10.204.1.2", 300_000)
    assert (got.seen_from, got.size) == ("10.204.1.1", 300_000)
    assert 0 < got.ms < 5000


def test_another_page_is_an_error(ends: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = ends
    monkeypatch.setattr(page._Handler, "do_GET", lambda self: self.send_error(404, explain=""))
    with pytest.raises(PeerError, match=r"^http://\[10\.204\.1\.2\]:\d+/page: status 404, \d+ bytes; the page has 10$"):
        page.fetch(left.name, right.name, "10.204.1.2", "10.204.1.2", 10)
    with pytest.raises(OSError, match=r"unreachable|refused|timed out|No route"):
        page.fetch(left.name, right.name, "10.204.1.2", "10.205.0.1", 10)
