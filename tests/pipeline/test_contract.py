"""The stage contract: order, matches, naming each packet once, and that a failing stage fails closed."""

from ipaddress import ip_address, ip_network

import pytest
from acting_stage import PeerSide, TunSide, Watching, forward_all

from vpnrs_core.errors import PluginError
from vpnrs_core.interfaces import Direction, Matches
from vpnrs_core.packet.packet import Packet
from vpnrs_core.pipeline.out import Misuse
from vpnrs_core.testkit.packets import echo, udp

FAR = "198.51.100.7"


def to_a(*words):
    return [Packet.of(udp(FAR, "10.0.0.2", word)) for word in words]


def from_a(*words):
    return [Packet.of(udp("10.0.0.2", FAR, word)) for word in words]


def payloads(packets):
    return [packet[28:] for packet in packets]


def recorder(seen, name):
    def act(direction, batch, out, now):
        seen.append((name, direction.value))
        forward_all(direction, batch, out, now)

    return act


def test_order_counts_from_the_tun(make_bench):
    seen = []
    stages = [
        PeerSide(recorder(seen, "p9"), "p9", 9),
        TunSide(recorder(seen, "t300"), "t300", 300),
        PeerSide(recorder(seen, "p1"), "p1", 1),
        TunSide(recorder(seen, "t100b"), "t100b", 100),
        TunSide(recorder(seen, "t100a"), "t100a", 100),
    ]
    bench = make_bench(*stages)
    bench.pipeline.egress(to_a(b"x"), 0.0)
    outwards = [name for name, _ in seen]
    assert outwards == ["t100a", "t100b", "t300", "p1", "p9"]
    seen.clear()
    bench.pipeline.ingress(bench.a, from_a(b"x"), 0.0)
    assert [name for name, _ in seen] == outwards[::-1]


