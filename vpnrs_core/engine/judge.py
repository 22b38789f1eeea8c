"""One attempt to open a session, judged: admission checks, authentication, contributions. Everything that raises, or
takes too long, refuses: what could not be judged is never let in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from vpnrs_core.engine.containment import RAISED, FailureReporter, cancelled_by_others, describe
from vpnrs_core.errors import VpnrsError
from vpnrs_core.interfaces import (
    Accept,
    Admit,
    Attempt,
    Authenticator,
    Body,
    Challenge,
    Code,
    Contribution,
    Credential,
    Principal,
    Refuse,
    Reject,
    ServerHalf,
    Verdict,
)
from vpnrs_core.plugins.registry import Entry

T = TypeVar("T")

# Seconds that one call of a plugin may take.
DEADLINE = 5.0
# Seconds that a peer may take for one answer; the transport's handshake deadline is the outer bound.
ANSWER_DEADLINE = 10.0
MAX_ROUNDS = 4
FINGERPRINT_BYTES = 8
# What these raise may hold the credential in its text (a KeyError does), and goes to the log without it.
_SEES_CREDENTIAL = frozenset({"identify", "begin", "answer"})

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Refused(Exception):
    """Ends an attempt inside the gate."""

    def __init__(self, refuse: Refuse) -> None:
        super().__init__(refuse.detail or refuse.code.value)
        self.refuse = refuse


@dataclass
class Course:
    """How far an attempt has come: what `after` is told, whatever happens."""

    attempt: Attempt
    authenticated: bool = False


class Judge:
    """Asks the plugins, each contained and with a deadline."""

    def __init__(
        self,
        authenticators: Mapping[str, Entry],
        checks: Sequence[Entry],
        contributors: Sequence[Entry],
        fingerprint_key: bytes,
        reporter: FailureReporter,
    ) -> None:
        self._authenticators = authenticators
        self._checks = checks
        self._contributors = contributors
        self._key = fingerprint_key
        self._reporter = reporter

    def fingerprint(self, method: str, credential: Credential) -> bytes | None:
        """A keyed hash that stands for the presented credential wherever it must be named."""
        entry = self._authenticators.get(method)
        if entry is None:
            return None
        try:
            identity = entry.object.identify(credential)
        except RAISED as exc:
            self._fail(entry.owner, "identify", exc)
        if identity is None:
            return None
        if not isinstance(identity, bytes):
            self._fail(entry.owner, "identify", f"returned {type(identity).__name__}, not bytes or None")
        return hmac.new(self._key, method.encode() + b"\0" + identity, hashlib.sha256).digest()[:FINGERPRINT_BYTES]

    async def before(self, attempt: Attempt) -> None:
        """All checks, any of which may veto. Raises Refused."""
        for entry in self._checks:
            verdict = await self._call(entry.owner, "before", partial(entry.object.before, attempt))
            if isinstance(verdict, Refuse):
                raise Refused(verdict)
            if not isinstance(verdict, Admit):
                self._fail(entry.owner, "before", f"returned {type(verdict).__name__}, not Admit or Refuse")

    async def authenticate(self, course: Course, credential: Credential, channel: bytes, ask: Ask | None) -> Principal:
        """The method's rounds. Raises Refused."""
        method = course.attempt.method
        entry = self._authenticators.get(method)
        if entry is None:
            raise Refused(Refuse(Code.AUTH_REQUIRED, detail=f"method {method!r} is not accepted here"))
        authenticator: Authenticator = entry.object
        if type(credential) not in authenticator.TAKES:
            raise Refused(Refuse(Code.AUTH_REQUIRED, detail=f"method {method!r} does not take {credential!r}"))
        try:
            half = authenticator.server()
        except RAISED as exc:
            self._fail(entry.owner, "server", exc)
        hook = "begin"
        verdict = await self._call(entry.owner, hook, lambda: half.begin(course.attempt, credential, channel))
        for _ in range(MAX_ROUNDS):
            if not isinstance(verdict, Challenge):
                break
            hook = "answer"
            verdict = await self._round(course, entry, half, verdict, ask)
        return self._accepted(course, entry, hook, verdict)

    async def _round(
        self, course: Course, entry: Entry, half: ServerHalf, challenge: Challenge, ask: Ask | None
    ) -> Verdict:
        if ask is None:
            raise Refused(Refuse(Code.AUTH_FAILED, detail="the session protocol cannot carry a challenge"))
        try:
            body = await asyncio.wait_for(ask(challenge.body), ANSWER_DEADLINE)
        except TimeoutError:
            raise Refused(Refuse(Code.AUTH_FAILED, detail="no answer to the challenge in time")) from None
        # A credential that first appears now passes the checks like one that came with the request.
        fingerprint = self.fingerprint(course.attempt.method, Body(body))
        if fingerprint is not None and fingerprint != course.attempt.fingerprint:
            course.attempt = replace(course.attempt, fingerprint=fingerprint)
            await self.before(course.attempt)
        return await self._call(entry.owner, "answer", partial(half.answer, body))

    def _accepted(self, course: Course, entry: Entry, hook: str, verdict: Verdict) -> Principal:
        if isinstance(verdict, Reject):
            raise Refused(Refuse(Code.AUTH_FAILED, detail=verdict.detail))
        if isinstance(verdict, Challenge):
            raise Refused(Refuse(Code.AUTH_FAILED, detail=f"more than {MAX_ROUNDS} challenges"))
        if (
            not isinstance(verdict, Accept)
            or not isinstance(verdict.principal, Principal)
            or not verdict.principal.name
        ):
            self._fail(entry.owner, hook, f"returned {type(verdict).__name__}, not Accept, Reject or Challenge")
        if verdict.principal.expires is not None and verdict.principal.expires <= time.time():
            raise Refused(Refuse(Code.AUTH_FAILED, detail=f"credential of {verdict.principal.name!r} has expired"))
        course.authenticated = True
        return verdict.principal

    async def contribute(self, attempt: Attempt, principal: Principal) -> list[tuple[str, Contribution]]:
        """What each contributor adds, by plugin. Raises Refused."""
        found: list[tuple[str, Contribution]] = []
        for entry in self._contributors:
            answer = await self._call(entry.owner, "contribute", partial(entry.object.contribute, attempt, principal))
            if isinstance(answer, Refuse):
                raise Refused(answer)
            if not isinstance(answer, Contribution):
                self._fail(entry.owner, "contribute", f"returned {type(answer).__name__}, not Contribution or Refuse")
            found.append((entry.owner, answer))
        return found

    async def after(self, course: Course, outcome: Code | Principal) -> None:
        """Tell all checks, once. What they raise changes nothing any more."""
        for entry in self._checks:
            try:
                await self._call(
                    entry.owner, "after", partial(entry.object.after, course.attempt, outcome, course.authenticated)
                )
            except Refused:
                continue

    async def _call(self, plugin: str, hook: str, call: Callable[[], Awaitable[T]]) -> T:
        """`call` is called in here: a method that is no coroutine function raises when it is called, not when its
        result is awaited."""
        try:
            async with asyncio.timeout(DEADLINE) as limit:
                return await call()
        except RAISED as exc:
            if isinstance(exc, asyncio.CancelledError) and cancelled_by_others():
                raise
            self._fail(plugin, hook, f"took longer than {DEADLINE:g} s" if limit.expired() else exc)

    def _fail(self, plugin: str, hook: str, exc: BaseException | str) -> NoReturn:
        if hook in _SEES_CREDENTIAL and isinstance(exc, BaseException) and not isinstance(exc, VpnrsError):
            exc = describe(exc, with_text=False)
        self._reporter.report(plugin, hook, exc, time.monotonic())
        text = exc if isinstance(exc, str) else f"{type(exc).__name__}: {exc}"
        raise Refused(Refuse(Code.INTERNAL, detail=f"plugin {plugin}, {hook}: {text}"))
