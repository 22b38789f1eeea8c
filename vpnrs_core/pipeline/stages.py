"""One stage in its place: what concerns it, how it is called, and that nothing it raises gets past it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vpnrs_core.counters import DropCounts
from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces.common import Network
from vpnrs_core.interfaces.stage import Direction, StageFactory
from vpnrs_core.packet.packet import Packet
from vpnrs_core.packet.prefix import PrefixTable
from vpnrs_core.pipeline.out import Passage, StageOut

if TYPE_CHECKING:
    from vpnrs_core.pipeline.peer import Peer

# (plugin, where, exception): the caller limits how often it tells the operator.
OnFailure = Callable[[str, str, BaseException], None]


@dataclass(frozen=True)
class StageSpec:
    """A stage factory and the plugin that registered it."""

    plugin: str
    factory: StageFactory


def ordered(specs: Iterable[StageSpec]) -> list[StageSpec]:
    """From the TUN outwards. Equal ORDERs are told apart by NAME, never by load order."""
    return sorted(specs, key=lambda spec: (spec.factory.ORDER, spec.factory.NAME))


class Selector:
    """Which packets of one direction concern a stage: source or destination in a listed prefix."""

    __slots__ = ("_dst", "_src", "nothing")

    def __init__(self, dst: Sequence[Network], src: Sequence[Network]) -> None:
        self._dst = _matcher(dst)
        self._src = _matcher(src)
        self.nothing = self._dst is None and self._src is None

    def divide(self, batch: Sequence[Packet]) -> tuple[list[Packet], list[Packet]]:
        """→ (those that match, the rest), each in order."""
        dst, src = self._dst, self._src
        hits: list[Packet] = []
        rest: list[Packet] = []
        for packet in batch:
            header = packet.header
            if (dst is not None and dst(header.destination)) or (src is not None and src(header.source)):
                hits.append(packet)
            else:
                rest.append(packet)
        return hits, rest


def _matcher(networks: Sequence[Network]) -> Callable[[bytes], bool] | None:
    """Whether a packed address is inside one of the networks. None: there are none."""
    if not networks:
        return None
    if len(networks) == 1 and networks[0].prefixlen % 8 == 0:
        packed = networks[0].network_address.packed
        head, size = packed[: networks[0].prefixlen // 8], len(packed)
        return lambda address: address.startswith(head) and len(address) == size
    table: PrefixTable[bool] = PrefixTable()
    for network in networks:
        table.add(network, True)
    return lambda address: table.get(address, False)


class BoundStage:
    """A stage or observer, bound to its plugin's name and, if it is peer-side, to its peer."""

    def __init__(
        self,
        spec: StageSpec,
        make: Callable[[BoundStage], Any],
        peer: Peer | None,
        drops: DropCounts,
        lost: Callable[[str, int], None],
        on_failure: OnFailure,
    ) -> None:
        """`make(self)` makes the stage. PluginError when that or `matches` raises, or what was made is no stage: a
        filter that is missing must not be taken for one that lets everything pass."""
        self.plugin = spec.plugin
        self.peer = peer
        self.index = 0  # its place among the stages of its side, from the TUN
        self._on_failure = on_failure
        self.out = StageOut(self, drops, lost, self._report)
        try:
            stage = make(self)
            matches = stage.matches() if hasattr(stage, "matches") else None
            selectors = (
                {}
                if matches is None
                else {
                    Direction.INGRESS: Selector(matches.ingress_dst, matches.ingress_src),
                    Direction.EGRESS: Selector(matches.egress_dst, matches.egress_src),
                }
            )
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginError(
                f"plugin {spec.plugin}: its packet stage {spec.factory.NAME} cannot be set up: "
                f"{type(exc).__name__}: {exc}. Mend the plugin, or start with -p no:{spec.plugin}"
            ) from exc
        self.stage: Any = stage
        self._process: Callable[..., None] | None = getattr(stage, "process", None)
        self._observe: Callable[..., None] | None = getattr(stage, "observe", None)
        if self._process is None and self._observe is None:
            raise PluginError(
                f"plugin {spec.plugin}: its packet stage {spec.factory.NAME} has neither `process` nor `observe`"
            )
        self._selectors: dict[Direction, Selector] = selectors

    def run(
        self, direction: Direction, batch: list[Packet], hop: int, now: float
    ) -> tuple[list[Packet], list[Passage]]:
        """Pass a batch through → what goes on in its place, and what goes on apart from it."""
        rest: list[Packet] = []
        selector = self._selectors.get(direction)
        if selector is not None:
            if selector.nothing:
                return batch, []
            hits, rest = selector.divide(batch)
        else:
            hits = batch
        if not hits:
            return batch, []
        if self._process is None:
            assert self._observe is not None
            try:
                self._observe(direction, tuple(hits), now)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                self._report("observe", exc)
            return batch, []
        hits = self.out.begin(direction, hits, hop)
        try:
            self._process(direction, hits, self.out, now)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self.out.abort()
            self._report("process", exc)
            return rest, []
        forwarded, passages = self.out.end()
        return (rest + forwarded if rest else forwarded), passages

    def wake(self, now: float) -> list[Passage]:
        """The stage's timer has come. A failure costs it all that it holds: nobody else would ever let it go."""
        on_wake = getattr(self.stage, "on_wake", None)
        if on_wake is None or self._process is None:
            return []  # an observer has no `out`
        self.out.begin_wake()
        try:
            on_wake(now, self.out)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self.out.abort()
            self._report("on_wake", exc)
            return []
        return self.out.end()[1]

    def tell(self, event: str, *arguments: Any) -> None:
        """Call one of the stage's event methods, if it has it."""
        method = getattr(self.stage, event, None)
        if method is None:
            return
        try:
            method(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            self._report(event, exc)

    def _report(self, where: str, exc: BaseException) -> None:
        self._on_failure(self.plugin, where, exc)
