"""Gateways with the plugin on them, on a clock that the test holds and on one store, the real one in memory."""

from __future__ import annotations

import itertools
import logging

from vpnrs_ratelimit.config import RateLimitConfig
from vpnrs_ratelimit.plugin import Plugin

from vpnrs_core.builtin.memory import MemoryStore
from vpnrs_core.counters import Registry
from vpnrs_core.engine.context import NamespacedStore
from vpnrs_core.interfaces import Admit, Attempt, Code, Principal
from vpnrs_core.testkit.clock import Clock

HOME = "192.0.2.1"
ALICE = Principal("alice")


class Ctx:
    """The part of interfaces.Context that the plugin uses."""

    role = "server"
    log = logging.getLogger("test")

    def __init__(self, clock, store, ahead):
        self.clock, self.ahead = clock, ahead
        self.store = NamespacedStore("ratelimit/", lambda: store)
        self.registry = Registry()
        self.events = []
        self.seed = itertools.count()

    def now(self):
        return self.clock() + self.ahead

    def wall(self):
        return 1.9e9 + self.clock()

    def random(self, n):
        return (id(self) + next(self.seed)).to_bytes(n)

    def emit(self, event):
        self.events.append(event)

    def gauge(self, name, help, labels=(), unit=""):
        return self.registry.gauge("ratelimit", name, help, labels, unit)

    def counter(self, name, help, labels=()):
        return self.registry.counter("ratelimit", name, help, labels)


class Gateway:
    """One server. `attempt` is a whole attempt, as the gate makes it."""

    def __init__(self, clock=None, store=None, ahead=0.0, **config):
        self.clock = clock or Clock()
        self.store = store if store is not None else MemoryStore(self.clock)
        self.ctx = Ctx(self.clock, self.store, ahead)
        self.plugin = Plugin(RateLimitConfig.model_validate(config), self.ctx)
        [self.check] = self.plugin.vpnrs_register_admission_checks()
        self.contributors = self.plugin.vpnrs_register_grant_contributors()
        [self.service] = self.plugin.vpnrs_register_services()
        self.requests = {r.name: r for r in self.plugin.vpnrs_register_control()}
        self.ids = itertools.count()

    async def attempt(self, credential, *, good=False, source=HOME, resumed=False, code=Code.AUTH_FAILED):
        """→ Admit, or the refusal of a check or contributor. `credential`: a fingerprint's text, None: no fingerprint.
        What authentication says is `good`, else `code`."""
        fingerprint = credential.encode() if credential is not None else None
        attempt = Attempt(str(next(self.ids)), "vpnrs/1", source, "token", fingerprint, resumed)
        answer = await self.check.before(attempt)
        if not isinstance(answer, Admit):
            await self.check.after(attempt, answer.code, False)
            return answer
        if good or resumed:
            for contributor in self.contributors:
                added = await contributor.contribute(attempt, ALICE)
                if hasattr(added, "code"):
                    await self.check.after(attempt, added.code, True)
                    return added
        authenticated = good or resumed
        await self.check.after(attempt, ALICE if authenticated else code, authenticated)
        return answer

    async def fail(self, times, credential="bad", **keys):
        for _ in range(times):
            await self.attempt(credential, **keys)

    async def is_blocked(self, credential, **keys):
        """Asks without counting: what the check says before."""
        probe = Attempt("probe", "vpnrs/1", keys.get("source", HOME), "token", credential.encode(), False)
        return not isinstance(await self.check.before(probe), Admit)

    async def ask(self, name, **request):
        handler = self.requests[name]
        return (await handler.handler(handler.model(**request))).model_dump(mode="json")

    def events(self, kind):
        return [event for event in self.ctx.events if isinstance(event, kind)]

    def samples(self):
        return {
            sample.name.removeprefix("vpnrs_ratelimit_")
            + "".join(f":{v}" for v in sample.labels.values()): sample.value
            for sample in self.ctx.registry.samples()
        }
