"""Notices what may have cut the tunnel: a change of the host's links, addresses or routes, and sleep."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

from vpnrs_core.host.netlink import ROUTE_PROTOCOL

# <linux/rtnetlink.h>: groups as bits, and the messages that come in them.
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_IFADDR, _RTMGRP_IPV6_ROUTE = 1, 16, 64, 256, 1024
_GROUPS: Final = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV6_ROUTE
_LINKS: Final = frozenset({16, 17})  # RTM_NEWLINK, RTM_DELLINK
_ADDRESSES: Final = frozenset({20, 21})  # RTM_NEWADDR, RTM_DELADDR
_ROUTES: Final = frozenset({24, 25})  # RTM_NEWROUTE, RTM_DELROUTE
_RTA_OIF: Final = 4
_HEADER: Final = struct.Struct("=IHHII")

# Seconds. A network that changes changes in several steps: we look when it has been quiet for a moment, and at the
# latest after so long.
_QUIET: Final = 0.05
_LATEST: Final = 0.3
# How often the clocks are compared, and from when on a difference is sleep: the machine's (CLOCK_BOOTTIME goes on,
# CLOCK_MONOTONIC does not), or this process's (its timer is late).
_TICK: Final = 1.0
_SLEPT: Final = 2.0


class Watch:
    """Calls `changed(what)` in the running loop, some time after it happened, and `tun_changed()` when it is the TUN,
    `own` its index, that somebody has changed: set down, say, which takes its routes away."""

    def __init__(self, own: int, changed: Callable[[str], None], tun_changed: Callable[[], None]) -> None:
        self._own = own
        self._changed = changed
        self._tun_changed = tun_changed
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _GROUPS))
        self._loop.add_reader(self._socket, self._readable)
        self._due: asyncio.TimerHandle | None = None
        self._first = 0.0
        self._asleep, self._ticked = _asleep(), self._loop.time()
        self._tick = self._loop.call_later(_TICK, self._compare)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._tick.cancel()
        if self._due is not None:
            self._due.cancel()

    def _readable(self) -> None:
        relevant = own = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: so much has changed that some of it was not told
                relevant = True
                continue
            for kind, body in messages(data):
                relevant = relevant or self._concerns(kind, body)
                own = own or (kind in _LINKS and _index(body) == self._own)
        if relevant:
            self._note()
        elif own:
            self._tun_changed()

    def _concerns(self, kind: int, body: bytes) -> bool:
        if kind in _LINKS | _ADDRESSES:
            return _index(body) != self._own
        # rtmsg: the protocol at byte 5. When the kernel takes a route of ours away, a link has changed as well.
        # The kernel's own routes by the TUN come with its addresses.
        return kind in _ROUTES and body[5] != ROUTE_PROTOCOL and _outgoing(body) != self._own

    def _note(self) -> None:
        now = self._loop.time()
        if self._due is None:
            self._first = now
        else:
            self._due.cancel()
        self._due = self._loop.call_at(min(now + _QUIET, self._first + _LATEST), self._tell, "the network has changed")

    def _tell(self, what: str) -> None:
        self._due = None
        self._changed(what)

    def _compare(self) -> None:
        now, asleep = self._loop.time(), _asleep()
        if asleep - self._asleep > _SLEPT or now - self._ticked > _TICK + _SLEPT:
            self._tell("this host has slept")
        self._asleep, self._ticked = asleep, now
        self._tick = self._loop.call_later(_TICK, self._compare)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of the netlink messages in what one read brought."""
    place = 0
    with contextlib.suppress(struct.error):
        while place + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, place)
            if length < _HEADER.size:
                return
            yield kind, data[place + _HEADER.size : place + length]
            place += (length + 3) & ~3


def _index(body: bytes) -> int:
    """The interface of ifinfomsg and ifaddrmsg: both have it at byte 4."""
    return int(struct.unpack_from("=i", body, 4)[0])


def _outgoing(body: bytes) -> int:
    """The outgoing interface of a route, 0: it names none. rtmsg has 12 bytes, its attributes follow."""
    place = 12
    while place + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, place)
        if kind == _RTA_OIF and length == 8:
            return int(struct.unpack_from("=i", body, place + 4)[0])
        place += max(4, (length + 3) & ~3)
    return 0


def _asleep() -> float:
    """Seconds that this machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
