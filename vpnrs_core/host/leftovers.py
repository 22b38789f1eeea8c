"""What instances that no longer run have left on this host, and taking it back by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vpnrs_core.errors import HostError
from vpnrs_core.host import dns
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.kinds import from_record
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rundir import JOURNAL, RunDir, base_directory, running_pid
from vpnrs_core.host.undo import undo_all


@dataclass(frozen=True)
class Leftover:
    """`changes` in words; `elsewhere`: they are in another network namespace, and can be taken back only from there;
    `damaged`: why nobody knows what they are, empty: it is known."""

    instance: str
    changes: tuple[str, ...]
    elsewhere: bool
    damaged: str = ""


def leftovers() -> list[Leftover]:
    """Of all instances in the run directory that do not run. Raises HostError when it may not be read."""
    found = []
    for path in sorted(base_directory().glob(f"*/{JOURNAL}")):
        name = path.parent.name
        if running_pid(name) is None:
            try:
                journal = Journal(path)
                changes = tuple(str(from_record(entry.change)) for entry in journal.pending)
            except HostError as error:
                found.append(Leftover(name, (), False, f"{path}: {error}"))
                continue
            if changes and not journal.rebooted:
                found.append(Leftover(name, changes, journal.foreign))
    if name := dns.from_an_earlier_boot():
        found.append(Leftover(name, (f"DNS for all names, in {dns.RESOLV_CONF}, since before a power cut",), False))
    return found


def clear(instance: str) -> list[str]:
    """Undo what that instance left, a kill switch included → what was undone, in words. Raises HostError."""
    of_it = [each for each in leftovers() if each.instance == instance]
    for each in of_it:
        if each.damaged:
            raise HostError(each.damaged)
    return asyncio.run(_clear(instance)) if of_it else []


async def _clear(instance: str) -> list[str]:
    with RunDir.claim(instance) as rundir:
        journal = Journal(rundir.journal)
        if journal.foreign:
            raise HostError(
                f"what instance {instance!r} left is in another network namespace: run the command in there, for "
                "example with 'ip netns exec'"
            )
        try:
            async with await Netlink.open() as netlink:
                return [*await undo_all(netlink, journal), *filter(None, [dns.put_back()])]
        finally:
            journal.close()
