"""What stands in our nftables tables: pure text.

`vpnrs_<instance>` (server, and clients whose plugins ask for it) masquerades and clamps; `vpnrs_<instance>.kill` is a
client's kill switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vpnrs_core.host.nft import quoted
from vpnrs_core.interfaces.common import Network

KILL_SWITCH: Final = "kill switch"
# IPv4 and TCP header, IPv6 and TCP header, bytes.
_MSS_BELOW_MTU = {4: 40, 6: 60}


def gateway_table(instance: str) -> str:
    return f"vpnrs_{instance}"


def kill_switch_table(instance: str) -> str:
    # A dot stands in no instance's name: `vpnrs_work_kill` would be the gateway of an instance work_kill.
    return f"vpnrs_{instance}.kill"


def gateway(tun: str, masquerade: Sequence[Network], clamp_to: int | None) -> str:
    """What comes from the prefixes and leaves by another interface than the TUN gets the host's address there.
    `clamp_to`: the tunnel's MTU in bytes, which TCP through it must fit, None: no clamping."""
    lines: list[str] = []
    if masquerade:
        lines += ["\tchain postrouting {", "\t\ttype nat hook postrouting priority srcnat; policy accept;"]
        for prefix in masquerade:
            lines.append(f"\t\t{_family(prefix)} saddr {prefix} oifname != {quoted(tun)} counter masquerade")
        lines.append("\t}")
    if clamp_to is not None:
        lines += ["\tchain clamp {", "\t\ttype filter hook forward priority mangle; policy accept;"]
        for direction in ("iifname", "oifname"):
            for version, below in _MSS_BELOW_MTU.items():
                # The kernel only ever lowers it.
                lines.append(
                    f"\t\t{direction} {quoted(tun)} meta nfproto ipv{version} tcp flags & (syn | rst) == syn "
                    f"tcp option maxseg size set {clamp_to - below}"
                )
        lines.append("\t}")
    return "".join(f"{line}\n" for line in lines)


def kill_switch(tun: str, underlay: Iterable[Network], port: int | None) -> str:
    """Only loopback, the TUN and the transport to `underlay` may leave (`port`: by UDP to that port, None: by any
    protocol), and the neighbour discovery without which no IPv6 packet finds its way: it never goes beyond the link.
    What is forwarded for others, containers say, may go through the TUN alone."""
    targets: dict[int, list[str]] = {4: [], 6: []}
    for network in underlay:
        targets[network.version].append(str(network))
    lines = [
        "\tchain output {",
        "\t\ttype filter hook output priority filter; policy drop;",
        '\t\toifname "lo" accept',
        f"\t\toifname {quoted(tun)} accept",
    ]
    for version, word in ((4, "ip"), (6, "ip6")):
        if targets[version]:
            flow = f" udp dport {port}" if port is not None else ""
            lines.append(f"\t\t{word} daddr {{ {', '.join(sorted(set(targets[version])))} }}{flow} accept")
    lines += [
        "\t\ticmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
        "\t\tcounter",
        "\t}",
        "\tchain forward {",
        "\t\ttype filter hook forward priority filter; policy drop;",
        f"\t\toifname {quoted(tun)} accept",
        f"\t\tiifname {quoted(tun)} accept",
        "\t\tcounter",
        "\t}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _family(network: Network) -> str:
    return "ip" if network.version == 4 else "ip6"
