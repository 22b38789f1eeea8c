"""What a change to a host is, and the simple kinds: each knows how it is made, taken back and recognised as ours.

Undoing is idempotent and touches only what the change itself made. A new kind is a class and a line in host/kinds.py.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from vpnrs_core.errors import HostError
from vpnrs_core.host.netlink import ROUTE_PROTOCOL, Netlink
from vpnrs_core.interfaces.common import Address, Network

_PROC_SYS: Final = Path("/proc/sys")


class Change(abc.ABC):
    """One change. `record` is what the journal keeps, `from_record` its inverse (KeyError, ValueError: damaged)."""

    KIND: ClassVar[str]

    @property
    def outlives_a_crash(self) -> bool:
        """Neither the guard nor the next start takes it back, only an end in order, `vpnrs stop` or the doctor."""
        return False

    @abc.abstractmethod
    def record(self) -> dict[str, Any]: ...
    @classmethod
    @abc.abstractmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self: ...
    @abc.abstractmethod
    async def apply(self, netlink: Netlink) -> None: ...
    @abc.abstractmethod
    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        """`resumed`: an earlier undoing was cut short, and may have done a part."""

    @abc.abstractmethod
    async def is_ours(self, netlink: Netlink) -> bool:
        """It is in force, and bears our mark."""

    @abc.abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class AddAddress(Change):
    """An address on an interface of ours. The mark is the interface: name and index together are never used again
    before the next boot."""

    KIND: ClassVar[str] = "address"
    interface: str
    index: int
    address: Address
    prefixlen: int

    def record(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "interface": self.interface,
            "index": self.index,
            "address": str(self.address),
            "prefixlen": self.prefixlen,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        address = ip_address(record["address"])
        return cls(str(record["interface"]), int(record["index"]), address, int(record["prefixlen"]))

    async def apply(self, netlink: Netlink) -> None:
        await netlink.add_address(self.index, self.address, self.prefixlen)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        if await self.is_ours(netlink):
            await netlink.remove_address(self.index, self.address, self.prefixlen)

    async def is_ours(self, netlink: Netlink) -> bool:
        wanted = (self.interface, self.index, self.address, self.prefixlen)
        return any(wanted == (a.interface, a.index, a.address, a.prefixlen) for a in await netlink.addresses())

    def __str__(self) -> str:
        return f"address {self.address}/{self.prefixlen} on {self.interface}"


@dataclass(frozen=True)
class AddRoute(Change):
    """A route into an interface of ours. The mark is the route protocol number."""

    KIND: ClassVar[str] = "route"
    network: Network
    interface: str
    index: int

    def record(self) -> dict[str, Any]:
        return {"kind": self.KIND, "network": str(self.network), "interface": self.interface, "index": self.index}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        return cls(ip_network(record["network"]), str(record["interface"]), int(record["index"]))

    async def apply(self, netlink: Netlink) -> None:
        await netlink.add_route(self.network, self.index)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        # The kernel compares network, interface and protocol number: nobody else's route fits.
        await netlink.remove_route(self.network, self.index)

    async def is_ours(self, netlink: Netlink) -> bool:
        wanted = (self.network, self.index, ROUTE_PROTOCOL)
        return any(wanted == (r.network, r.index, r.protocol) for r in await netlink.routes())

    def __str__(self) -> str:
        return f"route {self.network} into {self.interface}"


@dataclass(frozen=True)
class SetSysctl(Change):
    """A kernel setting, `key` as a path below /proc/sys. A setting has no room for a mark: ours it is while it has the
    value that we gave it, and had another before.

    `beside` are settings that the kernel changes along with it, with the values they had."""

    KIND: ClassVar[str] = "sysctl"
    key: str
    value: str
    before: str
    beside: Mapping[str, str]

    @classmethod
    def of(cls, key: str, value: str, beside: Sequence[str] = ()) -> Self | None:
        """`beside` names what the kernel changes along with it. None: the key has that value already.

        Raises HostError when there is no such setting."""
        before = read_sysctl(key)
        if before is None:
            raise HostError(f"this kernel has no setting {key.replace('/', '.')}: is the address family disabled?")
        if before == value:
            return None
        return cls(key, value, before, {name: now for name in beside if (now := read_sysctl(name)) is not None})

    def record(self) -> dict[str, Any]:
        record = {"kind": self.KIND, "key": self.key, "value": self.value, "before": self.before}
        return {**record, "beside": dict(self.beside)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        beside = {str(key): str(value) for key, value in record["beside"].items()}
        return cls(str(record["key"]), str(record["value"]), str(record["before"]), beside)

    async def apply(self, netlink: Netlink) -> None:
        write_sysctl(self.key, self.value)

    async def undo(self, netlink: Netlink, resumed: bool = False) -> None:
        if await self.is_ours(netlink):
            write_sysctl(self.key, self.before)
        elif not (resumed and read_sysctl(self.key) == self.before):
            return  # changed by someone else since, or gone with its interface
        for key, value in self.beside.items():
            if read_sysctl(key) not in (None, value):
                write_sysctl(key, value)

    async def is_ours(self, netlink: Netlink) -> bool:
        return read_sysctl(self.key) == self.value != self.before

    def __str__(self) -> str:
        return f"{self.key.replace('/', '.')} = {self.value} (was {self.before})"


def boot_id() -> str:
    """Another one after each start of this host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_sysctl(key: str) -> str | None:
    """The value in this thread's network namespace, None: there is no such setting."""
    try:
        return (_PROC_SYS / key).read_text().strip()
    except OSError:
        return None


def write_sysctl(key: str, value: str) -> None:
    """Raises HostError."""
    try:
        (_PROC_SYS / key).write_text(value)
    except OSError as error:
        raise HostError(
            f"cannot set {key.replace('/', '.')} = {value}: {error.strerror}; run as root, or set it beforehand "
            f"with 'sysctl -w {key.replace('/', '.')}={value}'"
        ) from error


def list_sysctls(pattern: str) -> list[str]:
    """Keys below /proc/sys that a glob pattern names."""
    return sorted(str(path.relative_to(_PROC_SYS)) for path in _PROC_SYS.glob(pattern))
