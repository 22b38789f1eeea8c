"""A lease holder gives its leases back once, whatever is asked of it and in whatever order."""

from collections import Counter
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.interfaces.addresses import Lease
from vpnrs_core.session.leases import LeaseHolder, ReleaseLeases


def lease(n: int) -> Lease:
    return Lease(IPv4Address(n))


def test_only_the_first_release_releases() -> None:
    holder = LeaseHolder("s1", [lease(1), lease(2)])
    assert holder.release() == (ReleaseLeases("s1", (lease(1), lease(2))),)
    assert holder.release() == ()
    assert holder.addresses == (IPv4Address(1), IPv4Address(2))


def test_a_renewal_that_comes_after_the_end_is_given_back() -> None:
    holder = LeaseHolder("s1", [lease(1)])
    holder.release()
    assert holder.replace([lease(2)]) == (ReleaseLeases("s1", (lease(2),)),)
    assert holder.release() == ()


def test_a_renewal_of_the_same_address_releases_nothing() -> None:
    holder = LeaseHolder("s1", [lease(1)])
    renewed = Lease(IPv4Address(1), until=50.0)
    assert holder.replace([renewed]) == ()
    assert holder.release() == (ReleaseLeases("s1", (renewed,)),)


def test_a_late_renewal_of_an_address_given_back_is_not_given_back_again() -> None:
    holder = LeaseHolder("s1", [lease(1)])
    holder.release()
    assert holder.replace([lease(1), lease(2)]) == (ReleaseLeases("s1", (lease(2),)),)
    assert holder.replace([lease(1), lease(2)]) == ()


@given(st.lists(st.sets(st.integers(0, 5), max_size=3), max_size=8), st.lists(st.sets(st.integers(3, 9)), max_size=3))
def test_what_was_acquired_is_released_exactly_once(renewals: list[set[int]], late: list[set[int]]) -> None:
    """While the session lives, an address may come and go several times; after its end each comes back once."""
    holder, held = LeaseHolder("s1"), set[int]()
    acquired: Counter[int] = Counter()
    released: Counter[int] = Counter()

    def count(actions: tuple[ReleaseLeases, ...]) -> None:
        released.update(int(one.address) for action in actions for one in action.leases)

    for step in renewals:
        acquired.update(step - held)
        count(holder.replace([lease(n) for n in sorted(step)]))
        held = step
    count(holder.release())
    for step in late:
        acquired.update(step - held)
        held = held | step
        count(holder.replace([lease(n) for n in sorted(step)]))
        count(holder.release())
    assert released == acquired
