"""The single-link scheduler: everything goes to the newest link."""

from vpnrs_core.builtin.single import SingleLinkScheduler
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import udp


def test_the_newest_link_carries_everything_in_order():
    links = [object(), object()]
    batch = [Packet.of(udp("10.0.0.1", "10.0.0.2", bytes((n,)))) for n in range(3)]
    assert list(SingleLinkScheduler().assign(batch, links, 0.0)) == [(links[1], packet) for packet in batch]
    assert SingleLinkScheduler.NAME == "single"
