"""The grant, the request and the session that targets need."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from vpnrs_core.interfaces import ClientRequest, Code, Granted, Offer


class OneSession:
    """The part of interfaces.Session that the pipeline reads."""

    POOLS = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))
    id = "a"
    leases = (ip_address("10.0.0.1"), ip_address("fd00::1"))


class Half:
    """interfaces.ClientHalf of a token."""

    async def prepare(self) -> None: ...

    def start(self) -> dict[str, str]:
        return {"bearer": "x"}

    def answer(self, challenge: object, channel: bytes) -> dict[str, str]:
        return {}

    def refused(self, code: Code) -> bool:
        return False


def wish() -> ClientRequest:
    return ClientRequest("token", Half(), offer=Offer(("segments", "offload", "plain")))


def granted() -> Granted:
    return Granted("a", "alice", [(address, 24) for address in OneSession.leases])
