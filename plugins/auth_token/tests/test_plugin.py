"""The plugin as the core uses it: construction, both halves, and sessions that end with their token."""

import asyncio
import logging
import secrets
from ipaddress import ip_address

import pytest
from vpnrs_auth_token.config import TokenConfig
from vpnrs_auth_token.events import TokensChanged, TokensUnusable
from vpnrs_auth_token.live import CLAIM
from vpnrs_auth_token.plugin import Plugin
from vpnrs_auth_token.token import new_token, parse_token
from vpnrs_auth_token.tokenfile import Entry, parse_file

from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Accept, Attempt, Bearer, Body, Code, Principal, Reject

ATTEMPT = Attempt("1", "vpnrs/1", "192.0.2.1", "token", b"f", False)


class Ctx:
    """The part of a context that the plugin uses; files are relative to `folder`."""

    instance = "test"
    log = logging.getLogger("test")

    def __init__(self, role, folder):
        self.role, self.folder = role, folder
        self.open, self.emitted, self.clock = [], [], 1.9e9

    def wall(self):
        return self.clock

    def path(self, relative):
        return str(self.folder / relative)

    def sessions(self):
        return self.open

    def emit(self, event):
        self.emitted.append(event)


class OpenSession:
    def __init__(self, principal):
        self.principal, self.ended = principal, []
        self.leases = [ip_address("10.77.0.2")]
        self.links = ()  # parked

    def end(self, refuse):
        self.ended.append(refuse)


@pytest.fixture
def pair(tmp_path):
    """A provisioned server and client, as `vpnrs init` writes them → (server, client, their contexts)."""
    given = Plugin.provision("alice")
    for name, text in {**given.server_files, **given.client_files}.items():
        (tmp_path / name).write_text(text)
    server_ctx, client_ctx = Ctx("server", tmp_path), Ctx("client", tmp_path)
    server = Plugin(validated(given.server_table, tmp_path), server_ctx)
    client = Plugin(validated(given.client_table, tmp_path), client_ctx)
    return server, client, server_ctx, client_ctx


def validated(table, folder):
    return TokenConfig.model_validate(table, context={"folder": folder})


async def present(server, client):
    """The client's credential, judged by the server."""
    half = client.vpnrs_register_authenticators()[0].client()
    await half.prepare()
    return await server.vpnrs_register_authenticators()[0].server().begin(ATTEMPT, Bearer(half.start()["bearer"]), b"")


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o644, False), (0o602, True), (0o666, True)])
def test_a_tokens_file_that_everyone_may_change_is_told(pair, tmp_path, caplog, mode, told):
    [file] = Plugin.provision("alice").server_files
    (tmp_path / file).chmod(mode)
    caplog.clear()
    Plugin(validated(Plugin.provision("alice").server_table, tmp_path), Ctx("server", tmp_path))
    assert ("may be changed by everyone" in caplog.text) == told


async def test_what_init_provisions_authenticates(pair):
    server, client, *_ = pair
    verdict = await present(server, client)
    assert isinstance(verdict, Accept)
    assert verdict.principal.name == "alice"
    assert client.vpnrs_register_services() == []
    assert [service.NAME for service in server.vpnrs_register_services()] == ["auth_token.watch"]


async def test_other_credentials_and_answers_are_rejected(pair):
    half = pair[0].vpnrs_register_authenticators()[0].server()
    assert isinstance(await half.begin(ATTEMPT, Body({}), b""), Reject)
    assert isinstance(await half.answer({}), Reject)


async def test_revoking_ends_sessions_of_that_token_only_parked_ones_too(pair, tmp_path):
    server, client, ctx, _ = pair
    watch = server.vpnrs_register_services()[0]
    mine = OpenSession((await present(server, client)).principal)
    other_method = OpenSession(Principal("carol", claims={"sub": "x"}))
    ctx.open = [mine, other_method]
    watch.look()
    assert not mine.ended
    assert not ctx.emitted
    (tmp_path / "tokens.txt").write_text("# nobody\n")
    watch.look()
    token_id = mine.principal.claims[CLAIM]
    assert [(end.code, end.detail) for end in mine.ended] == [(Code.AUTH_FAILED, f"token {token_id} was revoked")]
    assert not other_method.ended
    assert ctx.emitted == [TokensChanged(count=0, gone=(token_id,))]
    assert isinstance(await present(server, client), Reject)


async def test_a_session_that_opened_while_its_token_went_ends_at_the_next_look(pair, tmp_path):
    server, client, ctx, _ = pair
    watch = server.vpnrs_register_services()[0]
    principal = (await present(server, client)).principal
    (tmp_path / "tokens.txt").write_text("# nobody\n")
    watch.look()
    late = OpenSession(principal)
    ctx.open = [late]
    watch.look()
    assert late.ended


