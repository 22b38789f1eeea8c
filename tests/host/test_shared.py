"""Several instances that turn forwarding on: each has it while it runs, and the last one leaves the host as it was."""

import itertools
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
DRIVER = Path(__file__).with_name("shared_driver.py")
# How an instance ends: at once, or with what clears it up after the other has ended.
ENDS = (("-", ""), ("!", ""), ("x", "?"))


def scripts():
    for first, second in ("AB", "BA"):
        for (one, one_later), (two, two_later) in itertools.product(ENDS, ENDS):
            late = [f"{first}{one_later}" * bool(one_later), f"{second}{two_later}" * bool(two_later)]
            yield " ".join(["A+ B+", f"{first}{one}", f"{second}{two}", *late])
    for how in "?c":
        yield f"A+ B+ Ax A{how} B-"  # cleared up while the other runs
        yield f"A+ Ax B+ A{how} B-"  # the other one starts on what a crash has left
        yield f"A+ Ax B+ B- A{how}"
    for how in "-!x":
        yield f"A+ B+ A{how} A+ B- A-"  # it comes back, and takes over what it was the first to find
        yield f"A+ B+ A{how} A+ A- B-"
    yield "A+ B+ C+ A- C- B-"
    yield "A+ B+ C+ B! A- C-"


@pytest.fixture
def driven(netns, tmp_path):
    """`driven(*arguments)` → what the driver found."""
    host, neighbour = netns.namespace("host"), netns.namespace("eth")
    netns.connect(host, neighbour, "10.203.1.0/24", "fd00:203::/64")
    # What the kernel would change along with forwarding, or needs along with it.
    host.run("ip", "-6", "route", "add", "default", "via", "fd00:203::2", "dev", "eth", "proto", "ra")
    for setting in ("net.ipv4.conf.eth.forwarding=1", "net.ipv4.conf.all.accept_redirects=0",
                    "net.ipv6.conf.default.forwarding=1"):  # fmt: skip
        host.run("sysctl", "-q", "-w", setting)
    run = tmp_path / "run"
    run.mkdir()
    return lambda *arguments: json.loads(
        host.run(sys.executable, str(DRIVER), str(run), *arguments, timeout=120).stdout
    )


def test_forwarding_is_on_while_one_needs_it_and_then_as_it_was(driven):
    lines = list(scripts())
    assert driven(*lines) == {"played": len(lines), "wrong": []}


def test_who_is_killed_at_any_step_beside_another_takes_nothing_from_it(driven):
    found = driven("steps")
    assert found["wrong"] == []
    assert found["played"] > 12
