"""The pool allocator: who gets which address, and every configuration that it refuses."""

import tracemalloc
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vpnrs_core.builtin.pool import PoolAllocator
from vpnrs_core.config.models import AddressesConfig
from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Lease, Principal
from vpnrs_core.interfaces.addresses import PoolExhausted

ALICE, BOB = Principal("alice"), Principal("bob")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def allocator(*pools, clock=None, **arguments):
    for key in ("server_addresses", "reserve"):
        if key in arguments:
            arguments[key] = [ip_address(text) for text in arguments[key]]
    if "static" in arguments:
        arguments["static"] = {n: [ip_address(a) for a in addresses] for n, addresses in arguments["static"].items()}
    return PoolAllocator([ip_network(pool) for pool in pools], now=clock or Clock(), **arguments)


async def take(pool, session, principal=ALICE, wanted=()):
    leases = await pool.acquire(session, principal, [ip_network(network) for network in wanted])
    return [str(lease.address) for lease in leases]


def leases(*addresses):
    return [Lease(ip_address(address)) for address in addresses]


async def test_server_takes_the_first_host_and_clients_the_next():
    pool = allocator("10.77.0.0/24", "fd77::/64")
    assert pool.server_addresses == ((ip_address("10.77.0.1"), 24), (ip_address("fd77::1"), 64))
    assert await take(pool, "a") == ["10.77.0.2", "fd77::2"]
    assert await take(pool, "b") == ["10.77.0.3", "fd77::3"]


@pytest.mark.parametrize(("network", "first"), [("10.77.0.0/24", "10.77.0.2"), ("fd77::/64", "fd77::2")])
async def test_one_family_alone(network, first):
    assert await take(allocator(network), "a") == [first]


async def test_a_chosen_server_address_frees_the_first_host_for_clients():
    pool = allocator("10.77.0.0/29", server_addresses=["10.77.0.3"])
    assert pool.server_addresses == ((ip_address("10.77.0.3"), 29),)
    assert [await take(pool, s) for s in "abc"] == [["10.77.0.1"], ["10.77.0.2"], ["10.77.0.4"]]


async def test_made_from_the_table_of_a_configuration():
    table = AddressesConfig.model_validate(
        {
            "ipv4": "10.77.0.0/29",
            "ipv6": "fd77::/64",
            "server_ipv4": "10.77.0.2",
            "reserve": ["10.77.0.1"],
            "static": {"alice": ["fd77::a"]},
        }
    )
    pool = PoolAllocator.from_config(table, Clock(), "server.toml")
    assert [str(address) for address, _ in pool.server_addresses] == ["10.77.0.2", "fd77::1"]
    assert await take(pool, "a") == ["10.77.0.3", "fd77::a"]
    with pytest.raises(ConfigError, match=r"^server.toml: \[addresses\]: no address pool"):
        PoolAllocator.from_config(AddressesConfig(), Clock(), "server.toml")


async def test_the_other_family_still_serves_when_one_is_exhausted():
    pool = allocator("10.77.0.0/30", "fd77::/64")
    assert await take(pool, "a") == ["10.77.0.2", "fd77::2"]
    assert await take(pool, "b") == ["fd77::3"]


async def test_both_families_exhausted_and_recovered():
    pool = allocator("10.77.0.0/30", "fd77::/126")
    await take(pool, "a")
    assert await take(pool, "b") == ["fd77::3"]
    with pytest.raises(PoolExhausted, match="no free IPv4 or IPv6 address"):
        await take(pool, "c")
    await pool.release("a", leases("10.77.0.2", "fd77::2"))
    assert await take(pool, "c") == ["10.77.0.2", "fd77::2"]


async def test_an_exhausted_attempt_takes_nothing():
    pool = allocator("10.77.0.0/30")
    await take(pool, "a")
    before = pool.usage()
    with pytest.raises(PoolExhausted):
        await take(pool, "b")
    assert pool.usage() == before == [("10.77.0.0/30", 1, 1)]