def test_what_does_not_match_bypasses(make_bench):
    seen = []

    def act(direction, batch, out, now):
        seen.extend((direction, packet.data[28:]) for packet in batch)
        for packet in batch:
            out.drop(packet, "malformed")

    here = ip_network("198.51.100.0/24")
    bench = make_bench(TunSide(act, matches=lambda: Matches(egress_src=[here], egress_dst=[ip_network("10.0.0.3")])))
    bench.pipeline.egress([*to_a(b"hit"), Packet.of(udp("203.0.113.1", "10.0.0.2", b"miss"))], 0.0)
    bench.pipeline.egress([Packet.of(udp("203.0.113.1", "10.0.0.3", b"hit by destination"))], 0.0)
    bench.pipeline.ingress(bench.a, from_a(b"other direction"), 0.0)
    assert seen == [(Direction.EGRESS, b"hit"), (Direction.EGRESS, b"hit by destination")]
    assert payloads(bench.queued(bench.a)) == [b"miss"]
    assert payloads(bench.tun()) == [b"other direction"]


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("side", [TunSide, PeerSide])
def test_a_raising_stage_loses_its_batch_and_no_other(make_bench, failing, side):
    def act(direction, batch, out, now):
        for number, packet in enumerate(batch):
            if number == failing and packet.data[28:].startswith(b"bad"):
                raise KeyError("no such thing")
            out.forward(packet)

    bench = make_bench(side(act))
    bench.pipeline.egress(to_a(b"bad1", b"bad2", b"bad3"), 0.0)
    assert bench.queued(bench.a) == []
    assert bench.drops.nonzero() == {"stage_error": 3}
    assert bench.pipeline.stage_errors == {"test": 3}
    assert [(plugin, where, type(exc)) for plugin, where, exc in bench.failures] == [("test", "process", KeyError)]
    bench.pipeline.egress(to_a(b"good"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"good"]


def test_a_failed_call_takes_everything_back(make_bench):
    def act(direction, batch, out, now):
        out.forward(batch[0], *to_a(b"new1", b"new2"))
        out.reply(batch[1], from_a(b"answer")[0])
        out.drop(batch[2], "source")
        assert out.hold(batch[3])
        out.inject(direction, to_a(b"injected")[0])
        raise ValueError("after all that")

    bench = make_bench(TunSide(act))
    bench.pipeline.egress(to_a(b"1", b"2", b"3", b"4", b"5"), 0.0)
    assert bench.queued(bench.a) == bench.tun() == []
    assert bench.drops.nonzero() == {"stage_error": 4, "source": 1}


def test_only_packets_that_match_fail_closed(make_bench):
    def act(direction, batch, out, now):
        raise RuntimeError("always")

    bench = make_bench(TunSide(act, matches=lambda: Matches(egress_dst=[ip_network("10.0.0.3/32")])))
    bench.pipeline.egress([*to_a(b"fine"), Packet.of(udp(FAR, "10.0.0.3", b"lost"))], 0.0)
    assert payloads(bench.queued(bench.a)) == [b"fine"]
    assert bench.queued(bench.b) == []


def test_on_wake_that_raises_loses_what_is_held(make_bench):
    def act(direction, batch, out, now):
        for packet in batch:
            out.hold(packet)
        stage.made[0].wake_at(now + 1)

    def on_wake(now, out):
        raise OSError("gone")

    stage = TunSide(act, on_wake=on_wake)
    bench = make_bench(stage)
    bench.pipeline.egress(to_a(b"1", b"2"), 0.0)
    bench.pipeline.wake(1.0)
    assert bench.drops.nonzero() == {"stage_error": 2}
    assert [(plugin, where) for plugin, where, _ in bench.failures] == [("test", "on_wake")]
    assert {s.labels["plugin"]: s.value for s in bench.pipeline.samples() if s.name == "vpnrs_held_bytes"} == {
        "test": 0
    }


def test_events_that_raise_are_reported_and_the_others_are_told(make_bench, session):
    told = []

    def raising(*arguments):
        raise ZeroDivisionError

    def noting(name):
        return lambda *arguments: told.append((name, arguments))

    names = ("session_opened", "session_changed", "session_closed", "mtu_changed")
    broken = TunSide(forward_all, "broken", 1, **dict.fromkeys(names, raising))
    sound = TunSide(forward_all, "sound", 2, **{name: noting(name) for name in names})
    bench = make_bench(broken, sound)
    assert [name for name, _ in told] == ["session_opened"] * 2
    told.clear()
    a = bench.a.session
    a.leases = [ip_address("10.0.0.2"), ip_address("10.0.0.9")]
    bench.pipeline.change(bench.a, mtu=1300)
    bench.pipeline.set_tun_mtu(1400)
    bench.pipeline.close(bench.a, "bye")
    assert told == [
        ("session_changed", (a, [ip_address("fd00::2")])),
        ("mtu_changed", (a, 1300)),
        ("mtu_changed", (None, 1400)),
        ("session_closed", (a, "bye")),
    ]
    assert {(plugin, where) for plugin, where, _ in bench.failures} == {("broken", name) for name in names}


def test_forgotten_packets_are_lost_and_reported(make_bench):
    bench = make_bench(TunSide(lambda direction, batch, out, now: out.forward(batch[0])))
    bench.pipeline.egress(to_a(b"1", b"2", b"3"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1"]
    assert bench.drops.nonzero() == {"stage_error": 2}
    ((plugin, _, exc),) = bench.failures
    assert plugin == "test"
    assert isinstance(exc, Misuse)
    assert "2 of its packets were not named" in str(exc)


def test_naming_twice_has_no_second_effect(make_bench):
    def act(direction, batch, out, now):
        first, second = batch
        out.forward(first)
        out.forward(first)
        out.drop(first, "source")
        out.forward((first, second), to_a(b"joined")[0])
        out.forward(second)

    bench = make_bench(TunSide(act))
    bench.pipeline.egress(to_a(b"1", b"2"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1", b"2"]
    assert bench.drops.nonzero() == {}
    assert len(bench.failures) == 1


def test_naming_a_strangers_packet_has_no_effect(make_bench):
    def act(direction, batch, out, now):
        out.forward(to_a(b"out of thin air")[0])
        assert not out.hold(to_a(b"another")[0])
        forward_all(direction, batch, out, now)

    bench = make_bench(TunSide(act))
    bench.pipeline.egress(to_a(b"1"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1"]
    assert isinstance(bench.failures[0][2], Misuse)


def test_undeclared_reason_counts_as_bad_reason_and_is_told_once(make_bench):
    def act(direction, batch, out, now):
        for packet, reason in zip(batch, ("test.known", "test.unknown", "test.unknown", "source"), strict=True):
            out.drop(packet, reason)

    bench = make_bench(TunSide(act), reasons=("known",))
    bench.pipeline.egress(to_a(b"1", b"2", b"3", b"4"), 0.0)
    bench.pipeline.egress(to_a(b"1", b"2", b"3", b"4"), 0.0)
    assert bench.drops.nonzero() == {"test.known": 2, "bad_reason": 4, "source": 2}
    assert len(bench.failures) == 1
    assert "'test.unknown'" in str(bench.failures[0][2])


def test_malformed_packet_of_a_stage_is_its_failure(make_bench):
    def act(direction, batch, out, now):
        out.forward(batch[0], Packet.of(b"\x45" + bytes(30)))

    bench = make_bench(TunSide(act))
    bench.pipeline.egress(to_a(b"1"), 0.0)
    assert bench.queued(bench.a) == []
    assert bench.drops.nonzero() == {"stage_error": 1}


def test_the_same_object_forwarded_twice_passes_as_two(make_bench):
    def double(direction, batch, out, now):
        for packet in batch:
            out.forward(packet, packet, packet)

    bench = make_bench(TunSide(double, "double", 1), TunSide(forward_all, "next", 2))
    bench.pipeline.egress(to_a(b"1"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1", b"1"]
    assert bench.failures == []


def test_reply_goes_back_where_the_packet_came_from(make_bench):
    def act(direction, batch, out, now):
        for packet in batch:
            back = (FAR, "10.0.0.2") if direction is Direction.INGRESS else ("10.0.0.2", FAR)
            out.reply(packet, Packet.of(udp(*back, b"re " + packet.data[28:])))

    for side in (TunSide, PeerSide):
        bench = make_bench(side(act))
        bench.pipeline.ingress(bench.a, from_a(b"up"), 0.0)
        assert bench.tun() == []
        assert payloads(bench.queued(bench.a)) == [b"re up"]
        bench.pipeline.egress(to_a(b"down"), 0.0)
        assert bench.queued(bench.a) == []
        assert payloads(bench.tun()) == [b"re down"]


def test_a_reply_passes_the_stages_between(make_bench):
    seen = []

    def answer(direction, batch, out, now):
        for packet in batch:
            out.reply(packet, from_a(b"answer")[0])

    stages = [TunSide(recorder(seen, n), n, o) for n, o in (("near", 1), ("far", 3))]
    bench = make_bench(*stages, TunSide(answer, "answer", 2))
    bench.pipeline.egress(to_a(b"x"), 0.0)
    assert seen == [("near", "egress"), ("near", "ingress")]
    assert payloads(bench.tun()) == [b"answer"]


def test_an_injected_packet_injects_no_further(make_bench):
    def act(direction, batch, out, now):
        for packet in batch:
            out.forward(packet)
            out.inject(Direction.EGRESS, to_a(b"more")[0], cause=packet)

    bench = make_bench(TunSide(act, "first", 1), TunSide(act, "second", 2))
    bench.pipeline.egress(to_a(b"1"), 0.0)
    assert sorted(payloads(bench.queued(bench.a))) == [b"1", b"more", b"more"]
    assert bench.drops.nonzero() == {"injection_hops": 1}


def test_a_refused_injection_of_a_failed_call_counts_once(make_bench):
    def answer(direction, batch, out, now):
        for packet in batch:
            out.reply(packet, to_a(b"back")[0])

    def fail(direction, batch, out, now):
        out.reply(batch[0], from_a(b"again")[0])
        raise RuntimeError("after a reply that may not be")

    bench = make_bench(TunSide(answer, "answer", 1), PeerSide(fail, "fail", 2, matches=egress_only))
    bench.pipeline.ingress(bench.a, from_a(b"x"), 0.0)
    assert bench.drops.nonzero() == {"stage_error": 1}


def egress_only():
    return Matches(egress_dst=[ip_network("0.0.0.0/0")])


def test_a_held_injected_packet_keeps_its_hop(make_bench):
    def inject(direction, batch, out, now):
        for packet in batch:
            out.drop(packet, "source")
            out.inject(Direction.EGRESS, to_a(b"injected")[0], cause=packet)

    def hold(direction, batch, out, now):
        kept.extend(batch)
        for packet in batch:
            out.hold(packet)

    def on_wake(now, out):
        for packet in kept:
            out.forward(packet)

    kept = []
    holder = TunSide(hold, "hold", 2, on_wake=on_wake)
    bench = make_bench(TunSide(inject, "inject", 1), holder, TunSide(inject, "again", 3))
    bench.pipeline.egress(to_a(b"1"), 0.0)
    holder.made[0].wake_at(1.0)
    bench.pipeline.wake(1.0)
    assert bench.queued(bench.a) == []
    assert bench.drops.nonzero() == {"source": 2, "injection_hops": 1}


def test_out_cannot_be_used_outside_of_a_call(make_bench):
    outs = []

    def act(direction, batch, out, now):
        outs.append(out)
        out.hold(batch[0])

    bench = make_bench(TunSide(act))
    packet = to_a(b"1")[0]
    bench.pipeline.egress([packet], 0.0)
    with pytest.raises(RuntimeError, match="outside"):
        outs[0].forward(packet)


def test_an_observer_loses_nothing(make_bench):
    seen = []

    def look(direction, batch, now):
        seen.append((direction, len(batch)))
        if direction is Direction.EGRESS:
            raise LookupError("blind")
        batch.clear()

    bench = make_bench(Watching(look))
    bench.pipeline.egress(to_a(b"1", b"2"), 0.0)
    bench.pipeline.ingress(bench.a, from_a(b"3"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1", b"2"]
    assert payloads(bench.tun()) == [b"3"]
    assert seen == [(Direction.EGRESS, 2), (Direction.INGRESS, 1)]
    assert [(plugin, where) for plugin, where, _ in bench.failures] == [("watch", "observe")] * 2
    assert bench.drops.nonzero() == {}


def test_a_stage_that_cannot_be_made_refuses_its_session_only(make_bench, session):
    class Refusing(PeerSide):
        def bind(self, session, wake_at):
            if session.id == "c":
                raise ValueError("not you")
            return super().bind(session, wake_at)

    closed = []
    bench = make_bench(PeerSide(forward_all, "first", 1, close=closed.append), Refusing(forward_all))
    c = session("c", [ip_address("10.0.0.4")])
    with pytest.raises(PluginError, match=r"plugin test: its packet stage test cannot be set up: ValueError: not you"):
        bench.pipeline.open(c, mtu=1400)
    assert closed == ["refused"]
    assert bench.pipeline.route(ip_address("10.0.0.4")) is None
    bench.pipeline.egress(to_a(b"1"), 0.0)
    assert payloads(bench.queued(bench.a)) == [b"1"]


def test_a_factory_that_is_none_is_refused(make_bench):
    class Nothing:
        NAME, ORDER = "nothing", 1

    with pytest.raises(PluginError, match="neither `tun` nor `bind`"):
        make_bench(Nothing())


def test_icmp_errors_of_the_core_pass_the_stages(make_bench):
    seen = []

    def act(direction, batch, out, now):
        seen.extend((direction, packet.session) for packet in batch)
        forward_all(direction, batch, out, now)

    bench = make_bench(TunSide(act), PeerSide(act, "peer"))
    error = echo("192.0.2.99", FAR)  # whose source no client may use
    bench.pipeline.icmp(bench.a, Packet.of(error), 0.0)
    assert bench.tun() == [error]
    assert seen == [(Direction.INGRESS, bench.a.session)] * 2


def test_wake_at_refuses_what_is_no_time(make_bench):
    stage = TunSide(forward_all)
    make_bench(stage)
    with pytest.raises(ValueError, match="finite"):
        stage.made[0].wake_at(float("nan"))


def test_an_injection_enters_behind_its_own_peers_stage_and_passes_all_of_another(make_bench):
    def inject(direction, batch, out, now):
        for packet in batch:
            seen.append(("inject", packet.data[28:]))
            out.forward(packet)
            if packet.data[28:] == b"go":
                out.inject(Direction.EGRESS, to_a(b"own")[0], cause=packet)
                out.inject(Direction.EGRESS, Packet.of(udp(FAR, "10.0.0.3", b"other")), cause=packet)

    def far(direction, batch, out, now):
        seen.extend(("far", packet.data[28:]) for packet in batch)
        forward_all(direction, batch, out, now)

    seen = []
    bench = make_bench(PeerSide(inject, "inject", 1), PeerSide(far, "far", 2), isolation=False)
    bench.pipeline.egress(to_a(b"go"), 0.0)
    assert sorted(seen) == [("far", b"go"), ("far", b"other"), ("far", b"own"), ("inject", b"go"), ("inject", b"other")]
    assert payloads(bench.queued(bench.a)) == [b"go", b"own"]
    assert payloads(bench.queued(bench.b)) == [b"other"]
