"""Why does traffic not flow: walks the path from the TUN to what lies behind it, and ends at the first thing that is
wrong. Rules over an instance's status and what its host looks like, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pydantic
from pydantic import Field

from vpnrs_core.engine.status import ClientStatus, InstanceStatus, LinkStatus, ServerStatus, SessionStatus
from vpnrs_core.interfaces import Expected, LiveFacts

# A part of the packets: below it nobody notices, above it TCP crawls.
_LOSS = 0.02
_DROPS = 0.01


class Step(pydantic.BaseModel):
    """One thing on the path."""

    name: str = Field(description="tun, session, link, addresses, routes, server, dns, clients, forwarding, drops.")
    level: Literal["ok", "warning", "error"] = Field(description="error: nothing behind it can work.")
    text: str = Field(description="What is, and what follows from it.")
    remedy: str = Field("", description="What to do, empty: nothing, or it is not known.")


class Walk(pydantic.BaseModel):
    """What `core.walk` answers: the path as far as it holds."""

    steps: list[Step] = Field(description="In the order of the path; an error is the last one.")


Rule = Callable[[InstanceStatus, LiveFacts, Expected], Iterator[Step]]


def walk(status: InstanceStatus, facts: LiveFacts, probes: Expected) -> Walk:
    """The steps up to the first error."""
    steps: list[Step] = []
    for rule in _RULES:
        for step in rule(status, facts, probes):
            steps.append(step)
            if step.level == "error":
                return Walk(steps=steps)
    return Walk(steps=steps)


def _ok(name: str, text: str) -> Step:
    return Step(name=name, level="ok", text=text)


def _warning(name: str, text: str, remedy: str = "") -> Step:
    return Step(name=name, level="warning", text=text, remedy=remedy)


def _error(name: str, text: str, remedy: str = "") -> Step:
    return Step(name=name, level="error", text=text, remedy=remedy)


def _tun(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    if status.tun is None or not facts.mtu:
        yield _error("tun", "there is no TUN interface", "restart the instance; its log says why it went")
    elif not facts.up and (status.client is None or status.client.session is not None):
        yield _error("tun", f"{status.tun.name} is down", f"ip link set {status.tun.name} up")
    elif facts.up:
        yield _ok("tun", f"{status.tun.name} is up, MTU {facts.mtu}")


def _session(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    client = status.client
    if client is None:
        if status.state == "listening":
            yield _ok("session", f"the server listens on {status.server.listen if status.server else '?'}")
        else:
            yield _error("session", f"the server is {status.state}", "wait, or look into its log")
    elif status.state == "connected" and client.session is not None:
        yield _ok("session", f"connected to {client.server} as {client.session.principal}")
    else:
        yield _error("session", _not_connected(status.state, client), "`vpnrs status` there, and the log, tell more")


def _not_connected(state: str, client: ClientStatus) -> str:
    text = f"no session with {client.server}: {state}, {client.attempts} attempts"
    if client.last_error:
        text += f"; the last error: {client.last_error}"
    if client.next_try_seconds is not None:
        text += f"; next try in {client.next_try_seconds:.0f} s"
    return text


def _link(status: InstanceStatus, facts: LiveFacts, probes: Expected) -> Iterator[Step]:
    """Also: that what carries the tunnel does not itself go into it."""
    tun = status.tun.name if status.tun else ""
    for address in probes.outside:
        way = facts.ways.get(address, "")
        if way == tun:
            yield _error("link", f"the route to the server itself, {address}, leads into {tun}", _route_advice(tun))
        elif not way:
            yield _error("link", f"this host has no route to the server, {address}", "mend the host's own network")
    for session in _sessions(status):
        for link in session.links:
            yield from _quality(session, link)


def _quality(session: SessionStatus, link: LinkStatus) -> Iterator[Step]:
    who = f"link of {session.principal} to {link.remote}"
    if link.loss is not None and link.loss > _LOSS:
        yield _warning("link", f"{who} loses {link.loss:.1%} of its packets", "look at the path below the tunnel")
    elif link.rtt_ms is not None:
        yield _ok("link", f"{who}: round trip {link.rtt_ms:.1f} ms, {_loss(link)}")


def _loss(link: LinkStatus) -> str:
    return "loss not known" if link.loss is None else f"loss {link.loss:.2%}"


def _addresses(status: InstanceStatus, facts: LiveFacts, probes: Expected) -> Iterator[Step]:
    tun = status.tun.name if status.tun else ""
    for address, length in probes.own:
        if address not in facts.addresses:
            yield _error(
                "addresses",
                f"{tun} does not have {address}, which it should: what is sent from it is dropped",
                f"ip address add {address}/{length} dev {tun}, or restart the instance",
            )
    if probes.own:
        yield _ok("addresses", f"{tun} has {', '.join(str(address) for address, _ in probes.own)}")


def _routes(status: InstanceStatus, facts: LiveFacts, probes: Expected) -> Iterator[Step]:
    tun = status.tun.name if status.tun else ""
    for address in probes.inside:
        way = facts.ways.get(address, "")
        if way != tun:
            there = f"by {way}" if way else "nowhere: there is no route"
            yield _error("routes", f"packets to {address} should go into {tun}, and go {there}", _route_advice(tun))
    if probes.inside:
        yield _ok("routes", f"the kernel sends {', '.join(map(str, probes.inside))} into {tun}")


def _route_advice(tun: str) -> str:
    return f"`ip route get ADDRESS` and `ip rule` show what takes precedence over the routes by {tun}"


def _server(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    if status.client is None:
        return
    for address, answer in facts.echoes.items():
        if isinstance(answer, str):
            yield _warning("server", f"the server's {address} could not be pinged: {answer}")
        elif answer is None:
            yield _error(
                "server",
                f"the server's {address} does not answer through the tunnel, though the link is up",
                "run `vpnrs doctor --live` at the server; its firewall may drop what comes from its TUN",
            )
        else:
            yield _ok("server", f"the server's {address} answers through the tunnel in {answer * 1000:.1f} ms")


def _dns(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    for address, answer in facts.resolvers.items():
        if isinstance(answer, float):
            yield _ok("dns", f"the resolver {address} answers in {answer * 1000:.0f} ms")
        else:
            why = answer or "no answer"
            yield _error("dns", f"the resolver {address}, which the server pushed, does not work: {why}")


def _clients(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    server = status.server
    if server is None:
        return
    for pool in server.pools:
        if pool.leasable and pool.leased >= pool.leasable:
            yield _warning("clients", f"pool {pool.prefix} is full: new clients are refused", "give it a larger prefix")
    active = [session for session in server.sessions if session.state == "active"]
    if not active:
        yield _error("clients", _nobody(server, status), "run `vpnrs doctor --live` at a client")
        return
    yield _ok("clients", f"{len(active)} of {len(server.sessions)} sessions have a link")
    for address, answer in facts.echoes.items():
        if answer is None:
            text = f"{address}, a client, does not answer a ping through the tunnel"
            yield _warning("clients", text, "its firewall may drop pings; else run `vpnrs doctor --live` there")
        elif isinstance(answer, float):
            yield _ok("clients", f"{address}, a client, answers through the tunnel in {answer * 1000:.1f} ms")


def _nobody(server: ServerStatus, status: InstanceStatus) -> str:
    refused = status.events.get("attempt_refused", 0)
    arrived = status.events.get("connection_opened", 0)
    if refused:
        return f"no client is connected, and {refused} attempts were refused; the log says why"
    if arrived:
        return f"no client is connected; {arrived} connections came since the start"
    return f"no client is connected, and none has ever reached {server.listen}: look at firewalls on the way"


def _forwarding(status: InstanceStatus, facts: LiveFacts, probes: Expected) -> Iterator[Step]:
    for version in sorted(probes.forwards):
        if not facts.forwarding.get(version):
            name = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
            text = f"this host does not forward IPv{version}: clients reach it and nothing behind it"
            yield _error("forwarding", text, f"sysctl -w {name}=1, or [forwarding] enable = true")
        else:
            yield _ok("forwarding", f"this host forwards IPv{version}")


def _drops(status: InstanceStatus, facts: LiveFacts, _: Expected) -> Iterator[Step]:
    moved = status.ingress.packets + status.egress.packets
    reasons = {reason: count for reason, count in status.drops.items() if reason not in ("link_local", "multicast")}
    worst = max(reasons, key=lambda reason: reasons[reason], default=None)
    if worst is not None and reasons[worst] > _DROPS * (moved + 100):
        text = f"{reasons[worst]} packets were dropped as {worst}, beside {moved} that passed"
        yield _warning("drops", text, "docs/observability.md explains the reasons; `vpnrs trace` shows the packets")
    else:
        yield _ok("drops", f"{sum(reasons.values())} packets dropped beside {moved} that passed")
    if status.tun is not None and status.state == "connected" and not status.egress.packets:
        yield _warning("drops", f"nothing on this host has sent a packet into {status.tun.name} yet")


def _sessions(status: InstanceStatus) -> list[SessionStatus]:
    if status.server is not None:
        return status.server.sessions
    return [status.client.session] if status.client is not None and status.client.session is not None else []


_RULES: tuple[Rule, ...] = (
    _tun, _session, _link, _addresses, _routes, _server, _clients, _forwarding, _dns, _drops
)  # fmt: skip
