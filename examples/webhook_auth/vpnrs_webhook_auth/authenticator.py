"""The authentication method `webhook`: a token, judged by a web service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from vpnrs_core.errors import ConfigError, PeerError
from vpnrs_core.interfaces import (
    Accept,
    Attempt,
    Bearer,
    ClientHalf,
    Code,
    Credential,
    Principal,
    Reject,
    ServerHalf,
    Verdict,
)
from vpnrs_webhook_auth.webhook import Webhook, WebhookError


class WebhookServer:
    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook

    async def begin(self, attempt: Attempt, credential: Credential, channel: bytes) -> Verdict:
        if self._webhook is None or not isinstance(credential, Bearer) or not credential.token:
            return Reject("no token was presented, or none is judged here")
        question = {"token": credential.token, "source": attempt.source, "attempt": attempt.id}
        # urllib blocks, so it has a thread. What it raises refuses this attempt, and the client tries again.
        answer = await asyncio.to_thread(self._webhook.ask, question)
        return Reject("the service refused") if answer is None else Accept(principal_of(answer))

    async def answer(self, body: Mapping[str, Any]) -> Verdict:
        return Reject("nothing was asked")


def principal_of(answer: Mapping[str, Any]) -> Principal:
    """Raises WebhookError for an answer that names nobody."""
    name, expires, claims = answer.get("principal"), answer.get("expires"), answer.get("claims", {})
    if not isinstance(name, str) or not name:
        raise WebhookError("the service's answer names no principal")
    if isinstance(expires, bool) or not isinstance(expires, int | float | None) or not isinstance(claims, dict):
        raise WebhookError("the service's answer has no number in `expires`, or no object in `claims`")
    return Principal(name, None if expires is None else float(expires), claims)


class WebhookClient:
    def __init__(self, token: str | None) -> None:
        if token is None:
            raise ConfigError('[plugins.webhook_auth] token is not set; write token = { file = "client.token" }')
        self._token = token

    async def prepare(self) -> None: ...

    def start(self) -> Mapping[str, Any]:
        return {"bearer": self._token}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        raise PeerError("the server asks for more than a token; its method `webhook` is another one")

    def refused(self, code: Code) -> bool:
        return False


class WebhookAuthenticator:
    NAME: ClassVar[str] = "webhook"
    TAKES: ClassVar[frozenset[type]] = frozenset({Bearer})

    def __init__(self, webhook: Webhook | None, token: str | None) -> None:
        self._webhook, self._token = webhook, token

    def identify(self, credential: Credential) -> bytes | None:
        return credential.token.encode("utf-8", "surrogatepass") if isinstance(credential, Bearer) else None

    def server(self) -> ServerHalf:
        return WebhookServer(self._webhook)

    def client(self) -> ClientHalf:
        return WebhookClient(self._token)
