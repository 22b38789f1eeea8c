"""Pages of bindings and sessions for readers: what is on other pages is counted, and not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice

from vpnrs_nat64.state.model import Client
from vpnrs_nat64.state.records import Binding, sessions_in
from vpnrs_nat64.state.sessions import Sessions


def bindings_page(
    state: Sessions, client: Client | None, protocols: Sequence[int], skip: int, limit: int
) -> list[bytearray]:
    """`limit` bindings of these protocols, those from `skip` on; `client` None: of all clients. → their `raw`."""
    if client is None:
        return _cut((state.bibs[protocol].records() for protocol in protocols), skip, limit)
    keys = (key for key in client.bindings if key[0] in protocols)
    return [state.binding_of(key).raw for key in islice(keys, skip, skip + limit)]


def sessions_page(
    state: Sessions, client: Client | None, protocols: Sequence[int], skip: int, limit: int
) -> list[bytearray]:
    """As `bindings_page`, of sessions."""
    if client is None:
        return _cut((state.tables[protocol].by4.values() for protocol in protocols), skip, limit)
    found: list[bytearray] = []
    for key in client.bindings:
        if key[0] not in protocols:
            continue
        raw = state.bibs[key[0]].record(key[1:])
        count = sessions_in(raw)
        if count <= skip:
            skip -= count
            continue
        binding = Binding(raw)
        found += (session.raw for session in islice(state.sessions_of(binding, skip), limit - len(found)))
        skip = 0
        if len(found) == limit:
            break
    return found


def _cut(tables: Iterable[Iterable[bytearray]], skip: int, limit: int) -> list[bytearray]:
    return list(islice(chain.from_iterable(tables), skip, skip + limit))
