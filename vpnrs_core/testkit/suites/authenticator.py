"""The contract of authenticators: the right credential is let in, nothing else is, and nothing raises for what a
stranger sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from vpnrs_core.interfaces import (
    Accept,
    Attempt,
    Authenticator,
    Bearer,
    Body,
    Challenge,
    Credential,
    PeerIdentity,
    PeerKey,
    Reject,
    ServerHalf,
    Verdict,
)
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.load import load
from vpnrs_core.testkit.suites.base import Suite, is_named, run

ATTEMPT = Attempt("1f", "vpnrs/1", "192.0.2.9", "method", None, False)
CHANNEL, OTHER_CHANNEL = b"vpnrs/1 this connection", b"vpnrs/1 another connection"
ROUNDS = 4
_GARBAGE: tuple[Credential, ...] = (
    Bearer(""),
    Bearer("x" * 10_000),
    Bearer("\ud800 not even text"),
    Body({}),
    Body({"token": None, "user": 7, "proof": []}),
    Body({"a": {"b": {"c": ["\0"]}}}),
    PeerKey(PeerIdentity(None, None)),
    PeerKey(PeerIdentity(b"no DER", b"neither")),
)

_ANSWERS: tuple[Mapping[str, Any], ...] = ({}, {"proof": 7}, {"answer": "\0" * 1000}, {"x": [[]]})


class AuthenticatorSuite(Suite):
    """`table` is the server's, `client_table` that of a client that is let in, `wrong_table` of one that is not.

    A plugin with `provision` needs none of them: what `vpnrs init` would write is used. `answers` come from a client
    with a good credential; a method that needs a person or the network overrides `presented`."""

    kind: ClassVar[str] = "authenticator"
    client_table: ClassVar[Mapping[str, Any] | None] = None
    wrong_table: ClassVar[Mapping[str, Any] | None] = None

    @pytest.fixture
    def sides(self, tmp_path: Path, clock: Clock) -> tuple[Authenticator, Authenticator, Authenticator | None]:
        """(the server's, a good client's, a bad client's or None)."""
        table, good, wrong, files = self.table, self.client_table, self.wrong_table, dict(self.files)
        if good is None:
            table, good, wrong, files = self._provisioned(tmp_path, clock)
        common: dict[str, Any] = {"folder": tmp_path, "clock": clock, "settings": self.settings}
        server = load(self.plugin, table, files=files, **common).one("authenticator", self.name)
        client = load(self.plugin, good, role="client", **{**common, "settings": {}}).one("authenticator", self.name)
        if wrong is None:
            return server, client, None
        bad = load(self.plugin, wrong, role="client", **{**common, "settings": {}}).one("authenticator", self.name)
        return server, client, bad

    @pytest.fixture
    def subject(self, request: pytest.FixtureRequest) -> Authenticator:
        if self.client_table is None and self._class() is not None and not hasattr(self._class(), "provision"):
            only: Authenticator = request.getfixturevalue("loaded").one(self.kind, self.name)
            return only
        server: Authenticator = request.getfixturevalue("sides")[0]
        return server

    def _class(self) -> Any:
        """The plugin's class."""
        from vpnrs_core.plugins.discover import discover

        found = discover().get(self.plugin)
        return found.entry_point.load() if found is not None else None

    def _provisioned(self, folder: Path, clock: Clock) -> tuple[Any, Any, Any, dict[str, str]]:
        """What `vpnrs init` writes for alice; mallory's belongs to another server."""
        assert self.plugin, "name the plugin: the class attribute `plugin`"
        cls = self._class()
        if not hasattr(cls, "provision"):
            pytest.skip("no client_table is given and the plugin has no `provision`: there is no credential to present")
        alice, mallory = cls.provision("alice"), cls.provision("mallory")
        files = {**mallory.client_files, **alice.client_files, **alice.server_files}
        return alice.server_table, alice.client_table, mallory.client_table, files

    def presented(self, client: Authenticator) -> tuple[Any, Credential]:
        """(the client's half, its credential as the server's session protocol would hand it over)."""
        half = client.client()
        run(half.prepare())
        body = half.start()
        if set(body) == {"bearer"}:
            return half, Bearer(body["bearer"])
        if not body and PeerKey in client.TAKES:
            return half, PeerKey(PeerIdentity(b"spki of the client", b"certificate of the client"))
        return half, Body(body)

    def judge(self, server: Authenticator, client: Authenticator, answered_on: bytes = CHANNEL) -> Verdict:
        """A whole attempt → the last verdict. `answered_on` is the connection that the client thinks it is on."""
        half, credential = self.presented(client)

        async def attempt() -> Verdict:
            judging = server.server()
            verdict = await judging.begin(ATTEMPT, credential, CHANNEL)
            for _ in range(ROUNDS):
                if not isinstance(verdict, Challenge):
                    break
                verdict = await judging.answer(half.answer(verdict.body, answered_on))
            return verdict

        return run(attempt())

    def test_it_has_a_name_and_says_what_it_takes(self, subject: Any) -> None:
        assert is_named(subject)
        assert subject.TAKES
        assert set(subject.TAKES) <= {Bearer, PeerKey, Body}

    def test_a_good_credential_is_let_in(self, sides: Any) -> None:
        server, client, _ = sides
        verdict = self.judge(server, client)
        assert isinstance(verdict, Accept), f"the verdict on a good credential is {verdict!r}"
        assert verdict.principal.name
        assert verdict.principal.expires is None or verdict.principal.expires > 0

    def test_attempts_share_nothing(self, sides: Any) -> None:
        server, client, _ = sides
        first, second = self.judge(server, client), self.judge(server, client)
        assert isinstance(first, Accept)
        assert isinstance(second, Accept)
        assert first.principal.name == second.principal.name
        assert server.server() is not server.server()

    def test_a_wrong_credential_is_rejected(self, sides: Any) -> None:
        server, _, bad = sides
        if bad is None:
            pytest.skip("no wrong_table is given: there is no wrong credential to present")
        assert isinstance(self.judge(server, bad), Reject)

    @pytest.mark.parametrize("credential", _GARBAGE, ids=range(len(_GARBAGE)))
    def test_garbage_is_rejected_and_raises_nothing(self, subject: Any, credential: Credential) -> None:
        async def attempt() -> Verdict:
            half: ServerHalf = subject.server()
            verdict = await half.begin(ATTEMPT, credential, CHANNEL)
            for body in _ANSWERS:
                if not isinstance(verdict, Challenge):
                    break
                verdict = await half.answer(body)
            return verdict

        subject.identify(credential)
        assert isinstance(run(attempt()), Reject)

    def test_an_answer_that_nobody_asked_for_lets_nobody_in(self, subject: Any) -> None:
        assert isinstance(run(subject.server().answer({"answer": "unasked"})), Reject)

    def test_a_signed_answer_belongs_to_its_connection(self, sides: Any) -> None:
        """Whoever relays a challenge to another connection gets nothing by it."""
        server, client, _ = sides
        _, credential = self.presented(client)
        if not isinstance(run(server.server().begin(ATTEMPT, credential, CHANNEL)), Challenge):
            return  # it needs no challenge, so it signs nothing
        assert isinstance(self.judge(server, client, OTHER_CHANNEL), Reject)

    def test_a_credential_is_identified_by_all_of_it(self, sides: Any) -> None:
        """Two that differ are two; the same is the same; what it says is bytes or nothing."""
        server, client, _ = sides
        _, credential = self.presented(client)
        own = server.identify(credential)
        assert own is None or (isinstance(own, bytes) and own)
        assert server.identify(credential) == own
        if isinstance(credential, Bearer) and own is not None:
            assert server.identify(Bearer(credential.token + "x")) != own

    def test_no_credential_is_in_a_repr(self, sides: Any) -> None:
        server, client, _ = sides
        half, credential = self.presented(client)
        if isinstance(credential, Bearer):
            for each in (server, client, half, server.server(), self.judge(server, client)):
                assert credential.token not in repr(each)
