"""Every packet that enters is for the TUN, in a queue, held, or counted as dropped, whatever stages do."""

from acting_stage import Acting, TunSide
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_bench import build_bench

from vpnrs_core.interfaces import Direction
from vpnrs_core.packet.packet import Packet
from vpnrs_core.testkit.packets import super_tcp, udp

FAR = "198.51.100.7"
TARGETS = ("10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.99", FAR, "224.0.0.1", "169.254.1.1")


class Fickle:
    """A stage that takes its decisions from a script: each packet stays one packet, whatever happens to it."""

    def __init__(self, script):
        self.script = list(script)
        self.mine = []

    def next(self):
        return self.script.pop(0) if self.script else "forward"

    def act(self, direction, batch, out, now):
        for packet in batch:
            self.name(packet, direction, out, self.next())

    def name(self, packet, direction, out, what):
        if what == "forward":
            out.forward(packet)
        elif what == "renew":
            out.forward(packet, Packet(packet.frame))
        elif what == "drop":
            out.drop(packet, "source")
        elif what == "nonsense":
            out.drop(packet, "made.up")
        elif what == "reply":
            out.reply(packet, Packet(packet.frame))
        elif what == "hairpin":
            out.inject(Direction.EGRESS, Packet(packet.frame), cause=packet)
        elif what == "hold":
            if out.hold(packet):
                self.mine.append((packet, direction))
        elif what == "raise":
            raise RuntimeError("as scripted")
        elif what == "twice":
            out.forward(packet)
            out.drop(packet, "source")
        # "forget" names nothing

    def on_wake(self, now, out):
        mine, self.mine = self.mine, []
        for packet, direction in mine:
            self.name(packet, direction, out, self.next())


class FicklePeers:
    """Each session has its own: what one was given is not another's to name."""

    NAME, ORDER = "three", 3

    def __init__(self, script):
        self.script = script
        self.made = []

    def bind(self, session, wake_at):
        fickle = Fickle(self.script)
        self.made.append(Acting(fickle.act, {"on_wake": fickle.on_wake}, wake_at))
        return self.made[-1]


what = st.sampled_from(["forward", "renew", "drop", "nonsense", "reply", "hairpin", "hold", "raise", "twice", "forget"])
scripts = st.lists(what, max_size=25)
packet = st.tuples(st.sampled_from(TARGETS), st.sampled_from(TARGETS), st.booleans())
batches = st.lists(st.tuples(st.sampled_from(["egress", "a", "b", "wake"]), st.lists(packet, max_size=5)), max_size=8)


def build(source, destination, whole):
    if whole:
        return super_tcp(source, destination, bytes(3000), 1000)
    return Packet.of(udp(source, destination, b"x"))


@settings(max_examples=150, deadline=None)
@given(scripts, scripts, scripts, batches, st.booleans())
def test_nothing_is_lost_and_nothing_is_doubled(one, two, three, batches, isolation):
    stages = [Fickle(one), Fickle(two)]
    factories = [
        TunSide(stages[0].act, "one", 1, on_wake=stages[0].on_wake),
        TunSide(stages[1].act, "two", 2, on_wake=stages[1].on_wake),
        FicklePeers(three),
    ]
    bench = build_bench(*factories, isolation=isolation)
    entered = answers = 0
    for now, (where, described) in enumerate(batches):
        batch = [build(*how) for how in described]
        entered += sum(one.segments for one in batch)
        before = bench.drops.packets["no_route"]
        if where == "egress":
            bench.pipeline.egress(batch, float(now))
        elif where == "wake":
            entered -= sum(one.segments for one in batch)
            for factory in factories:
                for made in factory.made:
                    made.wake_at(float(now))
            bench.pipeline.wake(float(now))
        else:
            bench.pipeline.ingress(getattr(bench, where), batch, float(now))
        answers += bench.drops.packets["no_route"] - before
    found = sum(one.segments for one in bench.pipeline.to_tun)
    found += sum(sum(p.segments for p in peer.queue.pull(10**9, 100.0)) for peer in (bench.a, bench.b))
    held = [entry.packet for stage in bound_stages(bench) for entry in stage.out.held.values()]
    found += sum(one.segments for one in held)
    found += bench.drops.total()
    # An ICMP error of the core's own is a packet that nobody put in.
    assert entered <= found <= entered + answers


def bound_stages(bench):
    yield from bench.pipeline._tun_stages
    for peer in (bench.a, bench.b):
        yield from peer.stages
