"""Pages of bindings and sessions: each is on one page, and a page costs no look at what is on others."""

import pytest
from nat64_world import World, inner, remote
from vpnrs_nat64.state.model import ICMP, TCP, UDP
from vpnrs_nat64.state.pages import bindings_page, sessions_page
from vpnrs_nat64.state.shards import Shards


@pytest.fixture
def world():
    """Client a has seven UDP bindings, the n-th with n + 1 sessions, and a TCP one; b has one."""
    world = World()
    for number in range(7):
        for host in range(number + 1):
            world.out(frm=inner(1, number), to=remote(f"192.0.2.{host}:80"))
    world.syn(frm=inner(1, 99))
    world.out("b", frm=inner(2))
    return world


def paged(page, world, client, protocols, size):
    skip, rows = 0, []
    while found := page(world.state, client, protocols, skip, size):
        assert len(found) <= size
        rows += found
        skip += size
    return [id(row) for row in rows]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_each_is_on_one_page_whatever_their_size(world, size):
    a = world.state.clients["a"]
    for page, of_udp, of_all in ((bindings_page, 7, 9), (sessions_page, 28, 30)):
        for client, protocols, count in ((a, (UDP,), of_udp), (None, (TCP, UDP, ICMP), of_all), (a, (ICMP,), 0)):
            rows = paged(page, world, client, protocols, size)
            assert len(rows) == len({*rows}) == count


def test_sessions_of_other_pages_are_not_looked_at(world, monkeypatch):
    looked = []
    plain = Shards.__getitem__
    monkeypatch.setattr(Shards, "__getitem__", lambda shards, key: (looked.append(key), plain(shards, key))[1])
    found = sessions_page(world.state, world.state.clients["a"], (UDP,), 20, 4)
    assert len(found) == len([key for key in looked if len(key) == 12]) == 4  # the other keys are bindings'
