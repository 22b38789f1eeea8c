"""A tap: shows one session's packets at each point of the pipeline. While there is none it costs nothing: it is put in
by shadowing methods of the objects concerned, and taken out by removing the shadows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vpnrs_core.interfaces.session import Session
from vpnrs_core.interfaces.stage import Direction, Seen
from vpnrs_core.packet.header import BadPacket
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.checks import confined
from vpnrs_core.pipeline.peer import Peer
from vpnrs_core.pipeline.stages import BoundStage

if TYPE_CHECKING:
    from vpnrs_core.pipeline.carrier import Carrier
    from vpnrs_core.pipeline.pipeline import Pipeline

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS

# What is dropped where no packet can be shown any more: behind the queue, and in front of the codec.
_COUNTED = frozenset({"too_big", "no_link", "plugin_error", "bad_payload", "unknown_context", "bad_offload"})


class Tap:
    """Puts itself in when made; `close` takes it out. One at a time: shadows do not stack.

    What a stage names is shown when it names it, so a stage that raises afterwards has shown packets that are lost:
    they follow as dropped under stage_error."""

    def __init__(self, pipeline: Pipeline, carrier: Carrier, peer: Peer, seen: Seen) -> None:
        self._pipeline = pipeline
        self._carrier = carrier
        self.peer = peer
        self._seen = seen
        self._shadows: list[tuple[Any, str]] = []
        self._shadow(pipeline, "ingress", self._ingress)
        self._shadow(pipeline, "egress", self._egress)
        self._shadow(carrier, "inwards", self._inwards)
        self._shadow(carrier, "_isolated", self._isolated)
        self._shadow(carrier, "_no_route", self._no_route)
        self._shadow(peer.queue, "push", self._push)
        self._shadow(peer.queue, "pull", self._pull)
        self._shadow(peer.queue, "_drop_head", self._drop_head)
        self._shadow(peer.drops, "count", self._count)
        if peer.police is not None:
            self._shadow(peer.police, "admit", self._admit)
        for stage in (*carrier.tun_stages, *peer.stages):
            self._tap_stage(stage)

    @property
    def closed(self) -> bool:
        return not self._shadows

    def close(self) -> None:
        """Take all shadows out. Closing twice does nothing."""
        while self._shadows:
            target, name = self._shadows.pop()
            target.__dict__.pop(name, None)

    def _shadow(self, target: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
        """`make(original)` is called in place of `original` from now on."""
        setattr(target, name, make(getattr(target, name)))
        self._shadows.append((target, name))

    def _show(self, point: str, direction: Direction, packet: Packet | None, reason: str = "") -> None:
        self._seen(point, direction, packet, reason)

    def _mine(self, packet: Packet) -> bool:
        """From this session, or to it."""
        if packet.session is not None and packet.session is self.peer.session:
            return True
        if self._carrier.role == "client":
            return True
        try:
            return self._carrier.routes.get(packet.dst, None) is self.peer
        except BadPacket:
            return False

    # The ends of the pipeline

    def _ingress(self, original: Callable[..., None]) -> Callable[..., None]:
        def ingress(peer: Peer, batch: Sequence[Packet], now: float) -> None:
            if peer is self.peer:
                for packet in batch:
                    self._show("link", INGRESS, packet, self._refused(packet))
            original(peer, batch, now)

        return ingress

    def _refused(self, packet: Packet) -> str:
        """Why the source check, which comes next, will not let it in; "" when it will."""
        try:
            return self.peer.check.verdict(packet.header) or ""
        except BadPacket:
            return "malformed"

    def _egress(self, original: Callable[..., None]) -> Callable[..., None]:
        def egress(batch: Sequence[Packet], now: float) -> None:
            for packet in batch:
                if self._mine(packet):
                    self._show("tun", EGRESS, packet, self._confined(packet))
            original(batch, now)

        return egress

    @staticmethod
    def _confined(packet: Packet) -> str:
        try:
            header = packet.header
            return confined(header.destination) or confined(header.source) or ""
        except BadPacket:
            return "malformed"

    def _inwards(self, original: Callable[..., None]) -> Callable[..., None]:
        def inwards(*arguments: Any) -> None:
            before = len(self._carrier.to_tun)
            original(*arguments)
            for packet in self._carrier.to_tun[before:]:
                if self._mine(packet):
                    self._show("tun", INGRESS, packet)

        return inwards

    def _isolated(self, original: Callable[[Packet], None]) -> Callable[[Packet], None]:
        def isolated(packet: Packet) -> None:
            if self._mine(packet):
                self._show("isolation", INGRESS, packet, "isolation")
            original(packet)

        return isolated

    def _no_route(self, original: Callable[..., None]) -> Callable[..., None]:
        def no_route(packet: Packet, *arguments: Any) -> None:
            if packet.session is self.peer.session:
                self._show("route", EGRESS, packet, "no_route")
            original(packet, *arguments)

        return no_route

    def _admit(self, original: Callable[..., Packet | None]) -> Callable[..., Packet | None]:
        def admit(packet: Packet, now: float) -> Packet | None:
            admitted = original(packet, now)
            if admitted is None:
                self._show("police", INGRESS, packet, "rate_limit")
            return admitted

        return admit

    # The queue, and what lies behind it

    def _push(self, original: Callable[..., None]) -> Callable[..., None]:
        def push(packet: Packet, now: float) -> None:
            self._show("queue", EGRESS, packet)
            original(packet, now)

        return push

    def _pull(self, original: Callable[..., list[Packet]]) -> Callable[..., list[Packet]]:
        def pull(max_bytes: int, now: float) -> list[Packet]:
            pulled = original(max_bytes, now)
            for packet in pulled:
                self._show("link", EGRESS, packet)
            return pulled

        return pull

    def _drop_head(self, original: Callable[..., None]) -> Callable[..., None]:
        def drop_head(flow: Any, reason: str) -> None:
            self._show("queue", EGRESS, flow.packets[0][0], reason)
            original(flow, reason)

        return drop_head

    def _count(self, original: Callable[..., None]) -> Callable[..., None]:
        def count(reason: str, packets: int = 1, bytes: int = 0) -> None:
            if reason in _COUNTED:
                self._show("codec", EGRESS if reason in ("too_big", "no_link") else INGRESS, None, reason)
            original(reason, packets, bytes)

        return count

    # Stages

    def _tap_stage(self, stage: BoundStage) -> None:
        name = stage.plugin
        out = stage.out

        def forward(original: Callable[..., None]) -> Callable[..., None]:
            def act(of: Packet | Sequence[Packet], *packets: Packet) -> None:
                sources = (of,) if isinstance(of, Packet) else tuple(of)
                direction = out.direction
                original(of, *packets)
                if any(map(self._mine, (*sources, *packets))):
                    for packet in sources:
                        self._show(f"before:{name}", direction, packet)
                    for packet in packets or sources:
                        self._show(f"after:{name}", direction, packet)

            return act

        def one(word: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            def make(original: Callable[..., Any]) -> Callable[..., Any]:
                def act(packet: Packet, *arguments: Any) -> Any:
                    if self._mine(packet):
                        self._show(f"before:{name}", out.direction, packet, word or str(arguments[0]))
                    return original(packet, *arguments)

                return act

            return make

        def entered(original: Callable[..., None]) -> Callable[..., None]:
            def act(
                direction: Direction, packet: Packet, session: Session | None, *arguments: Any, **more: Any
            ) -> None:
                if session is self.peer.session or self._mine(packet):
                    self._show(f"after:{name}", direction, packet)
                original(direction, packet, session, *arguments, **more)

            return act

        def abort(original: Callable[[], None]) -> Callable[[], None]:
            def act() -> None:
                for packet in out.at_stake():
                    if self._mine(packet):
                        self._show(f"before:{name}", out.direction, packet, "stage_error")
                original()

            return act

        for method, make in (
            ("forward", forward),
            ("drop", one("")),
            ("hold", one("held")),
            ("reply", one("answered")),
            ("_enter", entered),
            ("abort", abort),
        ):
            self._shadow(out, method, make)
