"""All kinds of change that a journal may tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vpnrs_core.errors import HostError
from vpnrs_core.host.changes import AddAddress, AddRoute, Change, SetSysctl
from vpnrs_core.host.dns import LinkDns, ResolvconfDns, ResolvConfFile
from vpnrs_core.host.nft import NftTable
from vpnrs_core.host.pins import Backstop, Pin

KINDS: Final[Mapping[str, type[Change]]] = {
    kind.KIND: kind
    for kind in (AddAddress, AddRoute, SetSysctl, Pin, Backstop, NftTable, LinkDns, ResolvconfDns, ResolvConfFile)
}


def from_record(record: Mapping[str, Any]) -> Change:
    """The change that a journal's entry tells of. Raises HostError."""
    try:
        return KINDS[record["kind"]].from_record(record)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise HostError(f"the journal tells of a change that this version does not know: {dict(record)}") from error
