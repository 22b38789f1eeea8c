"""Settings that several instances need alike: who comes later takes over what the first one found, and the last of them
that lives puts it back. They know of each other by their journals, side by side in the run directory."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vpnrs_core.host.changes import SetSysctl
from vpnrs_core.host.journal import Entry, Journal, read
from vpnrs_core.host.rundir import JOURNAL, is_held

log = logging.getLogger("vpnrs.host")

# Seconds. A turn takes a millisecond; whoever was stopped in the middle of its own keeps nobody from ending.
_PATIENCE: Final = 2.0


@contextlib.contextmanager
def turn(journal: Journal) -> Iterator[None]:
    """No other instance looks at a shared setting, or changes one, meanwhile. The lock is the run directory itself:
    there is no file to be left."""
    try:
        fd = os.open(journal.path.parent.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        log.warning("%s cannot be locked against other instances: %s", error.filename, error.strerror)
        yield
        return
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def set_sysctl(journal: Journal, change: SetSysctl | None, key: str, value: str) -> SetSysctl | None:
    """What is to be made of `change`, which SetSysctl.of has said: with the values that an earlier instance found, if
    it is that one's doing that the key has its value. To be asked in a turn."""
    if change is None and any(_alike(entry, key, value) for entry in journal.pending):
        return None  # ours already
    for _, entry in _others(journal):
        if not _alike(entry, key, value):
            continue
        found = SetSysctl.from_record(entry.change)
        # One that was cut short while it put things back has not put back all of what comes along with the key.
        if change is None or (entry.undoing and change.before == found.before):
            return found
    return change


def needed_by(journal: Journal, change: SetSysctl) -> str:
    """The instance that runs and needs that setting as well, "": none does. To be asked in a turn."""
    for path, entry in _others(journal):
        if _alike(entry, change.key, change.value) and not entry.undoing and is_held(path.parent):
            return path.parent.name
    return ""


def _alike(entry: Entry, key: str, value: str) -> bool:
    change = entry.change
    return (change.get("kind"), change.get("key"), change.get("value")) == (SetSysctl.KIND, key, value)


def _others(journal: Journal) -> Iterator[tuple[Path, Entry]]:
    """What the journals of other instances in this network namespace tell of."""
    for path in sorted(journal.path.parent.parent.glob(f"*/{JOURNAL}")):
        if path == journal.path:
            continue
        try:
            found = read(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("whether instance %s needs this host's settings is not known: %s", path.parent.name, error)
            continue
        if found.scope == journal.scope:
            yield from ((path, entry) for entry in found.entries)


def _lock(fd: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                log.warning("another instance has been changing this host's settings for %g s; going on", _PATIENCE)
                return
            time.sleep(0.005)