async def test_an_expiry_moved_earlier_ends_sessions(pair, tmp_path):
    server, client, ctx, _ = pair
    watch = server.vpnrs_register_services()[0]
    session = OpenSession((await present(server, client)).principal)
    ctx.open = [session]
    file = tmp_path / "tokens.txt"
    file.write_text(file.read_text().replace(" never", " 2030-03-17T17:46:41Z"))
    watch.look()
    assert not session.ended
    ctx.clock += 1
    watch.look()
    assert session.ended[0].code is Code.AUTH_FAILED
    assert "of alice expired at 2030-03-17T17:46:41Z" in session.ended[0].detail


async def test_a_mistake_in_the_file_is_an_event_and_ends_nobody(pair, tmp_path):
    server, client, ctx, _ = pair
    watch = server.vpnrs_register_services()[0]
    session = OpenSession((await present(server, client)).principal)
    ctx.open = [session]
    file = tmp_path / "tokens.txt"
    file.write_text(file.read_text() + "mistake\n")
    for _ in range(3):
        watch.look()
    assert not session.ended
    assert [type(event) for event in ctx.emitted] == [TokensUnusable]
    assert f"{file}:4: " in ctx.emitted[0].error
    assert ctx.emitted[0].accepted == 1


async def test_the_service_looks_until_it_is_cancelled(pair, tmp_path):
    _, _, ctx, _ = pair
    told = asyncio.Event()
    ctx.emit = lambda event: (ctx.emitted.append(event), told.set())
    service = Plugin(validated({"tokens": "tokens.txt", "poll_interval": 0.001}, tmp_path), ctx)
    task = asyncio.create_task(service.vpnrs_register_services()[0].run())
    (tmp_path / "tokens.txt").write_text("# nobody\n")
    async with asyncio.timeout(10):
        await told.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ctx.emitted[0].count == 0


def test_identify_covers_all_of_the_credential(pair):
    method = pair[0].vpnrs_register_authenticators()[0]
    token = new_token(secrets.token_bytes)
    assert method.identify(Bearer(token.text)) == token.text.encode()
    assert method.identify(Bearer(token.text)) != method.identify(Bearer(token.text[:-1]))
    assert method.identify(Bearer("\ud800")) is not None
    assert method.identify(Body({})) is None


async def test_a_replaced_token_is_tried_once_more(pair, tmp_path):
    client = pair[1]
    half = client.vpnrs_register_authenticators()[0].client()
    await half.prepare()
    assert not half.refused(Code.AUTH_FAILED)
    (tmp_path / "alice.token").write_text(new_token(secrets.token_bytes).text)
    assert half.refused(Code.AUTH_FAILED)
    assert not half.refused(Code.POLICY)
    (tmp_path / "alice.token").unlink()
    assert not half.refused(Code.AUTH_FAILED)


def test_a_mistyped_token_is_told_at_the_client_before_dialling(tmp_path, monkeypatch):
    text = new_token(secrets.token_bytes).text
    wrong = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    (tmp_path / "client.token").write_text(wrong)
    monkeypatch.setenv("VPNRS_TEST_TOKEN", wrong[:-1])
    for table, words in (
        ({"token": {"file": "client.token"}}, "file client.token: mistyped"),
        ({"token": {"env": "VPNRS_TEST_TOKEN"}}, "environment variable VPNRS_TEST_TOKEN: 53 characters instead of 54"),
        ({}, "token is not set"),
        ({"token": {"file": "missing"}}, "missing"),
    ):
        with pytest.raises(ConfigError) as caught:
            Plugin(validated(table, tmp_path), Ctx("client", tmp_path))
        assert words in str(caught.value)
        assert wrong[15:] not in str(caught.value)


def test_a_server_without_its_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokens\.txt: there is no such tokens file"):
        Plugin(validated({}, tmp_path), Ctx("server", tmp_path))


def test_inline_tokens_need_no_file(tmp_path):
    line = Entry("abcdefgh", "a" * 64, "alice").line()
    plugin = Plugin(validated({"tokens_inline": [line]}, tmp_path), Ctx("server", tmp_path))
    assert len(plugin.vpnrs_register_services()) == 1


def test_provisioned_files_hold_no_token_at_the_server():
    given = Plugin.provision("alice")
    token = parse_token(given.client_files["alice.token"])
    assert list(parse_file(given.server_files["tokens.txt"], "f").entries) == [token.id]
    assert token.text not in str(given.server_files)
    with pytest.raises(ConfigError, match="is not a name"):
        Plugin.provision("../alice")
