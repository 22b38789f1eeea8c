"""The plugin `webhook_auth`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence

from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Authenticator, Context
from vpnrs_webhook_auth.authenticator import WebhookAuthenticator
from vpnrs_webhook_auth.config import WebhookConfig
from vpnrs_webhook_auth.webhook import Webhook


class Plugin:
    Config = WebhookConfig

    def __init__(self, config: WebhookConfig, ctx: Context) -> None:
        secret = config.secret.read() if config.secret else ""
        webhook = Webhook(config.url, secret, config.timeout) if config.url else None
        token = config.token.read() if config.token else None
        self._authenticator = WebhookAuthenticator(webhook, token)

    @impl
    def vpnrs_register_authenticators(self) -> Sequence[Authenticator]:
        return [self._authenticator]
