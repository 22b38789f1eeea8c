"""What instances that no longer run have left on this host, and taking it back by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from vpnrs_core.errors import HostError
from vpnrs_core.host.journal import Journal
from vpnrs_core.host.kinds import from_record
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rundir import JOURNAL, RunDir, base_directory, running_pid
from vpnrs_core.host.undo import undo_all


@dataclass(frozen=True)
class Leftover:
    """`changes` in words; `elsewhere`: they are in another network namespace, and can be taken back only from there."""

    instance: str
    changes: tuple[str, ...]
    elsewhere: bool


def leftovers() -> list[Leftover]:
    """Of all instances in the run directory that do not run. Raises HostError when it may not be read."""
    found = []
    for path in sorted(base_directory().glob(f"*/{JOURNAL}")):
        name = path.parent.name
        if running_pid(name) is None:
            journal = Journal(path)
            changes = tuple(str(from_record(entry.change)) for entry in journal.pending)
            if changes and not journal.rebooted:
                found.append(Leftover(name, changes, journal.foreign))
    return found


def clear(instance: str) -> list[str]:
    """Undo what that instance left, a kill switch included → what was undone, in words. Raises HostError."""
    if not any(each.instance == instance for each in leftovers()):
        return []
    return asyncio.run(_clear(instance))


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
                return await undo_all(netlink, journal)
        finally:
            journal.close()
