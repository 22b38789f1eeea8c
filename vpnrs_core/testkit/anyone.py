"""The authentication method `anyone`, for tests: a client says its name and is let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pydantic

from vpnrs_core.errors import PeerError
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import (
    Accept,
    Attempt,
    Authenticator,
    Bearer,
    ClientHalf,
    Code,
    Context,
    Credential,
    Principal,
    Reject,
    ServerHalf,
    Verdict,
)


class _Server:
    async def begin(self, attempt: Attempt, credential: Credential, channel: bytes) -> Verdict:
        return Accept(Principal(credential.token)) if isinstance(credential, Bearer) and credential.token else Reject()

    async def answer(self, body: Mapping[str, Any]) -> Verdict:
        return Reject("nothing was asked")


class _Client:
    def __init__(self, name: str) -> None:
        self._name = name

    async def prepare(self) -> None: ...

    def start(self) -> Mapping[str, Any]:
        return {"bearer": self._name}

    def answer(self, challenge: Mapping[str, Any], channel: bytes) -> Mapping[str, Any]:
        raise PeerError("nothing is asked by this method")

    def refused(self, code: Code) -> bool:
        return False


class Anyone:
    NAME: ClassVar[str] = "anyone"
    TAKES: ClassVar[frozenset[type]] = frozenset({Bearer})

    def __init__(self, name: str) -> None:
        self._name = name

    def identify(self, credential: Credential) -> bytes | None:
        return credential.token.encode("utf-8", "surrogatepass") if isinstance(credential, Bearer) else None

    def server(self) -> ServerHalf:
        return _Server()

    def client(self) -> ClientHalf:
        return _Client(self._name)


class Plugin:
    class Config(pydantic.BaseModel):
        name: str = pydantic.Field("alice", description="Client: the name of its principal.")

    def __init__(self, config: Config, ctx: Context) -> None:
        self._name = config.name

    @impl
    def vpnrs_register_authenticators(self) -> Sequence[Authenticator]:
        return [Anyone(self._name)]