async def test_freed_addresses_come_back_least_recently_freed_first():
    clock = Clock()
    pool = allocator("10.77.0.0/29", clock=clock)
    for session in "abcde":
        await take(pool, session)
    for session, address in (("c", "10.77.0.4"), ("a", "10.77.0.2"), ("e", "10.77.0.6")):
        clock.now += 1
        await pool.release(session, leases(address))
    assert [await take(pool, s) for s in "xyz"] == [["10.77.0.4"], ["10.77.0.2"], ["10.77.0.6"]]


async def test_a_resting_address_waits_while_another_pool_has_room():
    clock = Clock()
    pool = allocator("10.77.0.0/30", "10.78.0.0/30", clock=clock)
    await take(pool, "a")
    await pool.release("a", leases("10.77.0.2"))
    clock.now += 59
    assert await take(pool, "b") == ["10.78.0.2"]
    assert await take(pool, "c") == ["10.77.0.2"], "rested 59 s, but nothing else is left"


async def test_a_rested_address_of_an_earlier_pool_comes_first():
    clock = Clock()
    pool = allocator("10.77.0.0/30", "10.78.0.0/30", clock=clock)
    await take(pool, "a")
    await pool.release("a", leases("10.77.0.2"))
    clock.now += 60
    assert await take(pool, "b") == ["10.77.0.2"]


async def test_second_release_frees_nothing_and_is_logged(caplog):
    pool = allocator("10.77.0.0/30")
    await take(pool, "a")
    await pool.release("a", leases("10.77.0.2"))
    assert await take(pool, "b") == ["10.77.0.2"]
    await pool.release("a", leases("10.77.0.2"))
    assert "10.77.0.2" in caplog.text
    assert "session a does not hold" in caplog.text
    with pytest.raises(PoolExhausted):
        await take(pool, "c")


async def test_static_addresses_belong_to_their_principal_alone():
    pool = allocator("10.77.0.0/29", "fd77::/64", static={"alice": ["10.77.0.2", "fd77::a"]})
    assert await take(pool, "b", BOB) == ["10.77.0.3", "fd77::2"]
    assert await take(pool, "a") == ["10.77.0.2", "fd77::a"]
    assert await take(pool, "a2") == ["10.77.0.4", "fd77::3"], "a second session gets a dynamic address"
    await pool.release("a", leases("10.77.0.2", "fd77::a"))
    assert await take(pool, "a3") == ["10.77.0.2", "fd77::a"], "a static address does not rest"


async def test_a_static_address_of_one_family_is_joined_by_a_dynamic_one_of_the_other():
    pool = allocator("10.77.0.0/29", "fd77::/64", static={"alice": ["10.77.0.5"]})
    assert await take(pool, "a") == ["10.77.0.5", "fd77::2"]


async def test_a_static_address_is_never_given_to_others_even_when_all_else_is_gone():
    pool = allocator("10.77.0.0/29", static={"alice": ["10.77.0.6"]})
    for session in "abcd":
        await take(pool, session, BOB)
    with pytest.raises(PoolExhausted):
        await take(pool, "e", BOB, ["10.77.0.6/32"])
    assert await take(pool, "f") == ["10.77.0.6"]


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (["0.0.0.0/0"], ["10.77.0.2"]),
        (["::/0"], ["fd77::2"]),
        (["0.0.0.0/0", "::/0"], ["10.77.0.2", "fd77::2"]),
        (["10.77.0.99/32"], ["10.77.0.99"]),
        (["0.0.0.0/32", "::/128"], ["10.77.0.2", "fd77::2"]),
        (["10.77.0.1/32"], ["10.77.0.2"]),
        (["10.77.0.255/32"], ["10.77.0.2"]),
        (["192.0.2.1/32"], ["10.77.0.2"]),
    ],
)
async def test_wanted_picks_families_and_hints_an_address(wanted, got):
    assert await take(allocator("10.77.0.0/24", "fd77::/64"), "a", wanted=wanted) == got


