"""Gateways in processes of their own that share a store count and block as one, and lose no count to each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shared_store import SharedStore

from vpnrs_core.testkit.suites import StoreSuite

MOST = 60
ADMITTED = [None, None]


class TestSharedStore(StoreSuite):
    """It keeps the contract of stores, so that what holds on it holds on any other that does."""

    @pytest.fixture
    def subject(self, tmp_path, clock):
        store = SharedStore(tmp_path / "store", clock)
        yield store
        store.close()


class Process:
    """A gateway in a process. `tell` and `hear` are apart, so that two can be at work at once."""

    def __init__(self):
        command = [sys.executable, Path(__file__).with_name("gateway_process.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, *command):
        self.tell(*command)
        return self.hear()

    def end(self):
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def processes():
    both = [Process(), Process()]
    yield both
    for process in both:
        process.end()


@pytest.fixture
def gateways(processes, tmp_path):
    """Two on one new store, their monotonic clocks a day apart."""
    config = {"overall": {"failures": MOST, "window": 3600, "block": 3600}}
    for process, ahead in zip(processes, (0, 86_400), strict=True):
        process.ask("open", str(tmp_path / "store"), ahead, config)
    return processes


def test_a_credential_that_one_gateway_blocks_is_refused_by_the_other(gateways):
    one, two = gateways
    for _ in range(5):
        assert one.ask("attempt", "bad") == ADMITTED  # wrong, and told so by authentication
    code, retry_after = two.ask("attempt", "bad", True)
    assert code == "blocked"
    assert 0 < retry_after <= 900
    assert two.ask("attempt", "good", True) == ADMITTED
    assert two.ask("unblock", b"bad".hex()) == 1
    assert one.ask("attempt", "bad", True) == ADMITTED


def test_failures_at_several_gateways_add_up_and_a_success_at_any_makes_good(gateways):
    one, two = gateways
    for _ in range(2):
        assert [process.ask("attempt", "bad") for process in gateways] == [ADMITTED] * 2
    assert one.ask("attempt", "bad", True) == ADMITTED
    for _ in range(2):
        assert [process.ask("attempt", "bad") for process in gateways] == [ADMITTED] * 2
    assert two.ask("attempt", "bad") == ADMITTED
    assert [process.ask("attempt", "bad", True)[0] for process in gateways] == ["blocked"] * 2


def test_gateways_that_count_at_once_lose_no_count(gateways):
    """One failure less than begin a block begin none; one more does, at both."""
    one, two = gateways
    one.tell("fail", MOST // 2, "one")
    two.tell("fail", MOST // 2 - 1, "two")
    assert [process.hear() for process in gateways] == [0, 0]
    assert [process.ask("attempt", "good", True) for process in gateways] == [ADMITTED] * 2
    assert two.ask("fail", 1, "last") == 1
    assert [process.ask("attempt", "good", True)[0] for process in gateways] == ["blocked"] * 2


def test_gateways_whose_failures_exceed_the_limit_at_once_begin_one_block(gateways):
    for process in gateways:
        process.tell("fail", MOST, "both")
    assert sum(process.hear() for process in gateways) == 1
