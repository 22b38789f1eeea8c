"""How soon a client is at work after its host's network has changed, in time that the test holds.

tests/netns/test_roaming.py has real hosts that move and sleep."""

import asyncio

import pytest

from vpnrs_core.engine.backoff import Backoff, BackoffRules, Pause
from vpnrs_core.engine.roaming import PROBES, SETTLED, Roaming
from vpnrs_core.errors import PeerError
from vpnrs_core.host import watch
from vpnrs_core.testkit.clock import on_clock

# Seconds that docs/host.md promises from the host's having a way again to the tunnel's working again.
PROMISED = 3.0


class Host:
    """The parts that Roaming asks; each call with its time. `answers` at how many probes something comes back, `most`
    how often."""

    def __init__(self, answers=None, standing=True, most=1000):
        self.loop = asyncio.get_running_loop()
        self.calls, self.heard, self._answers, self._most = [], 0.0, answers, most
        self.asleep = 0.0
        self.roaming = Roaming(
            self, lambda: (self, self.lose) if standing else None, lambda: self.loop.time() + self.asleep
        )

    def note(self, what):
        self.calls.append((what, round(self.loop.time() - self.began, 3)))

    def change(self):
        self.began = self.loop.time()
        self.roaming.changed("the network has changed")

    async def refresh(self):
        self.note("routes follow")

    def probe(self):
        self.note("probe")
        probes = [what for what, _ in self.calls].count("probe")
        if self._answers is not None and self._answers <= probes < self._answers + self._most:
            self.loop.call_later(0.01, setattr, self, "heard", self.loop.time() + 0.01)

    def lose(self, why):
        self.note("connects again")


@on_clock
async def test_a_connection_is_probed_at_once_and_kept_if_anything_comes_back():
    host = Host(answers=2)
    host.change()
    await asyncio.sleep(10)
    answered = PROBES[0] + PROBES[1]
    assert host.calls == [
        ("routes follow", 0.0),
        ("probe", 0.0),
        ("probe", PROBES[0]),
        ("probe", pytest.approx(answered + SETTLED)),
    ]


@on_clock
async def test_one_that_answers_and_then_falls_silent_is_given_up():
    """The server has answered the new address before it was sure of it, and then sends to the old one."""
    host = Host(answers=1, most=1)
    host.change()
    await asyncio.sleep(10)
    assert host.calls[-1] == ("connects again", pytest.approx(PROBES[0] + SETTLED + sum(PROBES)))


@on_clock
async def test_one_without_an_answer_is_given_up_in_time_for_what_is_promised():
    host = Host()
    host.change()
    await asyncio.sleep(10)
    assert [what for what, _ in host.calls] == ["routes follow", *["probe"] * len(PROBES), "connects again"]
    gave_up = host.calls[-1][1]
    assert gave_up == pytest.approx(sum(PROBES))
    # The kernel's events are gathered first; then there is time for a handshake of many round trips.
    assert watch._LATEST + gave_up <= PROMISED / 2


def test_sleep_is_noticed_in_time_for_what_is_promised():
    assert watch._TICK + sum(PROBES) < PROMISED


@on_clock
async def test_a_wait_for_the_next_attempt_ends_at_once():
    host = Host(standing=False)
    host.loop.call_later(5, host.change)
    await host.roaming.wait(Pause(60))
    assert host.loop.time() - host.began == pytest.approx(0)


@on_clock
async def test_what_a_server_asked_a_client_to_wait_is_waited_however_often_the_network_changes():
    host = Host(standing=False)
    pause = Backoff(BackoffRules(), lambda: 0.0).failed(retry_after=900.0)
    began = host.loop.time()
    for seconds in (0, 5, 6, 300, 899.9):
        host.loop.call_later(seconds, host.change)
    await host.roaming.wait(pause)
    assert host.loop.time() - began == pytest.approx(900)


@on_clock
async def test_a_change_before_it_was_refused_does_not_shorten_what_it_was_asked_to_wait():
    host = Host(standing=False)
    host.change()
    await asyncio.sleep(1)
    began = host.loop.time()
    await host.roaming.wait(Pause(900, 900))
    assert host.loop.time() - began == pytest.approx(900)


@pytest.mark.parametrize(("change", "ended"), [(5, 30), (40, 40), (70, 60)])
@on_clock
async def test_a_change_ends_what_goes_beyond_the_wait_that_was_asked_for(change, ended):
    host = Host(standing=False)
    began = host.loop.time()
    host.loop.call_later(change, host.change)
    await host.roaming.wait(Pause(60, 30))
    assert host.loop.time() - began == pytest.approx(ended)
    await asyncio.sleep(20)


@on_clock
async def test_what_a_host_sleeps_counts_as_waiting():
    host = Host(standing=False)
    began = host.loop.time()

    def wake(slept):
        host.asleep += slept
        host.change()

    host.loop.call_later(100, wake, 500)
    host.loop.call_later(200, wake, 290)
    await host.roaming.wait(Pause(900, 900))
    assert host.loop.time() - began == pytest.approx(200)


@on_clock
async def test_an_attempt_that_is_under_way_is_begun_again_at_once():
    host, dialled = Host(standing=False), asyncio.get_running_loop().create_future()
    host.loop.call_later(5, host.change)
    with pytest.raises(PeerError, match="the network has changed while it was being connected"):
        await host.roaming.dial(dialled)
    assert dialled.cancelled()
    assert host.loop.time() - host.began == pytest.approx(0)
    # What it raised is an attempt that failed, and the wait after it is none.
    await host.roaming.wait(Pause(60))
    assert host.loop.time() - host.began == pytest.approx(0)


@on_clock
async def test_a_change_while_a_probe_is_out_is_followed_at_once_and_probed_anew():
    host = Host()
    host.change()
    host.loop.call_later(0.4, host.roaming.changed, "it has changed again")
    await asyncio.sleep(10)
    assert [call for call in host.calls if call[0] == "routes follow"] == [
        ("routes follow", 0.0),
        ("routes follow", 0.4),
    ]
    assert host.calls[-1] == ("connects again", pytest.approx(0.4 + sum(PROBES)))
