"""Taking back what a journal tells of: at the end of an instance, and by the next start after a crash."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from vpnrs_core.errors import HostError
from vpnrs_core.events import HostChanged
from vpnrs_core.host import dns, shared
from vpnrs_core.host.changes import Change, SetSysctl
from vpnrs_core.host.journal import Entry, Journal
from vpnrs_core.host.kinds import from_record
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.rulesets import KILL_SWITCH

log = logging.getLogger("vpnrs.host")

Observe = Callable[[HostChanged], None]


async def undo_all(
    netlink: Netlink,
    journal: Journal,
    observe: Observe | None = None,
    *,
    crashed: bool = False,
    only_outliving: bool = False,
) -> list[str]:
    """Undo in reverse what the journal holds → what was undone, in words. `crashed`: what is to outlive a crash stays,
    in force and in the journal; `only_outliving`: nothing else is undone.

    What is only intended is touched only if it bears our mark. One that cannot be undone stays in the journal and
    keeps none of the others; then HostError says which. Nor does a journal that cannot be written (a disk that is full)
    keep anything from being undone."""
    undone: list[str] = []
    failures: list[str] = []
    # The kill switch goes last, however often it was renewed.
    for entry in sorted(journal.pending, key=lambda entry: entry.change.get("purpose") == KILL_SWITCH):
        try:
            change = from_record(entry.change)
            if (crashed and change.outlives_a_crash) or (only_outliving and not change.outlives_a_crash):
                continue
            with shared.turn(journal) if isinstance(change, SetSysctl) else contextlib.nullcontext():
                in_force = await _undo(netlink, journal, entry, change)
                _note(journal.undone, entry.number)
        except HostError as error:
            failures.append(str(error))
            continue
        if in_force:
            undone.append(str(change))
            if observe is not None:
                observe(HostChanged(what=str(change), undone=True))
    if failures:
        raise HostError("not everything could be undone on this host: " + "; ".join(failures))
    return undone


async def _undo(netlink: Netlink, journal: Journal, entry: Entry, change: Change) -> bool:
    """→ whether there was something to take back, and nobody else needs it."""
    if not (entry.done or entry.undoing or await change.is_ours(netlink)):
        return False
    if isinstance(change, SetSysctl) and (other := shared.needed_by(journal, change)):
        log.info("%s stays: instance %s needs it, and puts it back", change, other)
        return False
    _note(journal.undoing, entry.number)
    await change.undo(netlink, resumed=entry.undoing)
    return True


def _note(write: Callable[[int], None], number: int) -> None:
    """In memory it is noted all the same; who reads the file finds too much, and may undo it again."""
    try:
        write(number)
    except HostError as error:
        log.error("%s; undoing goes on", error)


async def recover(netlink: Netlink, journal: Journal, observe: Observe | None = None) -> list[str]:
    """Before the first change of a new start: undo what the last run left → what was undone, in words. What is to
    outlive a crash stays.

    A journal of an earlier boot or of another network namespace is forgotten: its changes are not here. What a power
    cut has left, in files, is undone without one."""
    undone: list[str] = []
    if journal.foreign:
        log.warning("the journal is of another boot or network namespace: nothing of it is undone here")
        journal.forget()
    else:
        undone = await undo_all(netlink, journal, observe, crashed=True)
    try:
        undone += filter(None, [dns.put_back()])
    except HostError as error:
        log.warning("servers that a power cut left stay: %s", error)
    if undone:
        log.warning("undone what the last run left behind: %s", "; ".join(undone))
    return undone
