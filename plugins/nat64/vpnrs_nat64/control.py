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
    """One binding."""

    protocol: str = Field(description="tcp, udp or icmp.")
    inner: str = Field(description="The client's address and port, or echo id: [fd77::2]:40000.")
    outer: str = Field(description="The source address and the port or echo id that IPv4 hosts see.")
    session: str = Field(description="The client's session; empty: a static binding's client is not there.")
    principal: str = Field(description="The client's name, or empty.")
    static: bool = Field(description="It is from the configuration, and stays.")
    sessions: int = Field(description="How many IPv4 endpoints talk through it.")


class BindingList(pydantic.BaseModel):
    """`total` counts all bindings there are, also those that are not listed. `next` is the `skip` to go on with, null:
    there are no more."""

    total: int
    bindings: list[BindingRow]
    next: int | None


class SessionRow(pydantic.BaseModel):
    """One session: a binding and one IPv4 endpoint."""

    protocol: str = Field(description="tcp, udp or icmp.")
    inner: str = Field(description="As of a binding.")
    outer: str = Field(description="As of a binding.")
    remote: str = Field(description="The IPv4 host and its port; of icmp its address only.")
    session: str = Field(description="The client's session.")
    principal: str = Field(description="The client's name.")
    state: str = Field(description="Of tcp, in RFC 6146's words: established, v4_fin_rcv, trans …; else empty.")
    expires_in: float = Field(description="Seconds until it ends, or tcp is probed, if nothing comes.")
    from_outside: bool = Field(description="The IPv4 host sent first.")


class SessionList(pydantic.BaseModel):
    """As BindingList."""

    total: int
    sessions: list[SessionRow]
    next: int | None


class SourceStats(pydantic.BaseModel):
    """One source address."""

    address: str = Field(description="A source address.")
    used: dict[str, int] = Field(description="Ports and echo ids of it that are taken, by protocol.")


class Stats(pydantic.BaseModel):
    """All together."""

    prefix: str = Field(description="The prefix that is translated.")
    clients: int = Field(description="Sessions of vpnrs that may use it.")
    bindings: dict[str, int] = Field(description="Bindings by protocol.")
    sessions: dict[str, int] = Field(description="Sessions by protocol.")
    created: dict[str, int] = Field(description="Sessions made since the start, by protocol.")
    expired: dict[str, int] = Field(description="Sessions ended by time since the start, by protocol.")
    max_bindings: int = Field(description="The limit of bindings, of all together.")
    max_sessions: int = Field(description="The limit of sessions, of all together.")
    sources: list[SourceStats] = Field(description="A source address each.")
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
