"""What a running server tells of its bindings and sessions, and the models of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import pydantic
from pydantic import Field

from vpnrs_core.interfaces import ControlRequest
from vpnrs_nat64.stage import Nat64Stage
from vpnrs_nat64.state.model import ICMP, NOBODY, PROTOCOLS, TCP, Client
from vpnrs_nat64.state.pages import bindings_page, sessions_page
from vpnrs_nat64.state.records import Binding, Session, address_of, port_of
from vpnrs_nat64.state.sessions import Sessions

NUMBERS = {name: number for number, name in PROTOCOLS.items()}


# Rows of one answer: a few milliseconds of the packets' time.
PAGE = 100


class ListRequest(pydantic.BaseModel):
    """Which ones: of a vpnrs session, of a protocol; those from `skip` on, at most `limit`."""

    model_config = pydantic.ConfigDict(extra="forbid")

    session: str | None = Field(None, description="Only of this session, by its id.")
    protocol: Literal["tcp", "udp", "icmp"] | None = Field(None, description="Only of this protocol.")
    skip: int = Field(0, ge=0, description="Without so many from the beginning.")
    limit: int = Field(PAGE, ge=1, le=PAGE, description="At most so many.")


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
    """`total` counts all bindings there are, also those that are not listed. `next` is the `skip` to go on with, null:
    there are no more."""

    total: int
    bindings: list[BindingRow]
    next: int | None


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
    """As BindingList."""

    total: int
    sessions: list[SessionRow]
    next: int | None


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
        state = self._state
        found = bindings_page(state, self._client(request), _protocols(request), request.skip, request.limit)
        rows = [self._binding_row(Binding(raw)) for raw in found if self._is_there(Binding(raw))]
        return BindingList(total=state.count_bindings(), bindings=rows, next=_next(request, found))

    async def sessions(self, request: ListRequest) -> SessionList:
        state = self._state
        found = sessions_page(state, self._client(request), _protocols(request), request.skip, request.limit)
        rows = [self._session_row(Session(raw)) for raw in found if self._is_there(Session(raw))]
        return SessionList(total=state.count_sessions(), sessions=rows, next=_next(request, found))

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

    def _client(self, request: ListRequest) -> Client | None:
        """The one that is asked about, None: all are. Somebody who is not there has nothing."""
        if request.session is None:
            return None
        clients = self._state.clients.items()
        return next((client for owner, client in clients if getattr(owner, "id", "") == request.session), NOBODY)

    def _is_there(self, record: Binding | Session) -> bool:
        """Not one that only waits to be cleared away."""
        client = self._state.client_of(record)
        return client.open or client is NOBODY

    def _owner(self, record: Binding | Session) -> tuple[str, str]:
        """→ the vpnrs session's id and its principal's name."""
        owner = self._state.client_of(record).owner
        principal = getattr(owner, "principal", None)
        return getattr(owner, "id", ""), getattr(principal, "name", "")

    def _binding_row(self, binding: Binding) -> BindingRow:
        session, principal = self._owner(binding)
        inner, outer = binding.inner, binding.outer
        return BindingRow(
            protocol=PROTOCOLS[binding.protocol],
            inner=_end6(inner),
            outer=_end4(outer),
            session=session,
            principal=principal,
            static=binding.static,
            sessions=binding.sessions,
        )

    def _session_row(self, session: Session) -> SessionRow:
        owner, principal = self._owner(session)
        tcp, icmp = session.protocol == TCP, session.protocol == ICMP
        return SessionRow(
            protocol=PROTOCOLS[session.protocol],
            inner=_end6(session.inner),
            outer=_end4(session.outer),
            remote=str(IPv4Address(address_of(session.remote))) if icmp else _end4(session.remote),
            session=owner,
            principal=principal,
            state=session.state.value if tcp else "",
            expires_in=round(max(session.deadline - self._now(), 0.0), 1),
            from_outside=session.from_outside,
        )


def _protocols(request: ListRequest) -> Sequence[int]:
    return tuple(PROTOCOLS) if request.protocol is None else (NUMBERS[request.protocol],)


def _next(request: ListRequest, found: Sequence[bytearray]) -> int | None:
    return request.skip + request.limit if len(found) == request.limit else None


def _end6(end: bytes) -> str:
    return f"[{IPv6Address(address_of(end))}]:{port_of(end)}"


def _end4(end: bytes) -> str:
    return f"{IPv4Address(address_of(end))}:{port_of(end)}"
