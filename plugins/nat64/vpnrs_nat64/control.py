"""What a running server tells of its bindings and sessions, and the models of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Literal

import pydantic
from pydantic import Field

from vpnrs_core.interfaces import ControlRequest
from vpnrs_nat64.stage import Nat64Stage
from vpnrs_nat64.state.model import PROTOCOLS
from vpnrs_nat64.state.records import Binding, Session, address_of, port_of
from vpnrs_nat64.state.sessions import Sessions

NUMBERS = {name: number for number, name in PROTOCOLS.items()}


class ListRequest(pydantic.BaseModel):
    """Which ones: of a vpnrs session, of a protocol, at most `limit`."""

    model_config = pydantic.ConfigDict(extra="forbid")

    session: str | None = None
    protocol: Literal["tcp", "udp", "icmp"] | None = None
    limit: int = Field(1000, ge=1, le=10_000)


class StatsRequest(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class BindingRow(pydantic.BaseModel):
    """`session` and `principal` are empty for a static binding whose client is not there."""

    protocol: str
    inner: str
    outer: str
    session: str
    principal: str
    static: bool
    sessions: int


class BindingList(pydantic.BaseModel):
    """`total` counts all bindings there are, also those that are not listed."""

    total: int
    bindings: list[BindingRow]


class SessionRow(pydantic.BaseModel):
    """`expires_in`: seconds until it ends if nothing comes. `state`: of TCP, else empty."""

    protocol: str
    inner: str
    outer: str
    remote: str
    session: str
    principal: str
    state: str
    expires_in: float
    from_outside: bool


class SessionList(pydantic.BaseModel):
    total: int
    sessions: list[SessionRow]


class SourceStats(pydantic.BaseModel):
    """Ports in use, by protocol."""

    address: str
    used: dict[str, int]


class Stats(pydantic.BaseModel):
    prefix: str
    clients: int
    bindings: dict[str, int]
    sessions: dict[str, int]
    created: dict[str, int]
    expired: dict[str, int]
    max_bindings: int
    max_sessions: int
    sources: list[SourceStats]
    fragments: int = Field(description="Packets of which some fragments are held.")


class Control:
    """The handlers of `nat64.bindings`, `nat64.sessions` and `nat64.stats`."""

    def __init__(self, stage: Callable[[], Nat64Stage], now: Callable[[], float]) -> None:
        self._stage = stage
        self._now = now

    @property
    def _state(self) -> Sessions:
        return self._stage().state

    def requests(self) -> list[ControlRequest]:
        return [
            ControlRequest("bindings", ListRequest, self.bindings, True),
            ControlRequest("sessions", ListRequest, self.sessions, True),
            ControlRequest("stats", StatsRequest, self.stats, True),
        ]

    async def bindings(self, request: ListRequest) -> BindingList:
        rows = [self._binding_row(binding) for binding in islice(self._chosen(request), request.limit)]
        return BindingList(total=self._state.count_bindings(), bindings=rows)

    async def sessions(self, request: ListRequest) -> SessionList:
        found = ((b, session) for b in self._chosen(request) for session in self._state.sessions_of(b))
        rows = [self._session_row(*each) for each in islice(found, request.limit)]
        return SessionList(total=self._state.count_sessions(), sessions=rows)

    async def stats(self, _: StatsRequest) -> Stats:
        state = self._state
        return Stats(
            prefix=str(self._stage().nat64.prefix.network),
            clients=len(state.clients),
            bindings={name: len(state.bibs[p]) for p, name in PROTOCOLS.items()},
            sessions={name: len(state.tables[p].by4) for p, name in PROTOCOLS.items()},
            created={name: state.created[p] for p, name in PROTOCOLS.items()},
            expired={name: state.expired[p] for p, name in PROTOCOLS.items()},
            max_bindings=state.options.max_bindings,
            max_sessions=state.options.max_sessions,
            sources=[
                SourceStats(
                    address=str(IPv4Address(source)),
                    used={name: state.bibs[p].ports[source].used for p, name in PROTOCOLS.items()},
                )
                for source in state.options.sources
            ],
            fragments=len(self._stage().fragments),
        )

    def _chosen(self, request: ListRequest) -> Iterator[Binding]:
        for binding in self._state.bindings():
            if request.protocol is not None and binding.protocol != NUMBERS[request.protocol]:
                continue
            if request.session is not None and self._owner(binding)[0] != request.session:
                continue
            yield binding

    def _owner(self, binding: Binding) -> tuple[str, str]:
        """→ the vpnrs session's id and its principal's name."""
        owner = self._state.client_of(binding).owner
        principal = getattr(owner, "principal", None)
        return getattr(owner, "id", ""), getattr(principal, "name", "")

    def _binding_row(self, binding: Binding) -> BindingRow:
        session, principal = self._owner(binding)
        inner, outer = binding.inner, binding.outer
        return BindingRow(
            protocol=PROTOCOLS[binding.protocol],
            inner=f"[{IPv6Address(address_of(inner))}]:{port_of(inner)}",
            outer=f"{IPv4Address(address_of(outer))}:{port_of(outer)}",
            session=session,
            principal=principal,
            static=binding.static,
            sessions=binding.sessions,
        )

    def _session_row(self, binding: Binding, session: Session) -> SessionRow:
        row = self._binding_row(binding)
        remote = str(IPv4Address(address_of(session.remote)))
        return SessionRow(
            protocol=row.protocol,
            inner=row.inner,
            outer=row.outer,
            remote=remote if row.protocol == "icmp" else f"{remote}:{port_of(session.remote)}",
            session=row.session,
            principal=row.principal,
            state=session.state.value if row.protocol == "tcp" else "",
            expires_in=round(max(session.deadline - self._now(), 0.0), 1),
            from_outside=session.from_outside,
        )
