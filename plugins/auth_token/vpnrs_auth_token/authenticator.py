"""The authentication method `token`: the client presents its token, the server looks for its hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from vpnrs_auth_token.live import LiveTokens
from vpnrs_auth_token.token import Token, TokenError, parse_token
from vpnrs_core.config.secret import Secret
from vpnrs_core.errors import ConfigError, PeerError
from vpnrs_core.interfaces import Accept, Attempt, Bearer, ClientHalf, Code, Credential, Reject, ServerHalf, Verdict

METHOD = "token"
_WHERE = "[plugins.auth_token] token"


def load_token(secret: Secret | None) -> Token:
    """The client's token from where the configuration says. Raises ConfigError, also for one that is mistyped: that
    is told here, before anything is dialled."""
    if secret is None:
        raise ConfigError(f'{_WHERE} is not set. Write for example token = {{ file = "client.token" }}.')
    source = f"file {secret.file}" if secret.file is not None else f"environment variable {secret.env}"
    try:
        return parse_token(secret.read())
    except TokenError as error:
        raise ConfigError(f"{_WHERE}, {source}: {error}. Copy the token again, whole.") from None


class TokenServer:
    """A bearer token needs no challenge: HELLO, and with it the token, is sent only to a verified server."""

    def __init__(self, tokens: LiveTokens, wall: Callable[[], float]) -> None:
        self._tokens, self._wall = tokens, wall

    async def begin(self, attempt: Attempt, credential: Credential, channel: bytes) -> Verdict:
        if not isinstance(credential, Bearer):
            return Reject("the client presented no token")
        judged = self._tokens.judge(credential.token, self._wall())
        return Reject(judged) if isinstance(judged, str) else Accept(judged)

    async def answer(self, body: Mapping[str, Any]) -> Verdict:
        return Reject("an answer came although nothing was asked")


class TokenClient:
    """Reads its token anew for each attempt, so that a replaced one is used without a restart."""

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self._token = load_token(secret)

    async def prepare(self) -> None:
        self._token = load_token(self._secret)

    def start(self) -> Mapping[str, Any]:
        return {"bearer": self._token.text}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        raise PeerError("the server asks for more than a token; its method `token` is another one")

    def refused(self, code: Code) -> bool:
        """One more attempt only when the token has been replaced since."""
        if code is not Code.AUTH_FAILED:
            return False
        try:
            return load_token(self._secret) != self._token
        except ConfigError:
            return False


class TokenAuthenticator:
    """`tokens` is None at the client, `secret` at the server."""

    NAME: ClassVar[str] = METHOD
    TAKES: ClassVar[frozenset[type]] = frozenset({Bearer})

    def __init__(self, tokens: LiveTokens | None, secret: Secret | None, wall: Callable[[], float]) -> None:
        self._tokens, self._secret, self._wall = tokens, secret, wall

    def identify(self, credential: Credential) -> bytes | None:
        """All of it: were it only the public id, anyone could get another's token blocked."""
        if not isinstance(credential, Bearer):
            return None
        # JSON can carry lone surrogates, which UTF-8 cannot.
        return credential.token.encode("utf-8", "surrogatepass")

    def server(self) -> ServerHalf:
        return TokenServer(self._tokens if self._tokens is not None else LiveTokens(None), self._wall)

    def client(self) -> ClientHalf:
        return TokenClient(self._secret)
