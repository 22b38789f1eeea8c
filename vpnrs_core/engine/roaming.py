"""What a client does when its host's network has changed or the host has slept: it does not wait for a timeout.

Routes and pins follow the network first. Then a connection that stands is probed, and given up when nothing comes
back; one that is being made is begun again; a wait for the next attempt ends, unless the server asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from vpnrs_core.engine.backoff import Pause
from vpnrs_core.engine.containment import describe
from vpnrs_core.errors import PeerError, VpnrsError
from vpnrs_core.interfaces import LinkControl, Probes

log = logging.getLogger("vpnrs.client")

# Seconds between the probes of one round, and after the last one: a lost packet is no lost network.
PROBES = (0.2, 0.3, 0.7)
# Seconds from an answer to the next round. A server answers at once, and then asks whether the new path carries more:
# where its question or the answer to that is lost, it goes back to the old address. An engine that asks again does so
# within that time.
SETTLED = 2.0

T = TypeVar("T")


class Follows(Protocol):
    """What follows the network (engine.tunnel.Tunnel)."""

    async def refresh(self) -> None: ...


def _since_boot() -> float:
    """Seconds, those that the host sleeps included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Roaming:
    """One client's. `standing` → the control of the link that is up and a way to give it up, None: there is none.
    `since_boot` is a clock that goes on while the host sleeps."""

    def __init__(
        self,
        tunnel: Follows,
        standing: Callable[[], tuple[LinkControl, Callable[[str], None]] | None],
        since_boot: Callable[[], float] = _since_boot,
    ) -> None:
        self._tunnel = tunnel
        self._since_boot = since_boot
        self._standing = standing
        self._task: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[bool] | None = None
        self._dialling: asyncio.Future[Any] | None = None
        self._hurry = asyncio.Event()
        self._what = self._why = ""
        self._quietly = self._stopped = False

    def changed(self, what: str) -> None:
        """The host's network has, or it has slept."""
        self._what = what
        self._begin()

    def tun_changed(self) -> None:
        """Somebody has set the TUN down or up: the network is as it was."""
        self._quietly = True
        self._begin()

    async def stop(self) -> None:
        """A change that is being followed is followed to its end: half of it would be remembered by nobody."""
        self._stopped = True
        if self._probing is not None:
            self._probing.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        """One change is followed to its end before the next is; a probe is not waited for."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif self._probing is not None:
            self._probing.cancel()

    async def wait(self, pause: Pause) -> None:
        """Until its end, or until a change makes an attempt worth while; what the server asked for passes first,
        awake or asleep."""
        loop = asyncio.get_running_loop()
        end, asked_until = loop.time() + pause.seconds, self._since_boot() + pause.least
        changed = await self._changes_before(end)
        while changed and loop.time() < end and (left := asked_until - self._since_boot()) > 0:
            self._hurry.clear()
            await self._changes_before(min(end, loop.time() + left))
        self._hurry.clear()

    async def _changes_before(self, end: float) -> bool:
        """Wait until then (loop time) at most → whether the network has changed."""
        try:
            async with asyncio.timeout_at(end):
                return await self._hurry.wait()
        except TimeoutError:
            return False

    async def dial(self, dialled: asyncio.Future[T]) -> T:
        """The result of dialling. Raises PeerError when the network changed under it."""
        self._hurry.clear()
        self._dialling, self._why = dialled, ""
        try:
            return await dialled
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._why or (task is not None and task.cancelling()):
                raise
            raise PeerError(f"{self._why} while it was being connected") from None
        finally:
            self._dialling = None
            dialled.cancel()

    async def _run(self) -> None:
        while (self._what or self._quietly) and not self._stopped:
            what, self._what, self._quietly = self._what, "", False
            await self._follow(what or "the TUN has changed")
            if what:
                await self._react(what)

    async def _follow(self, what: str) -> None:
        try:
            await self._tunnel.refresh()
        except VpnrsError as error:
            log.error("%s, and this could not follow: %s", what, error)
        except Exception as error:
            log.error("%s, and following it failed: %s", what, describe(error))

    async def _react(self, what: str) -> None:
        if self._stopped:
            return
        self._hurry.set()
        if self._dialling is not None:
            self._why = what
            self._dialling.cancel()
            return
        standing = self._standing()
        if standing is None or not isinstance(standing[0], Probes):
            return
        self._probing = asyncio.get_running_loop().create_task(_stays(standing[0]))
        try:
            await asyncio.wait([self._probing])
            if self._probing.cancelled() or self._probing.result():
                return
        finally:
            self._probing.cancel()
            self._probing = None
        now_standing = self._standing()
        if now_standing is None or now_standing[0] is not standing[0]:
            return  # it was given up for another reason
        log.warning("%s, and the server does not answer any more: connecting again", what)
        self._hurry.set()
        standing[1](what)


async def _stays(control: Probes) -> bool:
    """It answers now, and still does when the server has made up its mind about the new path."""
    if not await _answers(control):
        return False
    await asyncio.sleep(SETTLED)
    return await _answers(control)


async def _answers(control: Probes) -> bool:
    asked = asyncio.get_running_loop().time()
    for pause in PROBES:
        control.probe()
        await asyncio.sleep(pause)
        if control.heard > asked:
            return True
    return False
