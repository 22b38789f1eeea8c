"""The prober's search against simulated paths: any size, random loss, blackouts, changes while it runs."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.session.pathmtu import LEAST, Acked, Doubt, Limit, PathMtu, Phase, Probe, Start, Use

BASE, MOST = 1324, 1472


class Path:
    """Carries probes of up to `size` bytes after `delay`; each is lost with probability `loss`. `use` is what the
    prober said last, `said` all of it."""

    def __init__(self, size, *, base=BASE, most=MOST, delay=0.01, loss=0.0, seed=1, raise_every=600.0):
        self.size, self.delay, self.loss = size, delay, loss
        self.machine = PathMtu(base, most, raise_every=raise_every)
        self.machine.rtt = 2 * delay
        self.random = random.Random(seed)
        self.now = 0.0
        self.flying = []
        self.probes = []
        self.said = []
        self.take(self.machine.step(Start(), self.now))

    def take(self, actions):
        for action in actions:
            if isinstance(action, Use):
                self.said.append(action)
                continue
            assert isinstance(action, Probe)
            assert len(action.sizes) <= 16
            for size in action.sizes:
                assert LEAST <= size <= self.machine.most
                self.probes.append(size)
                if size <= self.size and self.random.random() >= self.loss:
                    self.flying.append((self.now + 2 * self.delay, Acked(action.number, size)))

    def run(self, seconds):
        end = self.now + seconds
        while True:
            times = [at for at, _ in self.flying] + [t for t in [self.machine.deadline] if t is not None]
            if not times or min(times) > end:
                break
            self.now = max(self.now, min(times))
            due = [f for f in self.flying if f[0] <= self.now]
            self.flying = [f for f in self.flying if f[0] > self.now]
            for _, acked in due:
                self.take(self.machine.step(acked, self.now))
            self.take(self.machine.tick(self.now))
        self.now = end
        return self

    def doubt(self, hint=None):
        self.take(self.machine.step(Doubt(hint), self.now))
        return self


def test_a_clean_path_takes_one_round_trip():
    path = Path(MOST).run(0.0201)
    assert path.said == [Use(MOST, settled=True)]
    assert path.machine.phase is Phase.COMPLETE
    assert len(path.probes) == 3
    assert path.machine.deadline is None


@given(st.integers(LEAST, 1600), st.integers(LEAST, 1500), st.integers(LEAST, 9000))
def test_the_search_ends_at_the_size_of_the_path(size, base, most):
    path = Path(size, base=base, most=most).run(15.0)
    found = min(size, path.machine.most)
    assert path.machine.size == found
    assert path.said[-1] == Use(found, settled=True)
    assert path.machine.phase is (Phase.COMPLETE if found >= path.machine.base else Phase.ERROR)


@pytest.mark.parametrize("size", [1200, 1232, 1252, 1337, 1371, 1372, 1420, 1464, 1471])
def test_an_ordinary_path_is_known_within_two_seconds(size):
    assert Path(size).run(2.0).said[-1] == Use(size, settled=True)


def test_nothing_larger_than_the_base_is_used_before_it_has_passed():
    path = Path(1400)
    while path.machine.phase is not Phase.COMPLETE:
        path.run(0.05)
        assert path.machine.size <= 1400
    sizes = [use.size for use in path.said]
    assert sizes == sorted(sizes)


@settings(max_examples=50)
@given(st.integers(LEAST, 1500), st.floats(0, 0.1), st.integers(0, 1 << 30))
def test_random_loss_makes_nothing_larger_and_the_next_look_mends_what_it_made_smaller(size, loss, seed):
    path = Path(size, loss=loss, seed=seed, raise_every=20.0).run(60.0)
    assert path.machine.size <= max(size, LEAST)
    path.loss = 0.0
    path.run(120.0)
    assert path.machine.size == min(size, MOST)


@settings(max_examples=50)
@given(st.integers(LEAST, 1472), st.integers(LEAST, 1472), st.floats(0.0, 3.0))
def test_a_path_that_changes_at_any_time_is_followed(before, after, at):
    path = Path(before, raise_every=40.0).run(at)
    path.size = after
    for _ in range(120):
        path.doubt().run(1.0)
    assert path.machine.size == after
    assert not path.machine.black_holes or after < before


def test_a_path_below_the_base_is_used_as_it_is_after_one_round():
    path = Path(1232).run(0.101)
    assert path.said[0].size == LEAST
    path.run(2.0)
    assert path.said[-1] == Use(1232, settled=True)
    assert path.machine.phase is Phase.ERROR


def test_a_black_hole_is_noticed_within_three_rounds():
    path = Path(MOST).run(1.0)
    path.size = 1372
    path.doubt().run(0.301)
    assert path.said[-1].size <= 1372
    assert path.machine.black_holes == 1
    path.run(2.0)
    assert path.said[-1] == Use(1372, settled=True)


def test_a_hint_is_probed_and_not_believed():
    path = Path(MOST).run(1.0)
    path.doubt(hint=1300).run(1.0)
    assert path.machine.size == MOST
    path.size = 1391
    path.doubt(hint=1391).run(0.301)
    assert path.said[-1].size == 1391


def test_silence_says_nothing_about_sizes():
    path = Path(MOST).run(1.0)
    path.size = 0
    before = len(path.probes)
    path.doubt().run(60.0)
    assert path.machine.size == MOST
    assert len(path.probes) - before < 40
    path.size = MOST
    path.run(15.0)
    assert (path.machine.phase, path.machine.size, path.machine.black_holes) == (Phase.COMPLETE, MOST, 0)


def test_a_path_that_grows_is_found_at_the_next_look():
    path = Path(1400, raise_every=600.0).run(10.0)
    path.size = MOST
    path.run(580.0)
    assert path.machine.size == 1400
    path.run(30.0)
    assert path.said[-1] == Use(MOST, settled=True)


def test_after_a_black_hole_the_first_look_comes_soon_and_the_following_ever_later():
    path = Path(MOST, raise_every=600.0).run(1.0)
    path.size = 1372
    path.doubt().run(10.0)
    looks = []
    for _ in range(2000):
        probed = len(path.probes)
        path.run(1.0)
        if MOST in path.probes[probed:]:
            looks.append(path.now)
    waits = [b - a for a, b in pairwise(looks) if b - a > 5]
    assert waits[:4] == [pytest.approx(w, abs=4) for w in (60, 120, 240, 480)]
    assert waits[4:] == [pytest.approx(600, abs=4)] * len(waits[4:])


def test_a_limit_of_the_own_host_holds_at_once_and_its_end_is_noticed():
    path = Path(MOST, raise_every=20.0).run(1.0)
    path.take(path.machine.step(Limit(1252), path.now))
    assert path.said[-1] == Use(1252, settled=True)
    path.run(100.0)
    assert path.machine.size == 1252
    path.take(path.machine.step(Limit(MOST), path.now))
    path.run(30.0)
    assert path.machine.size == MOST


def test_answers_of_long_ago_count_for_nothing():
    path = Path(1400).run(10.0)
    path.take(path.machine.step(Acked(1, MOST), path.now))
    assert path.machine.size == 1400


@pytest.mark.parametrize("size", [MOST + 1, 1 << 61])
def test_an_answer_to_what_was_never_probed_counts_for_nothing(size):
    path = Path(1400)
    assert path.machine.step(Acked(1, size), path.now) == []
    assert path.run(2.0).said[-1] == Use(1400, settled=True)
    assert path.doubt().machine.step(Acked(path.machine._number, size), path.now) == []
    assert path.run(2.0).machine.size == 1400
