"""A state with a clock, and the shorthands that its tests speak in."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from vpnrs_nat64.state.model import TCP, UDP
from vpnrs_nat64.state.options import Options
from vpnrs_nat64.state.records import Session
from vpnrs_nat64.state.sessions import Sessions
from vpnrs_nat64.state.tcp import SYN
from vpnrs_nat64.translate.prefix import Prefix

PREFIX = Prefix(IPv6Network("64:ff9b::/96"))
SOURCE = IPv4Address("10.77.0.254").packed


def inner(n=1, port=5000):
    """Client address fd77::n and a port."""
    return IPv6Address(f"fd77::{n:x}").packed + port.to_bytes(2, "big")


def remote(text="192.0.2.9:80"):
    address, _, port = text.partition(":")
    return IPv4Address(address).packed + int(port).to_bytes(2, "big")


class World:
    """A state whose owners are small texts; `now` is what every call is given."""

    def __init__(self, owners=("a", "b"), addresses=None, **options):
        chosen = {"sources": (SOURCE,), **options}
        self.addresses = addresses or {}
        dice = random.Random(64)
        self.state = Sessions(Options(**chosen), dice.randbytes, PREFIX.embed, self.addresses.get)
        self.now = 1000.0
        for owner in owners:
            self.state.open(owner, 1280)

    def out(self, owner="a", protocol=UDP, frm=None, to=None, flags=0):
        return self.state.outbound(owner, protocol, frm or inner(), to or remote(), flags, self.now)

    def back(self, session, flags=0, frm=None):
        """A packet to the session's outer endpoint, from its remote or from another."""
        source = frm or session.remote
        outer = session.outer
        return self.state.inbound(session.protocol, source[:4] + outer[:4] + source[4:] + outer[4:], flags, self.now)

    def syn(self, **how):
        return self.out(protocol=TCP, flags=SYN, **how)

    def established(self, **how):
        session = self.syn(**how)
        assert isinstance(session, Session)
        assert self.back(session, SYN | 0x10) == session
        return session

    def wait(self, seconds):
        """Time passes, and everything that it brings is done."""
        self.now += seconds
        probes, syns = [], []
        while (at := self.state.next_time()) is not None and at <= self.now:
            done = self.state.expire(self.now)
            probes += done.probes
            syns += done.syns
        return probes, syns

    def owner(self, record):
        """Whose a binding or session is."""
        return self.state.client_of(record).owner
