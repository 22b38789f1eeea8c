"""The DNS servers that a tunnel brings, put where the resolver looks: systemd-resolved, resolvconf, or the file.

Each is undone exactly, and left alone when somebody else has changed it meanwhile.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.host.changes import Change, boot_id
from vpnrs_core.host.netlink import Netlink
from vpnrs_core.host.resolv_conf import MARK, former, with_servers
from vpnrs_core.interfaces.common import Address

RESOLV_CONF: Final = Path("/etc/resolv.conf")
_RESOLVED: Final = "/run/systemd/resolve/"
# Where systemd-resolved listens: a resolv.conf that names it asks it, however the file came about.
_STUBS: Final = ("127.0.0.53", "127.0.0.54")
# What only Debian's resolvconf has, and the file that it writes.
_DEBIANS: Final = Path("/etc/resolvconf/update.d/libc")
_DEBIANS_FILE: Final = "/run/resolvconf/resolv.conf"
_SECONDS: Final = 10.0


@dataclass(frozen=True)
class LinkDns(Change):
    """By systemd-resolved, for the TUN's link; with the link it dies. `domains` empty: all names are asked there."""

    KIND: ClassVar[str] = "resolvectl"
    interface: str
    index: int
    servers: tuple[str, ...]
    domains: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "interface": self.interface,
            "index": self.index,
            "servers": list(self.servers),
            "domains": list(self.domains),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        lists = (tuple(map(str, record[key])) for key in ("servers", "domains"))
        return cls(str(record["interface"]), int(record["index"]), *lists)

    async def apply(self, netlink: Netlink) -> None:
        _run("resolvectl", "dns", self.interface, *self.servers)
        _run("resolvectl", "domain", self.interface, *[f"~{domain}" for domain in self.domains or (".",)])
        _run("resolvectl", "default-route", self.interface, "false" if self.domains else "true")

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        if await self.is_ours(netlink):
            _run("resolvectl", "revert", self.interface)

    async def is_ours(self, netlink: Netlink) -> bool:
        link = await netlink.link(self.interface)
        return link is not None and link.index == self.index

    def __str__(self) -> str:
        return f"DNS {', '.join(self.servers)} for {', '.join(self.domains) or 'all names'}, by resolvectl"


