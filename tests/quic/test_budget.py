"""What unauthenticated peers may cost."""

from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.quic.budget import Admission, CpuBudget, Verdict, source_prefix


def test_cpu_budget_is_a_share_of_the_elapsed_time():
    budget = CpuBudget(0.2, now=100.0)
    assert budget.left(100.0)
    budget.spend(0.4)  # the whole bucket: two seconds' share
    assert not budget.left(100.0)
    budget.spend(0.1)
    assert not budget.left(100.4)  # 0.08 came in, 0.1 are owed
    assert budget.left(100.6)


def test_handshakes_under_way_may_overdraw_and_new_ones_may_not():
    budget = CpuBudget(0.2, now=0.0)
    budget.spend(0.5)
    assert not budget.left(0.0, new=True)
    assert budget.left(0.0, new=False)
    budget.spend(0.2)
    assert not budget.left(0.0, new=False)


def test_a_quarter_is_kept_for_who_has_proven_its_address():
    budget = CpuBudget(0.2, now=0.0)
    budget.spend(0.29)
    assert budget.left(0.0)
    assert budget.plenty
    budget.spend(0.02)
    assert budget.left(0.0)
    assert not budget.plenty


def test_a_long_quiet_time_saves_no_more_than_the_bucket():
    budget = CpuBudget(0.5, now=0.0)
    assert budget.left(10_000.0)
    budget.spend(1.0)
    assert not budget.left(10_000.0)


def test_sources_are_ipv4_addresses_and_ipv6_slash_64s():
    assert source_prefix("192.0.2.1") == source_prefix("::ffff:192.0.2.1") != source_prefix("192.0.2.2")
    assert source_prefix("2001:db8::1") == source_prefix("2001:db8::ffff:1") != source_prefix("2001:db8:0:1::1")
    assert source_prefix("fe80::1%eth0") == source_prefix("fe80::2")


def test_one_source_cannot_take_every_place():
    admission = Admission(most=100, most_per_source=4, retry_threshold=1000)
    for _ in range(2):
        assert admission.judge(b"a", address_proven=False) is Verdict.ACCEPT
        admission.opened(b"a")
    assert admission.judge(b"a", address_proven=False) is Verdict.RETRY
    assert admission.judge(b"a", address_proven=True) is Verdict.ACCEPT
    admission.opened(b"a")
    admission.opened(b"a")
    assert admission.judge(b"a", address_proven=True) is Verdict.DROP
    assert admission.judge(b"b", address_proven=False) is Verdict.ACCEPT


def test_above_the_threshold_addresses_must_be_proven():
    admission = Admission(most=3, most_per_source=16, retry_threshold=1)
    admission.opened(b"a")
    assert admission.judge(b"b", address_proven=False) is Verdict.RETRY
    assert admission.judge(b"b", address_proven=True) is Verdict.ACCEPT
    admission.opened(b"b")
    admission.opened(b"c")
    assert admission.judge(b"d", address_proven=True) is Verdict.DROP


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=60))
def test_what_closes_gives_its_place_back(sources):
    admission = Admission(most=10_000, most_per_source=10_000, retry_threshold=10_000)
    for source in sources:
        admission.opened(source)
    assert admission.total == len(sources)
    for source in sources:
        admission.closed(source)
    assert admission.total == 0
    assert admission._sources == {}
