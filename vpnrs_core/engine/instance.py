"""What every instance has, server or client: the order in which its parts start, and stop again in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal, Protocol

import vpnrs_core
from vpnrs_core.config import checks
from vpnrs_core.config.models import Configuration, ServerConfig
from vpnrs_core.counters import DropCounts, Registry
from vpnrs_core.engine.bus import EventBus
from vpnrs_core.engine.client import Client
from vpnrs_core.engine.containment import FailureReporter, Owners, describe
from vpnrs_core.engine.context import PluginContext
from vpnrs_core.engine.control import answer, core_requests
from vpnrs_core.engine.datapath import Datapath
from vpnrs_core.engine.local import LocalSockets
from vpnrs_core.engine.logs import LOGGER, change_logging, log_event
from vpnrs_core.engine.needs import merge_needs
from vpnrs_core.engine.reload import Reloaded, applies_live, differences, line, taking_over
from vpnrs_core.engine.server import Server
from vpnrs_core.engine.services import ServiceRunner
from vpnrs_core.engine.status import InstanceStatus, SessionStatus, SummaryStatus, summary_of
from vpnrs_core.engine.vitals import Vitals
from vpnrs_core.engine.walk import Walk, walk
from vpnrs_core.engine.watch import Watch
from vpnrs_core.errors import ConfigError, HostError, PluginError, VpnrsError
from vpnrs_core.events import InstanceStarted, InstanceStopping
from vpnrs_core.host.guard import Guard
from vpnrs_core.host.live import look
from vpnrs_core.host.notify import Notifier
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.host.setup import HostSetup
from vpnrs_core.host.tun import Tun
from vpnrs_core.interfaces import Address, ControlRequest, Expected, HostNeeds, Sample, Seen, Session, Store
from vpnrs_core.pipeline.pipeline import Pipeline, StageSpec
from vpnrs_core.plugins.hooks import findings_of, needs_of
from vpnrs_core.plugins.load import Plugins, load_plugins
from vpnrs_core.plugins.selection import Selection, select

# A terminal that is closed is no reason to leave anything behind.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a status gathers in one turn of the loop: a few milliseconds.
_SESSIONS_A_TURN = 16


class Role(Protocol):
    """What a server does differently from a client. Each method is called once, in this order."""

    def make_pipeline(self, stages: Sequence[StageSpec]) -> Pipeline: ...
    async def start(self) -> str:
        """Bring the host up and begin to serve or connect → where, for the log."""

    async def stop(self) -> None:
        """Tell all peers, end all sessions. Called also when `start` failed half-way."""

    async def reconfigure(self, configuration: Configuration, changed: frozenset[str]) -> None:
        """Take over the new values of these keys (engine.reload.LIVE). Raises HostError."""

    def sessions(self) -> Sequence[Session]: ...
    def samples(self) -> Iterable[Sample]:
        """What only this role counts."""

    def status(self) -> Mapping[str, Any]:
        """Fields of engine.status.InstanceStatus: state, and server or client without sessions."""

    def session_statuses(self, brief: bool) -> Iterator[dict[str, Any]]:
        """Fields of SessionStatus, of the sessions that are there when each is asked for."""

    def expected(self) -> Expected:
        """What must hold of the host and answer through the tunnel, for `vpnrs doctor --live`."""


class Instance:
    """One run of one configuration. `run` returns when it has been stopped, or raises what made it impossible."""

    def __init__(
        self,
        configuration: Configuration,
        enable: Sequence[str],
        block: Sequence[str],
        reread: Callable[[], Configuration] | None = None,
    ) -> None:
        """`reread` reads the configuration anew, None: it came from nowhere."""
        self.configuration = configuration
        self.role: Literal["server", "client"] = configuration.role
        self.name = configuration.instance
        self.started_at = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self.bus = EventBus()
        self.reporter = FailureReporter(self.bus)
        self.counters = Registry()
        self.drops = DropCounts(self._undeclared_reason)
        self.vitals = Vitals(self)
        self.plugins: Plugins
        self.selection: Selection
        self.needs: HostNeeds
        self.host: HostSetup
        self.tun: Tun
        self.pipeline: Pipeline
        self.datapath: Datapath
        self.watch: Watch | None = None
        self.stopping = False
        self._enable, self._block, self._reread = enable, block, reread
        self._reloading = asyncio.Lock()
        self._stop_reason = asyncio.Event()
        self._reason = ""
        self._failure: VpnrsError | None = None
        self._part: Role | None = None
        self._handlers: dict[str, ControlRequest] = {}

    async def run(self) -> None:
        """Start, run until asked to stop, undo everything. Raises VpnrsError."""
        self.bus.listen(log_event)
        self.bus.listen(self.vitals.tally.heard)
        self.loop.set_exception_handler(self._unhandled)
        notifier = Notifier()
        async with AsyncExitStack() as stack:
            for number in STOP_SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # as nohup has it
                self.loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
                stack.callback(self.loop.remove_signal_handler, number)
            await self._started(stack)
            if self._failure is None and not self._stop_reason.is_set():
                notifier.ready(f"{self.role} {self.name}")
            await self._stop_reason.wait()
            self.stopping = True
            notifier.stopping(self._reason)
            self.bus.emit(InstanceStopping(reason=self._reason))
        if self._failure is not None:
            raise self._failure

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """A callback or a task raised: a defect. It is told like any failure, limited, and costs that turn only."""
        exc = context.get("exception")
        self.reporter.report("core", "loop", exc or str(context.get("message")), time.monotonic())

    def stop(self, reason: str) -> None:
        """Ask for a graceful end."""
        self._reason = self._reason or reason
        self._stop_reason.set()

    async def reload(self) -> Reloaded:
        """Read the configuration anew, and take over what can change while we run. Raises ConfigError when it is wrong,
        HostError when this host refuses; what has not been taken over is tried again by the next reload."""
        if self._reread is None or self._part is None:
            raise ConfigError("this instance was started without a configuration file: there is nothing to read anew")
        async with self._reloading:
            new = self._reread()
            warnings = [finding.text for finding in checks.require(new)]
            changes = differences(self.configuration, new)
            live = [key for key, (_, value) in changes.items() if applies_live(key, value)]
            target = taking_over(self.configuration, changes, live)
            if any(key.startswith("log.") for key in live):
                change_logging(target.log.level, target.log.format)
            await self._part.reconfigure(target, frozenset(live))
            self.configuration = target
        lines = {key: line(key, *values) for key, values in changes.items()}
        applied = [lines[key] for key in live]
        waiting = [text for key, text in lines.items() if key not in live]
        logging.getLogger(LOGGER).info("reloaded; applied: %s; needs a restart: %s", applied or "-", waiting or "-")
        return Reloaded(applied=applied, needs_restart=waiting, warnings=warnings)

    def fail(self, error: VpnrsError) -> None:
        """End with an error: `run` raises it after everything has been undone."""
        self._failure = self._failure or error
        self.stop(str(error))

    def blame(self, error: Exception) -> VpnrsError | None:
        """What ends the instance when a plugin's code raised `error`: in one line, with the plugin and the place. None:
        it was the core's own."""
        owners = self.reporter.owners
        plugin = None if owners is None else owners.of_error(error)
        return None if plugin is None else PluginError(f"plugin {plugin}: {describe(error)}")

    def transport_call(self, method: str) -> str:
        """`plugin x: dial`, for what the transport returned wrongly."""
        entry = self.plugins.registry.get("transports", self.configuration.transport, "transport")
        return f"plugin {entry.owner}: {method} of transport {entry.name!r}"

    async def _started(self, stack: AsyncExitStack) -> None:
        try:
            await self._start(stack)
        except VpnrsError:
            raise
        except Exception as error:
            blamed = self.blame(error)
            if blamed is None:
                raise
            raise blamed from error

    # The start, in order; each part registers its end

    async def _start(self, stack: AsyncExitStack) -> None:
        rundir = stack.enter_context(RunDir.claim(self.name))
        guard = Guard.start(rundir)
        stack.callback(guard.end)
        guard.watch()
        self.plugins = load_plugins(self.configuration, self._context, enable=self._enable, block=self._block)
        owners = self.reporter.owners = Owners(self.plugins)
        if owners.watched:
            self.watch = Watch(owners, self.bus.emit, log_event)
            self.watch.start()
            stack.callback(self.watch.stop)
        for text in self.plugins.warnings:
            logging.getLogger(LOGGER).warning(text)
        self.vitals.tally.declare(self.plugins.events)
        self._close_declarations()
        self._check_plugins()
        self.selection = select(self.configuration, self.plugins.registry)
        self.needs = merge_needs(needs_of(self.plugins.manager))
        self.host = await self.open_host(rundir)
        stack.push_async_callback(self._undo_host)
        self.tun = self.open_tun()
        stack.callback(self.tun.close)
        part = self._part = self._make_role()
        self.pipeline = part.make_pipeline(
            [StageSpec(entry.owner, entry.object) for entry in self.plugins.registry.all("packet_stages")]
        )
        for source in (self.vitals.samples, self.drops.samples, self.pipeline.samples, part.samples):
            self.counters.source(source)
        self.datapath = Datapath(
            self.tun, self.pipeline, self.drops, self.selection.scheduler, self.reporter, self.fail
        )
        stack.callback(self.datapath.stop)
        self.vitals.history.start()
        stack.callback(self.vitals.history.stop)
        await self._start_sockets(stack, rundir.path)
        tasks = [(entry.owner, entry.object) for entry in self.plugins.registry.all("services")]
        services = ServiceRunner(tasks, self.bus, self.reporter)
        stack.push_async_callback(services.stop)
        stack.push_async_callback(self.selection.transport.close)
        stack.push_async_callback(part.stop)
        where = await part.start()
        self.datapath.start()
        services.start()
        self.bus.emit(InstanceStarted(role=self.role, instance=self.name, where=where))

    # What touches the host: the test kit puts devices of its own here

    async def open_host(self, rundir: RunDir) -> HostSetup:
        return await HostSetup.open(rundir, self.bus.emit)

    def open_tun(self) -> Tun:
        return Tun.open(self.configuration.tun.name, offload=self.configuration.tun.offload)

    def _make_role(self) -> Role:
        return Server(self) if isinstance(self.configuration, ServerConfig) else Client(self)

    def _context(self, plugin: str) -> PluginContext:
        return PluginContext(plugin, self, self.loop)

    def _close_declarations(self) -> None:
        """Loading has ended: drop reasons and counters are known, nothing may be added."""
        for name, text in sorted(self.plugins.drop_reasons.items()):
            plugin, _, reason = name.partition(".")
            self.drops.declare(plugin, reason, text)
        self.drops.close()
        self.counters.close()

    def _check_plugins(self) -> None:
        findings = findings_of(self.plugins.manager, self.configuration)
        errors = [finding.text for finding in findings if finding.level == "error"]
        if errors:
            raise ConfigError("\n".join(errors))
        for finding in findings:
            logging.getLogger(LOGGER).warning(finding.text)

    def _undeclared_reason(self, reason: str) -> None:
        plugin = reason.partition(".")[0]
        known = any(loaded.name == plugin for loaded in self.plugins.loaded)
        self.reporter.report(
            plugin if known else "stages", "drop", f"reason {reason!r} was never declared", time.monotonic()
        )

    async def _start_sockets(self, stack: AsyncExitStack, directory: Path) -> None:
        self._handlers = core_requests(self)
        for entry in self.plugins.registry.all("control"):
            self._handlers[entry.name] = entry.object
        sockets = LocalSockets(directory, self._handlers)
        await sockets.start()
        stack.push_async_callback(sockets.close)

    async def _undo_host(self) -> None:
        try:
            await self.host.undo(failed=self._failure is not None)
        finally:
            await self.host.close()

    # What contexts and control requests reach

    def path(self, relative: str) -> Path:
        return self.configuration.path(relative)

    def store(self) -> Store:
        if not hasattr(self, "selection"):
            raise LookupError("the store is chosen when all plugins have loaded; use it from a service or a request")
        return self.selection.store

    def sessions(self) -> Sequence[Session]:
        return () if self._part is None else self._part.sessions()

    def route(self, address: Address) -> Session | None:
        return self.pipeline.route(address) if hasattr(self, "pipeline") else None

    async def control(self, name: str, request: Mapping[str, Any], *, by: str, write: bool) -> Any:
        """Ask a control request from inside. Raises ConfigError for an unknown name or a command without `write`."""
        if write:
            logging.getLogger(LOGGER).info("%s asks for %s", by, name)
        return await answer(self._handlers, name, request, write=write)

    def tap(self, session: str, seen: Seen) -> Callable[[], None]:
        try:
            return self.pipeline.tap(session, seen)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    async def add_link(self, transport: str, where: str, via: str | None) -> None:
        raise HostError(f"a second link to {where} cannot be added: this release carries one link a session")

    async def walk(self) -> Walk:
        """Why traffic does not flow: the path up to the first thing that is wrong."""
        probes = Expected() if self._part is None else self._part.expected()
        facts = await look(self.tun.name, probes)
        return walk(await self.status(), facts, probes)

    def _tun_mtu(self) -> int:
        """A client's grant may have made it smaller than configured."""
        return (self.pipeline.tun_mtu if hasattr(self, "pipeline") else 0) or self.configuration.tun.first_mtu

    async def status(self, *, brief: bool = False) -> InstanceStatus:
        """What holds at this moment, and then the sessions, a few in each turn of the loop: packets wait for no one
        who asks."""
        whole = InstanceStatus.model_validate(self._status())
        found: list[SessionStatus] = []
        for fields in self._part.session_statuses(brief) if self._part is not None else ():
            found.append(SessionStatus.model_validate(fields))
            if len(found) % _SESSIONS_A_TURN == 0:
                await asyncio.sleep(0)
        if whole.server is not None:
            whole.server.sessions = found
        elif whole.client is not None:
            whole.client.session = found[0] if found else None
        return whole

    def summary(self) -> SummaryStatus:
        """What everybody may ask for as often as he likes: it costs the same with a thousand sessions."""
        return summary_of(InstanceStatus.model_validate(self._status()), len(self.sessions()))

    def _status(self) -> dict[str, Any]:
        """Fields of engine.status.InstanceStatus, without sessions."""
        part = dict(self._part.status()) if self._part is not None else {}
        if self.stopping or self._part is None:
            part["state"] = "stopping" if self.stopping else "starting"
        return {
            "role": self.role,
            "instance": self.name,
            "version": vpnrs_core.__version__,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self.started_at, 3),
            "transport": self.configuration.transport,
            "plugins": [
                {
                    "name": p.name,
                    "version": p.version,
                    "failures": self.reporter.counts.get(p.name, 0),
                    "slow": 0 if self.watch is None else self.watch.judgement.counts.get(p.name, 0),
                }
                for p in self.plugins.loaded
            ],
            "tun": {
                "name": self.tun.name,
                "mtu": self._tun_mtu(),
                "offloads": sorted(self.tun.offloads),
                "frames_read": self.tun.moved.frames_read,
                "frames_written": self.tun.moved.frames_written,
            },
            "drops": self.drops.nonzero(),
            **(self.vitals.status() if hasattr(self, "pipeline") else {}),
            **part,
        }
