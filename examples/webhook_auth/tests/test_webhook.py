"""A real web service on loopback judges tokens; whatever it does, nobody comes in who was not named by it."""

import asyncio
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vpnrs_core.errors import ConfigError
from vpnrs_core.events import AttemptRefused, SessionOpened
from vpnrs_core.interfaces import Accept, Bearer, Principal, Reject
from vpnrs_core.testkit.suites import AuthenticatorSuite
from vpnrs_core.testkit.suites.authenticator import ATTEMPT, CHANNEL


class Service(BaseHTTPRequestHandler):
    """Knows `good`; other tokens say what it does."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((json.loads(body), body, self.headers.get("X-Vpnrs-Signature")))
        token = json.loads(body)["token"]
        code, answer = {
            "good": (200, {"principal": "alice", "expires": 4_000_000_000, "claims": {"group": "staff"}}),
            "error": (500, {"principal": "alice"}),
            "redirect": (307, {}),
            "nobody": (200, {"principal": ""}),
            "list": (200, ["alice"]),
            "endless": (200, {"principal": "x" * 100_000}),
            "date": (200, {"principal": "alice", "expires": "tomorrow"}),
        }.get(token, (401, {}))
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        if code == 307:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """A test is quiet."""


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(service):
    return f"http://127.0.0.1:{service.server_port}/vpn"


class TestContract(AuthenticatorSuite):
    plugin = "webhook_auth"
    files = {"good.token": "good\n", "bad.token": "bad\n"}

    @pytest.fixture
    def sides(self, load_plugin, url):
        server = load_plugin("webhook_auth", {"url": url}, files=self.files)
        good, bad = (
            load_plugin("webhook_auth", {"token": {"file": f"{name}.token"}}, role="client") for name in ("good", "bad")
        )
        return tuple(each.one("authenticator") for each in (server, good, bad))

    @pytest.fixture
    def subject(self, sides):
        return sides[0]


def judged(load_plugin, url, token, **table):
    half = load_plugin("webhook_auth", {"url": url, **table}).one("authenticator").server()
    return asyncio.run(half.begin(ATTEMPT, Bearer(token), CHANNEL))


def test_who_the_service_names_is_let_in_with_expiry_and_claims(load_plugin, url, service):
    verdict = judged(load_plugin, url, "good")
    assert verdict == Accept(Principal("alice", 4_000_000_000.0, {"group": "staff"}))
    assert service.asked[0][0] == {"token": "good", "source": ATTEMPT.source, "attempt": ATTEMPT.id}


def test_whom_it_refuses_is_rejected(load_plugin, url):
    assert isinstance(judged(load_plugin, url, "unknown"), Reject)


@pytest.mark.parametrize("token", ["error", "redirect", "nobody", "list", "endless", "date"])
def test_an_answer_that_is_none_lets_nobody_in(load_plugin, url, service, token):
    with pytest.raises(Exception, match="service"):
        judged(load_plugin, url, token)
    assert len(service.asked) == 1  # a redirect is not followed


def test_a_service_that_is_not_there_lets_nobody_in(load_plugin):
    with pytest.raises(Exception, match="cannot be asked"):
        judged(load_plugin, "http://127.0.0.1:1/", "good")


def test_what_is_asked_is_signed(load_plugin, url, service, tmp_path):
    (tmp_path / "secret").write_text("key\n")
    judged(load_plugin, url, "good", secret={"file": "secret"})
    _, body, signature = service.asked[0]
    assert signature == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("bad", ["http://accounts.example/", "ftp://127.0.0.1/", "accounts.example"])
def test_a_url_that_would_leak_tokens_is_refused_at_the_start(load_plugin, bad):
    with pytest.raises(ConfigError, match=r"\[plugins.webhook_auth\] url"):
        load_plugin("webhook_auth", {"url": bad})


def test_it_judges_real_sessions(in_process, url, tmp_path):
    def options(token):
        (tmp_path / "token").write_text(token)
        return {
            "server": {"auth": {"methods": ["webhook"]}, "plugins": {"webhook_auth": {"url": url}}},
            "client": {"auth": {"method": "webhook"}, "plugins": {"webhook_auth": {"token": {"file": "token"}}}},
        }

    async def let_in():
        async with in_process(**options("good")) as pair:
            assert (await pair.server.until(SessionOpened)).principal == "alice"
            assert not [event for event in pair.server.events if isinstance(event, AttemptRefused)]

    asyncio.run(let_in())
    with pytest.raises(Exception, match="auth_failed"):
        asyncio.run(refused(in_process, options("stranger")))


async def refused(in_process, options):
    async with in_process(**options):
        raise AssertionError("a stranger came in")
