"""The brakes that qh3 lacks, as rules on numbers."""

from hypothesis import given, settings
from hypothesis import strategies as st
from vpnrs_qh3.window import LONGEST_REST, PATIENCE, Breath, Rest, Uncertain


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(20, 1500), min_size=1, max_size=20), max_size=40), st.integers(0, 30_000))
def test_uncertain_packets_are_never_fewer_than_the_newest_that_make_the_flight(turns, in_flight):
    uncertain, sizes = Uncertain(), []
    for turn in turns:
        uncertain.sent(len(turn), sum(turn))
        sizes += turn
    newest, total = 0, 0
    while sizes and total < in_flight:
        total += sizes.pop()
        newest += 1
    count = uncertain.count(in_flight)
    assert count >= newest
    # At most one turn more: it is counted whole.
    assert count <= newest + 20


def test_a_breath_is_due_after_patience_and_not_again_once_taken():
    breath = Breath()
    breath.taken(10.0)
    assert not breath.due(0.01, 10.4)
    assert breath.due(0.01, 10.6)
    assert not breath.due(0.2, 10.6)  # eight of these round trips are longer
    breath.taken(10.6)
    assert not breath.due(0.01, 10.7)


def test_after_stream_bytes_a_breath_is_due_as_soon_as_their_loss_can_be_known():
    breath = Breath()
    breath.taken(10.0)
    breath.stream_left(10.0)
    assert not breath.due(0.05, 10.1)
    assert breath.due(0.05, 10.13)
    breath.taken(10.13)
    assert not breath.due(0.05, 10.2)


def test_a_rest_ends_when_nothing_is_on_its_way() -> None:
    rest = Rest()
    assert not rest.due(None, 100.0)
    assert not rest.due(100.1 + PATIENCE, 100.0 + PATIENCE)
    assert rest.due(100.8, 100.01 + PATIENCE), "acknowledgements are awaited, and have been for long"
    assert rest.due(100.9, 100.02 + PATIENCE)
    assert not rest.due(130.0, 100.6), "what is left is the idle timeout"
    assert not rest.due(100.8, 100.7), "the next one is later"
    assert rest.due(101.2, 100.61 + PATIENCE)


def test_no_rest_is_longer_than_its_bound() -> None:
    rest = Rest()
    rest.due(None, 100.0)
    begin = 100.01 + PATIENCE
    assert rest.due(begin + 0.1, begin)
    assert rest.due(begin + 0.1, begin + LONGEST_REST)
    assert not rest.due(begin + 2, begin + 0.01 + LONGEST_REST)
    assert not rest.due(begin + 2, begin + LONGEST_REST + PATIENCE)
