"""The journal: what was changed on this host, written before and after, so that it can be undone by anyone later.

One JSON object a line. The first names the boot and the network namespace that the changes are in. Then for each
change `intend` before it is made, `done` after, `undoing` before it is taken back and `undone` after:

    {"journal": 1, "boot": "…", "namespace": "…"}
    {"intend": 1, "change": {"kind": "route", "network": "10.8.0.0/16", …}}
    {"done": 1}
    {"undoing": 1}
    {"undone": 1}

/run is memory: a line that `write` has taken survives the end of the process, SIGKILL included, without fsync.
"""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vpnrs_core.errors import HostError
from vpnrs_core.host.changes import boot_id

_VERSION: Final = 1
# A journal is written anew when this many of its lines tell of what has been undone.
_DEAD_LINES: Final = 512
# Of a hundred thousand changes. A device or a pipe may have no end.
MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Entry:
    """A change that has not been undone. `done` False: nobody knows whether it was made; `undoing` True: its undoing
    has begun."""

    number: int
    change: Mapping[str, Any]
    done: bool = False
    undoing: bool = False


@dataclass(frozen=True)
class Replayed:
    """What a journal's lines say. `scope` is (boot, namespace); `entries` are oldest first."""

    scope: tuple[str, str] | None
    entries: list[Entry]
    last: int


def replay(lines: Iterable[str]) -> Replayed:
    """Raises ValueError("line N: …"). A last line that was cut off, as by a full disk, is no error: what it would
    have said had not been acted on."""
    scope: tuple[str, str] | None = None
    entries: dict[int, Entry] = {}
    last = 0
    for position, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        try:
            record = json.loads(line)
            if "journal" in record:
                scope = (str(record["boot"]), str(record["namespace"]))
            elif "intend" in record:
                last = max(last, number := int(record["intend"]))
                entries[number] = Entry(number, dict(record["change"]))
            elif "done" in record:
                entries[record["done"]] = replace(entries[record["done"]], done=True)
            elif "undoing" in record:
                entries[record["undoing"]] = replace(entries[record["undoing"]], undoing=True)
            else:
                del entries[record["undone"]]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"line {position}: not a journal record ({str(error)[:200]})") from error
    return Replayed(scope, list(entries.values()), last)


def read(path: Path) -> Replayed:
    """Raises OSError, and ValueError for what is no journal or longer than one gets."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MiB")
    return replay(io.StringIO(raw.decode(), newline="\n"))


def current_scope() -> tuple[str, str]:
    """This boot and this thread's network namespace: what a journal's changes are in."""
    namespace = os.stat("/proc/thread-self/ns/net")
    return boot_id(), f"{namespace.st_dev}:{namespace.st_ino}"


class Journal:
    """The journal file of an instance. It is made with the first entry and removed when nothing is left to undo."""

    def __init__(self, path: Path, scope: tuple[str, str] | None = None) -> None:
        """Reads what is there. Raises HostError when it cannot be read or understood."""
        self._path = path
        self._scope = scope or current_scope()
        self._fd = -1
        self.foreign = self.rebooted = False
        entries: list[Entry] = []
        self._last = 0
        try:
            found = read(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise HostError(
                f"{path}: cannot be read as a journal: {error}; look with 'ip route show proto 157' for what the last "
                f"run left, then remove the file"
            ) from error
        else:
            entries, self._last = found.entries, found.last
            # After a reboot nothing of it exists; in another namespace it is not for us to touch.
            self.foreign = bool(entries) and found.scope != self._scope
            self.rebooted = self.foreign and (found.scope or self._scope)[0] != self._scope[0]
        self._entries = {entry.number: entry for entry in entries}
        self._lines = 1 + 3 * len(entries)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def scope(self) -> tuple[str, str]:
        """The boot and the network namespace of the changes to come."""
        return self._scope

    @property
    def pending(self) -> list[Entry]:
        """What has not been undone, newest first: the order to undo it in."""
        return sorted(self._entries.values(), key=lambda entry: -entry.number)

    def intend(self, change: Mapping[str, Any]) -> int:
        """Before a change → its number."""
        self._last += 1
        self._entries[self._last] = Entry(self._last, change)
        self._write({"intend": self._last, "change": change})
        return self._last

    def done(self, number: int) -> None:
        self._entries[number] = replace(self._entries[number], done=True)
        self._write({"done": number})

    def undoing(self, number: int) -> None:
        self._entries[number] = replace(self._entries[number], undoing=True)
        self._write({"undoing": number})

    def undone(self, number: int) -> None:
        del self._entries[number]
        self._write({"undone": number})
        if self._lines > _DEAD_LINES + 3 * len(self._entries):
            self._rewrite()

    def forget(self) -> None:
        """Take everything in it for gone."""
        self._entries.clear()
        self.close()

    def close(self) -> None:
        """The file is removed when nothing is left to undo."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._entries:
            self._path.unlink(missing_ok=True)
            self._lines = 1

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            if self._fd < 0:
                self._rewrite()  # it holds what the record says already
                return
            line = _line(record)
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # What comes after a line that was cut off could not be read again: the next record begins a new file.
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            raise HostError(f"the journal {self._path} cannot be written: {error.strerror}") from error
        self._lines += 1

    def _rewrite(self) -> None:
        """Put a journal of only what is pending in the file's place, in one step."""
        boot, namespace = self._scope
        lines = [_line({"journal": _VERSION, "boot": boot, "namespace": namespace})]
        for entry in self._entries.values():
            lines.append(_line({"intend": entry.number, "change": entry.change}))
            if entry.done:
                lines.append(_line({"done": entry.number}))
            if entry.undoing:
                lines.append(_line({"undoing": entry.number}))
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            data = b"".join(lines)
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(fresh, self._path)
        except OSError:
            os.close(fd)
            fresh.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._lines = len(lines)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