async def test_a_hinted_address_rests_too():
    clock = Clock()
    pool = allocator("10.77.0.0/24", clock=clock)
    assert await take(pool, "a", wanted=["10.77.0.9/32"]) == ["10.77.0.9"]
    await pool.release("a", leases("10.77.0.9"))
    assert await take(pool, "b", wanted=["10.77.0.9/32"]) == ["10.77.0.2"]
    clock.now += 60
    assert await take(pool, "c", wanted=["10.77.0.9/32"]) == ["10.77.0.9"]


async def test_a_family_that_the_server_lacks_is_said():
    with pytest.raises(PoolExhausted, match=r"none of this server's address families \(IPv4\)"):
        await take(allocator("10.77.0.0/24"), "a", wanted=["::/0"])


async def test_renew_keeps_only_what_the_session_holds():
    pool = allocator("10.77.0.0/24")
    await take(pool, "a")
    await take(pool, "b")
    assert await pool.renew("a", leases("10.77.0.2", "10.77.0.3")) == leases("10.77.0.2")


async def test_a_reserved_address_is_never_leased():
    pool = allocator("10.77.0.0/29", reserve=["10.77.0.2"])
    pool.reserve(ip_address("10.77.0.3"))
    assert await take(pool, "a") == ["10.77.0.4"]
    assert pool.usage() == [("10.77.0.0/29", 1, 3)]


async def test_a_huge_pool_costs_no_memory():
    tracemalloc.start()
    pool = allocator("fd77::/16")
    for number in range(1000):
        await take(pool, str(number))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert pool.usage() == [("fd77::/16", 1000, 2**112 - 2)]


async def test_memory_of_freed_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr("vpnrs_core.session.pool.REMEMBERED", 10)
    clock = Clock()
    pool = allocator("fd77::/64", clock=clock)
    seen = []
    for number in range(40):
        clock.now += 60
        seen += await take(pool, str(number))
        await pool.release(str(number), leases(seen[-1]))
    assert len(set(seen)) == 11
    assert seen[11:22] == seen[:11], "oldest first"


@pytest.mark.parametrize(
    ("pools", "arguments", "words"),
    [
        ([], {}, "no address pool"),
        (["10.77.0.0/31"], {}, "10.77.0.0/31 is too small for a server and a client. IPv4 pools are /30"),
        (["10.77.0.0/32"], {}, "too small"),
        (["fd77::/127"], {}, "fd77::/127 is too small for a server and a client. IPv6 pools are /126"),
        (["10.77.0.0/24", "10.77.0.128/25"], {}, "10.77.0.0/24 and 10.77.0.128/25 overlap"),
        (["127.0.0.0/24"], {}, "loopback"),
        (["0.0.0.0/0"], {}, "overlaps"),
        (["fe80::/64"], {}, "link-local"),
        (["10.77.0.0/24"], {"server_addresses": ["10.77.0.0"]}, "is the network address of 10.77.0.0/24"),
        (["10.77.0.0/24"], {"server_addresses": ["10.77.0.255"]}, "is the broadcast address of 10.77.0.0/24"),
        (["fd77::/64"], {"server_addresses": ["fd77::"]}, "is the network address of fd77::/64"),
        (["10.77.0.0/24"], {"server_addresses": ["10.78.0.1"]}, "server address 10.78.0.1 is outside 10.77.0.0/24"),
        (["10.77.0.0/24"], {"server_addresses": ["fd77::1"]}, "is IPv6, but there is no IPv6 pool"),
        (["10.77.0.0/24"], {"server_addresses": ["10.77.0.1", "10.77.0.2"]}, "both in 10.77.0.0/24"),
        (["10.77.0.0/24"], {"reserve": ["10.77.0.1"]}, "already this server's own address"),
        (["10.77.0.0/24"], {"reserve": ["10.78.0.1"]}, "outside"),
        (["10.77.0.0/24"], {"reserve": ["10.77.0.9", "10.77.0.9"]}, "already reserved"),
        (["10.77.0.0/30"], {"reserve": ["10.77.0.2"]}, "no client could get an address"),
        (["10.77.0.0/24"], {"static": {"a": ["10.78.0.1"]}}, "static address 10.78.0.1 of a is outside"),
        (["10.77.0.0/24"], {"static": {"a": ["fd77::9"]}}, "is IPv6, but there is no IPv6 pool"),
        (["10.77.0.0/24"], {"static": {"a": ["10.77.0.1"]}}, "already this server's own address"),
        (["10.77.0.0/24"], {"static": {"a": ["10.77.0.255"]}}, "broadcast"),
        (
            ["10.77.0.0/24"],
            {"static": {"a": ["10.77.0.9"], "b": ["10.77.0.9"]}},
            "of b is already the static address of a",
        ),
        (["10.77.0.0/24"], {"static": {"a": ["10.77.0.9"]}, "reserve": ["10.77.0.9"]}, "already reserved"),
    ],
)
def test_wrong_combinations_are_refused_with_words(pools, arguments, words):
    with pytest.raises(ConfigError) as caught:
        allocator(*pools, where="server.toml: [addresses]", **arguments)
    assert words in str(caught.value)
    assert str(caught.value).startswith("server.toml: [addresses]")
    assert "\n" not in str(caught.value)


