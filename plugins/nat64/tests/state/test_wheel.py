"""The timer wheel gives each item once, never before its deadline and at most a second after it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from vpnrs_nat64.state.wheel import NO_SLOT, Wheel


class Item:
    """Its own view."""

    def __init__(self, deadline):
        self.deadline, self.slot, self.raw = deadline, NO_SLOT, self


def new_wheel():
    return Wheel(lambda item: item)


def test_an_item_comes_out_once_after_its_deadline():
    wheel, item = new_wheel(), Item(10.5)
    wheel.schedule(item)
    assert wheel.next() == 11.0
    assert wheel.due(10.9, 10) == []
    assert wheel.due(11.0, 10) == [item]
    assert wheel.due(100.0, 10) == []
    assert wheel.next() is None


def test_an_item_put_off_comes_out_at_its_new_time_and_one_drawn_near_at_once():
    wheel, late, soon = new_wheel(), Item(10.0), Item(5000.0)
    wheel.schedule(late)
    wheel.schedule(soon)
    late.deadline = 50.0
    assert wheel.due(12.0, 10) == []
    soon.deadline = 20.0
    wheel.schedule(soon)
    assert wheel.due(21.0, 10) == [soon]
    assert wheel.due(51.0, 10) == [late]


def test_a_removed_item_never_comes_out():
    wheel, item = new_wheel(), Item(1.0)
    wheel.schedule(item)
    wheel.remove(item)
    wheel.remove(item)
    assert wheel.due(100.0, 10) == []


def test_the_work_of_a_call_is_bounded_and_goes_on_later():
    wheel, items = new_wheel(), [Item(1.0) for _ in range(25)]
    for item in items:
        wheel.schedule(item)
    found = []
    sizes = []
    while (at := wheel.next()) is not None and at <= 2.0:
        found += (some := wheel.due(2.0, 10))
        sizes.append(len(some))
    assert sizes == [10, 10, 5]
    assert set(found) == set(items)


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300), st.booleans()), max_size=40))
@settings(max_examples=100)
def test_each_item_comes_within_a_second_of_its_last_deadline(plan):
    wheel = new_wheel()
    came = {}
    items = []
    for first, then, remove in plan:
        item = Item(first)
        wheel.schedule(item)
        item.deadline = then
        wheel.schedule(item)
        if remove:
            wheel.remove(item)
        else:
            items.append(item)
    for tick in range(1210):
        for item in wheel.due(tick / 4, 1000):
            assert item not in came
            came[item] = tick / 4
    assert set(came) == set(items)
    for item, at in came.items():
        assert item.deadline <= at <= item.deadline + 1.25
