"""The table `[plugins.auth_token]`, of server and client, and what `vpnrs init` writes into it."""

from __future__ import annotations

import secrets
from typing import Annotated

import pydantic

from vpnrs_auth_token.authenticator import METHOD
from vpnrs_auth_token.token import hash_token, new_token
from vpnrs_auth_token.tokenfile import HEADER, Entry, TokenFile, check_name
from vpnrs_core.config.secret import Secret
from vpnrs_core.interfaces import Provision

DEFAULT_FILE = "tokens.txt"


class TokenConfig(pydantic.BaseModel):
    """Server: where the hashes of accepted tokens are. Client: where its token is."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tokens: str | None = pydantic.Field(
        None,
        min_length=1,
        description="Server: the tokens file, made with `vpnrs token new`; relative to the configuration's folder. "
        f"Default: {DEFAULT_FILE}, or no file when tokens_inline is given.",
    )
    tokens_inline: tuple[str, ...] = pydantic.Field(
        (), description="Server: lines as in the tokens file (hashes, never tokens), besides or instead of it."
    )
    poll_interval: Annotated[float, pydantic.Field(gt=0, le=3600)] = pydantic.Field(
        1.0, description="Server: seconds between two looks at the tokens file."
    )
    token: Secret | None = pydantic.Field(
        None, description='Client: its token, { file = "client.token" } or { env = "VPNRS_TOKEN" }.'
    )

    def file(self) -> str | None:
        """The tokens file as configured, None: only inline ones."""
        return self.tokens if self.tokens is not None or self.tokens_inline else DEFAULT_FILE


def provision(name: str) -> Provision:
    """A new token for `name`, with the files and tables of both sides. Raises ConfigError for a bad name."""
    check_name(name, "the client's name")
    token = new_token(secrets.token_bytes)
    entries = TokenFile().added(Entry(token.id, hash_token(token), name))
    return Provision(
        method=METHOD,
        server_files={DEFAULT_FILE: HEADER + entries.text()},
        client_files={f"{name}.token": f"{token.text}\n"},
        server_table={"tokens": DEFAULT_FILE},
        client_table={"token": {"file": f"{name}.token"}},
    )