async def test_reserving_a_leased_or_foreign_address_is_refused():
    pool = allocator("10.77.0.0/24")
    await take(pool, "a")
    for address, words in (("10.77.0.2", "leased to session a"), ("192.0.2.1", "outside"), ("fd77::1", "no IPv6 pool")):
        with pytest.raises(ConfigError, match=words):
            pool.reserve(ip_address(address))


class PoolMachine(RuleBasedStateMachine):
    """Any order of acquiring, releasing (also twice) and waiting on a small dual-stack pool."""

    STATIC = {"carol": ["10.77.0.6", "fd77::6"]}

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.pool = allocator("10.77.0.0/29", "fd77::/125", clock=self.clock, static=self.STATIC, reserve=["10.77.0.5"])
        self.held = {}
        self.gone = []
        self.count = 0

    @staticmethod
    def now(coroutine):
        """The allocator awaits nothing, so one step finishes it."""
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("it waited")

    @rule(name=st.sampled_from(["alice", "carol"]), hint=st.none() | st.integers(0, 7))
    def acquire(self, name, hint):
        self.count += 1
        session = f"s{self.count}"
        wanted = [] if hint is None else [ip_network(f"10.77.0.{hint}/32"), ip_network("::/0")]
        free = self.free(name)
        try:
            got = self.now(self.pool.acquire(session, Principal(name), wanted))
        except PoolExhausted:
            assert not free
            return
        assert {lease.address for lease in got} <= free
        assert sorted(lease.address.version for lease in got) == sorted({a.version for a in free})
        self.held[session] = got

    def free(self, name):
        hosts = {ip_address(f"10.77.0.{n}") for n in range(2, 7)} | {ip_address(f"fd77::{n}") for n in range(2, 8)}
        hosts -= {ip_address("10.77.0.5")}
        if name != "carol":
            hosts -= {ip_address(a) for a in self.STATIC["carol"]}
        return hosts - {lease.address for got in self.held.values() for lease in got}

    @rule(data=st.data())
    def release(self, data):
        if self.held:
            session = data.draw(st.sampled_from(sorted(self.held)))
            got = self.held.pop(session)
            self.now(self.pool.release(session, got))
            self.gone.append((session, got))

    @rule(data=st.data())
    def release_again(self, data):
        if self.gone:
            self.now(self.pool.release(*data.draw(st.sampled_from(self.gone))))

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def one_holder_an_address(self):
        addresses = [lease.address for got in self.held.values() for lease in got]
        assert len(addresses) == len(set(addresses))
        assert sum(leased for _, leased, _ in self.pool.usage()) == len(addresses)


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestNeverTwoHoldersOfOneAddress = PoolMachine.TestCase
