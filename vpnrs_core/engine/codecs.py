"""The codecs and wrappers of an instance, and the links that are made with those that a peer accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vpnrs_core.engine.link import LinkPort
from vpnrs_core.engine.prober import Prober
from vpnrs_core.engine.wrapping import Layer, WrapperHost
from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces import Connection, Lane, PacketCodec, ProbedPath, Wrapper, WrapperCodec
from vpnrs_core.plugins.registry import Entry
from vpnrs_core.session.negotiation import PROBE


class CodecSet:
    """`names`: packet codecs in the order in which they are tried, then wrappers in the order of loading."""

    def __init__(
        self, entries: Sequence[Entry], offloads: frozenset[str], host: WrapperHost, raise_every: float = 600.0
    ) -> None:
        """`entries` of kind datagram_codecs; `offloads`: what the own TUN takes; `raise_every`: seconds between looks
        for a larger path MTU. Raises PluginError for what is neither packet codec nor wrapper."""
        self._packet: dict[str, PacketCodec] = {}
        self._wrapper: dict[str, WrapperCodec] = {}
        for entry in sorted(entries, key=lambda e: -getattr(e.object, "PREFERENCE", 0)):
            if hasattr(entry.object, "wrapper"):
                self._wrapper[entry.name] = entry.object
            elif hasattr(entry.object, "open"):
                self._packet[entry.name] = entry.object
            else:
                raise PluginError(f"plugin {entry.owner}: datagram codec {entry.name} has neither `open` nor `wrapper`")
        self.offloads = offloads
        self.names = (*self._packet, *self._wrapper, PROBE)
        self._host = host
        self._raise_every = raise_every

    def link(
        self,
        connection: Connection,
        lane: Lane,
        contexts: Mapping[str, int],
        peer_offloads: frozenset[str],
        kept: dict[str, Wrapper],
        *,
        prefix: bytes = b"",
        send_message: Callable[[str, bytes], None] | None = None,
    ) -> LinkPort:
        """A link with the accepted codecs (name → context id). `kept` holds the session's own wrappers."""
        codecs = [
            (contexts[name], name, codec.open(self.offloads, peer_offloads, lane.NAME))
            for name, codec in self._packet.items()
            if name in contexts
        ]
        # The ids rise in the server's order, which is the order that both sides must apply the layers in.
        accepted = sorted((contexts[name], name) for name in self._wrapper if name in contexts)
        layers = [self._layer(context, name, kept) for context, name in accepted]
        headroom = max(getattr(self._packet[name], "OVERHEAD", 0) for _, name, _ in codecs)
        port = LinkPort(
            connection, lane, codecs, layers, self._host, prefix=prefix, send_message=send_message, headroom=headroom
        )
        self._probe(port, connection, PROBE in contexts)
        return port

    def _probe(self, port: LinkPort, connection: Connection, answered: bool) -> None:
        """Find out what the path carries, if the peer helps. If not, what is in use stays so for good."""
        if not isinstance(connection, ProbedPath) or not connection.max_datagram():
            return
        if not answered:
            connection.use_payload(connection.payload_sizes().now, settled=True)
            return
        prober = Prober(
            connection,
            port.prefix,
            lambda: port.payloads_sent,
            lambda body: port.message(PROBE, body),
            raise_every=self._raise_every,
            # A stream's packets may be smaller; an engine that cannot go back down must not grow in vain.
            fixed=port.lane.NAME == "stream",
        )
        port.probe_with(prober)

    def _layer(self, context: int, name: str, kept: dict[str, Wrapper]) -> Layer:
        factory = self._wrapper[name]
        if factory.SCOPE == "session":
            wrapper = kept.get(name) or kept.setdefault(name, factory.wrapper())
        else:
            wrapper = factory.wrapper()
        return Layer(context, name, factory.OVERHEAD, wrapper)
