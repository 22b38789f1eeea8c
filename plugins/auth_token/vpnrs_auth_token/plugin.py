"""The plugin `auth_token`: its hooks. What they return is made in the other files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vpnrs_auth_token.authenticator import TokenAuthenticator, load_token
from vpnrs_auth_token.config import TokenConfig, provision
from vpnrs_auth_token.events import TokensChanged, TokensUnusable
from vpnrs_auth_token.files import is_open_to_change
from vpnrs_auth_token.live import LiveTokens
from vpnrs_auth_token.watch import TokenWatch
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Authenticator, Context, Provision, Service


class Plugin:
    """Reads its files once here, so that what is wrong with them refuses the start."""

    Config = TokenConfig
    EVENTS = (TokensChanged, TokensUnusable)

    def __init__(self, config: TokenConfig, ctx: Context) -> None:
        self._config, self._ctx = config, ctx
        self._tokens: LiveTokens | None = None
        if ctx.role == "server":
            file = config.file()
            path = None if file is None else Path(ctx.path(file))
            self._tokens = LiveTokens(path, config.tokens_inline, "[plugins.auth_token] tokens_inline")
            if path is not None and is_open_to_change(path):
                ctx.log.warning("%s may be changed by everyone on this host, who can add a token: chmod 600 it", path)
        else:
            load_token(config.token)

    @classmethod
    def provision(cls, name: str) -> Provision:
        return provision(name)

    @impl
    def vpnrs_register_authenticators(self) -> Sequence[Authenticator]:
        return [TokenAuthenticator(self._tokens, self._config.token, self._ctx.wall)]

    @impl
    def vpnrs_register_services(self) -> Sequence[Service]:
        if self._tokens is None:
            return []
        return [TokenWatch(self._tokens, self._ctx, self._config.poll_interval)]