@dataclass(frozen=True)
class ResolvconfDns(Change):
    """By resolvconf, Debian's or openresolv. The mark is the record's name, which has the TUN's in it."""

    KIND: ClassVar[str] = "resolvconf"
    name: str
    servers: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        return {"kind": self.KIND, "name": self.name, "servers": list(self.servers)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        return cls(str(record["name"]), tuple(map(str, record["servers"])))

    async def apply(self, netlink: Netlink) -> None:
        text = "".join(f"nameserver {server}\n" for server in self.servers)
        # openresolv: before all others (-m 0), and instead of them (-x). Debian's takes its order from the name.
        _run("resolvconf", "-a", self.name, "-m", "0", "-x", text=text)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        _run("resolvconf", "-d", self.name, "-f")

    async def is_ours(self, netlink: Netlink) -> bool:
        return True

    def __str__(self) -> str:
        return f"DNS {', '.join(self.servers)} for all names, by resolvconf"


@dataclass(frozen=True)
class ResolvConfFile(Change):
    """By writing the file, in place: it may be mounted over, as in containers, or a link to somewhere else. Ours it is
    while it holds what we wrote."""

    KIND: ClassVar[str] = "resolv.conf"
    path: str
    before: str | None  # None: there was no such file
    after: str

    def record(self) -> dict[str, Any]:
        return {"kind": self.KIND, "path": self.path, "before": self.before, "after": self.after}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        before = record["before"]
        return cls(str(record["path"]), None if before is None else str(before), str(record["after"]))

    async def apply(self, netlink: Netlink) -> None:
        _overwrite(self.path, self.after)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        if self.before is None:
            if await self.is_ours(netlink):
                _remove(self.path)
        elif await self.is_ours(netlink) or (resumed and _read(self.path) == _tail(self.before, self.after)):
            _overwrite(self.path, self.before)

    async def is_ours(self, netlink: Netlink) -> bool:
        # A process that was killed between writing and cutting leaves the end of the former content.
        return self.after != self.before and _read(self.path) in (self.after, _tail(self.after, self.before or ""))

    def __str__(self) -> str:
        return f"DNS for all names, in {self.path}"


def dns_change(
    servers: Sequence[Address], domains: Sequence[str], interface: str, index: int, instance: str
) -> tuple[Change | None, str]:
    """The change that this host's resolver needs, None: it cannot be made, and what to warn of, empty: nothing."""
    texts = tuple(map(str, servers))
    if asks_resolved() and shutil.which("resolvectl"):
        return LinkDns(interface, index, texts, tuple(domains)), ""
    warning = ""
    if domains:
        warning = (
            f"this host's resolver cannot ask different servers for different domains, so {', '.join(texts)} is asked "
            f"for all names, not for {', '.join(domains)} alone; systemd-resolved can ('apt-get install "
            "systemd-resolved')"
        )
    if has_resolvconf():
        return ResolvconfDns(f"tun.{interface}", texts), warning
    # Where it is a link, what it leads to: a link to nowhere is not ours to take away.
    path = os.path.realpath(RESOLV_CONF)
    before = _content(path)
    if (before or "").startswith(MARK):
        # Two that put back each other's content would leave the one's for good.
        owner = (before or "").removeprefix(MARK).partition(";")[0]
        return None, f"{RESOLV_CONF} has the servers of vpnrs instance {owner}, so {', '.join(texts)} is not asked"
    return ResolvConfFile(path, before, with_servers(before, texts, instance, boot_id())), warning


def from_an_earlier_boot() -> str:
    """The instance whose servers stand in the file since before this host was started, "": none. Its journal, which is
    in memory, has gone with the power; the file has not."""
    found = former(_read(str(RESOLV_CONF)) or "")
    return found.instance if found is not None and found.boot != boot_id() else ""


def put_back() -> str:
    """Undo what `from_an_earlier_boot` says → what was undone, in words, "": nothing. Raises HostError."""
    found = former(_read(str(RESOLV_CONF)) or "")
    if found is None or found.boot == boot_id():
        return ""
    path = os.path.realpath(RESOLV_CONF)
    if found.before is None:
        _remove(path)
    else:
        _overwrite(path, found.before)
    return f"DNS for all names, in {path}, by instance {found.instance} before this host was started"


def asks_resolved() -> bool:
    """Whether names are resolved by systemd-resolved here."""
    if os.path.realpath(RESOLV_CONF).startswith(_RESOLVED):
        return True
    lines = map(str.split, (_read(str(RESOLV_CONF)) or "").splitlines())
    return any(line[:1] == ["nameserver"] and line[1:2] and line[1] in _STUBS for line in lines)


def has_resolvconf() -> bool:
    """Whether what a resolvconf is told ends up in the file. One that is resolvectl in disguise counts as none; so does
    Debian's, where the file is not its own: it takes servers all the same, and nobody asks them."""
    command = shutil.which("resolvconf")
    if command is None or os.path.basename(os.path.realpath(command)) == "resolvectl":
        return False
    return not _DEBIANS.exists() or os.path.realpath(RESOLV_CONF) == _DEBIANS_FILE


def _content(path: str) -> str | None:
    """None: there is no such file. Raises HostError when it cannot be read: what it holds could not be put back."""
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(
            f"{path} cannot be read: {error.strerror}; let this process read it, or set accept_dns = false"
        ) from error


def _read(path: str) -> str | None:
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None


def _remove(path: str) -> None:
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"{path} cannot be removed: {error.strerror}") from error


def _tail(written: str, under: str) -> str:
    """What stands in a file when `written` was put over the beginning of `under`, and not cut off yet."""
    data, below = _encoded(written), _encoded(under)
    return (data + below[len(data) :]).decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _overwrite(path: str, text: str) -> None:
    data = _encoded(text)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)
    except OSError as error:
        # What the permissions allow and the kernel does not.
        fixed = f" (immutable? 'chattr -i {path}' mends that)" if error.errno == errno.EPERM else ""
        raise HostError(
            f"{path} cannot be written: {error.strerror}{fixed}; let this process write it, or set accept_dns = false"
        ) from error


def _run(*command: str, text: str | None = None) -> None:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"'{' '.join(command)}' could not be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise HostError(f"'{' '.join(command)}' failed: {said}")
