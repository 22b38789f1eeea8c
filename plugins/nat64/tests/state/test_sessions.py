"""S1–S9: mappings, filtering, lifetimes, limits, and that all of it dies with its owner."""

import pytest
from nat64_world import SOURCE, World, inner, remote
from vpnrs_nat64.state import sessions
from vpnrs_nat64.state.model import ICMP, TCP, UDP, Refusal
from vpnrs_nat64.state.options import StaticBinding
from vpnrs_nat64.state.records import Session, port_of
from vpnrs_nat64.state.sessions import Stored
from vpnrs_nat64.state.tcp import FIN, RST, SYN, State

ACK = 0x10
SECOND_SOURCE = bytes((10, 77, 0, 253))


def test_s1_one_mapping_serves_all_destinations():
    world = World()
    one, two = world.out(to=remote("192.0.2.9:80")), world.out(to=remote("198.51.100.7:53"))
    assert one != two
    assert one.outer == two.outer
    assert one.outer[:4] == SOURCE


def test_s1_protocols_have_tables_of_their_own():
    world = World()
    port = inner(1, 40000)
    outers = {
        world.out(protocol=UDP, frm=port).outer,
        world.syn(frm=port).outer,
        world.out(protocol=ICMP, frm=port).outer,
    }
    assert outers == {SOURCE + (40000).to_bytes(2, "big")}


def test_s1_two_clients_never_share_an_outer_port():
    world = World()
    one, two = world.out("a", frm=inner(1, 40000)), world.out("b", frm=inner(2, 40000))
    assert port_of(one.outer) == 40000
    assert port_of(two.outer) % 2 == 0
    assert one.outer != two.outer


def test_s1_a_binding_lives_while_it_has_sessions():
    world = World()
    first = world.out(to=remote("192.0.2.9:80"))
    world.wait(200)
    second = world.out(to=remote("192.0.2.10:80"))
    world.wait(150)
    assert world.back(first) != first  # it has expired; the binding lets a new one in
    assert world.state.count_bindings() == 1
    assert world.state.bibs[UDP].of_outer(second.outer).sessions == 2
    world.wait(302)
    assert world.state.count_bindings() == world.state.count_sessions() == 0
    assert world.back(second) is Refusal.NO_BINDING


def test_s2_a_client_has_one_source_address_for_all_protocols_and_clients_are_spread():
    world = World(sources=(SOURCE, SECOND_SOURCE))
    of_a = {world.out("a", protocol=p, frm=inner(1, n)).outer[:4] for p in (UDP, ICMP) for n in range(50)}
    of_b = {world.out("b", frm=inner(2, n)).outer[:4] for n in range(50)}
    assert {*of_a, *of_b} == {SOURCE, SECOND_SOURCE}
    assert len(of_a) == len(of_b) == 1


def test_s3_when_the_ports_are_used_up_no_session_is_made_and_one_that_ends_makes_room():
    world = World(ports=(50000, 50003))
    sessions = [world.out(frm=inner(1, n)) for n in range(4)]
    assert sorted(port_of(s.outer) for s in sessions) == [50000, 50001, 50002, 50003]
    assert world.out(frm=inner(1, 9)) is Refusal.NO_PORT
    assert isinstance(world.syn(frm=inner(1, 9)), Session)
    world.wait(302)
    assert isinstance(world.out(frm=inner(1, 9)), Session)


def test_s3_a_client_cannot_use_up_what_is_for_all():
    world = World(client_bindings=3, client_sessions=5)
    for n in range(3):
        assert isinstance(world.out(frm=inner(1, n)), Session)
    assert world.out(frm=inner(1, 3)) is Refusal.BINDING_LIMIT
    assert isinstance(world.out("b", frm=inner(2, 3)), Session)
    for n in range(2):
        assert isinstance(world.out(frm=inner(1, 0), to=remote(f"192.0.2.{n + 20}:1")), Session)
    assert world.out(frm=inner(1, 0), to=remote("192.0.2.30:1")) is Refusal.SESSION_LIMIT


def test_s3_the_limits_for_all_hold():
    world = World(max_bindings=2, max_sessions=3)
    world.out("a"), world.out("b", frm=inner(2))
    assert world.out("b", frm=inner(2, 7)) is Refusal.BINDING_LIMIT
    assert isinstance(world.out("a", to=remote("192.0.2.10:1")), Session)
    assert world.out("a", to=remote("192.0.2.11:1")) is Refusal.SESSION_LIMIT


def test_s3_strangers_use_up_half_of_a_clients_sessions_only():
    world = World(client_sessions=8)
    session = world.out()
    verdicts = [world.back(session, frm=remote(f"198.51.100.{n}:9")) for n in range(8)]
    assert [isinstance(v, Session) for v in verdicts] == [True] * 3 + [False] * 5
    assert verdicts[-1] is Refusal.SESSION_LIMIT
    assert isinstance(world.out(to=remote("192.0.2.10:1")), Session)


def test_s3_strangers_use_up_half_of_all_sessions_only():
    world = World(max_sessions=8)
    session = world.out()
    verdicts = [world.back(session, frm=remote(f"198.51.100.{n}:9")) for n in range(8)]
    assert [isinstance(v, Session) for v in verdicts] == [True] * 3 + [False] * 5
    assert isinstance(world.out("b", frm=inner(2)), Session)


def test_s4_what_nobody_asked_for_has_no_binding():
    world = World()
    for protocol in (UDP, ICMP):
        key4 = remote("192.0.2.9:0")[:4] + SOURCE + bytes(4)
        assert world.state.inbound(protocol, key4, 0, world.now) is Refusal.NO_BINDING
    for flags in (ACK, RST, FIN | ACK):
        assert world.state.inbound(TCP, key4, flags, world.now) is Refusal.NO_BINDING
        assert world.out(protocol=TCP, flags=flags) is Refusal.NO_SESSION
    assert world.state.count_sessions() == 0


def test_s4_tcp_without_a_session_passes_an_existing_binding_and_leaves_nothing():
    world = World()
    session = world.established()
    for flags in (ACK, RST):
        stray = world.out(protocol=TCP, to=remote("192.0.2.77:81"), flags=flags)
        assert stray.outer == session.outer
        assert world.back(session, flags, frm=remote("192.0.2.77:81")).outer == session.outer
    assert world.state.count_sessions() == 1


def test_s5_filtering_is_endpoint_independent_by_default():
    world = World()
    session = world.out()
    stranger = world.back(session, frm=remote("198.51.100.1:999"))
    assert isinstance(stranger, Session)
    assert stranger.from_outside
    assert stranger.outer == session.outer


def test_s5_address_dependent_filtering_lets_in_any_port_of_who_was_sent_to():
    world = World(address_dependent=True)
    here = inner(1, 40000)
    session = world.out(frm=here, to=remote("192.0.2.9:80"))
    assert isinstance(world.back(session, frm=remote("192.0.2.9:999")), Session)
    assert world.back(session, frm=remote("198.51.100.1:80")) is Refusal.FILTERED
    world.wait(302)
    again = world.out(frm=here, to=remote("198.51.100.1:80"))
    assert world.back(again, frm=remote("192.0.2.9:999")) is Refusal.FILTERED
    assert world.state.tables[UDP].peers.keys() == {again.outer + remote("198.51.100.1:80")[:4]}


def test_s5_outbound_refreshes_and_inbound_does_unless_told_not_to():
    for refresh, alive in ((True, True), (False, False)):
        world = World(inbound_refresh=refresh)
        session = world.out()
        for _ in range(4):
            world.wait(100)
            world.back(session)
        assert (world.state.count_sessions() == 1) is alive
        kept = world.out("b", frm=inner(2))
        for _ in range(4):
            world.wait(100)
            assert world.out("b", frm=inner(2)) == kept


@pytest.mark.parametrize(("protocol", "lifetime"), [(UDP, 300), (ICMP, 60)])
def test_s5_sessions_last_as_long_as_the_rfc_says(protocol, lifetime):
    world = World()
    session = world.out(protocol=protocol)
    world.wait(lifetime - 0.1)
    assert world.back(session) == session
    world.wait(lifetime + 1.1)
    assert world.back(session) is Refusal.NO_BINDING


def test_s8_echo_ids_are_mapped_and_unasked_requests_to_a_mapped_id_pass():
    world = World()
    session = world.out(protocol=ICMP, frm=inner(1, 77), to=remote("192.0.2.9:0"))
    assert port_of(session.outer) == 77  # ids are not bound by the port range
    assert isinstance(world.back(session, frm=remote("198.51.100.1:0")), Session)


def test_s9_errors_find_sessions_and_change_nothing():
    world = World()
    session = world.out()
    deadline = session.deadline
    world.now += 100
    assert world.state.find4(UDP, session.key4) == session
    assert world.state.find6(UDP, inner(), remote()) == session
    assert world.state.find4(TCP, session.key4) is None
    assert world.state.find6(UDP, inner(2), remote()) is None
    assert session.deadline == deadline


def test_mappings_die_with_their_session_and_the_next_one_with_its_address_gets_nothing_of_it(monkeypatch):
    monkeypatch.setattr(sessions, "WORK", 0)  # as if there were so much of it that clearing takes longer
    world = World()
    old, stray = world.out("a"), world.established(owner="a")
    world.state.close("a")
    assert not world.state.client_of(old).open
    assert world.back(old) is Refusal.NO_BINDING
    assert world.state.find4(UDP, old.key4) is None
    assert world.state.find6(UDP, inner(), remote()) is None
    new = world.out("b")  # the same address, port and destination, before the old state is cleared away
    assert new != old
    assert new.outer != old.outer
    assert world.back(old) is Refusal.NO_BINDING
    assert world.back(stray, ACK) is Refusal.NO_BINDING
    there = [each for bib in world.state.bibs.values() for each in bib if world.state.client_of(each).open]
    assert [world.owner(binding) for binding in there] == ["b"]
    monkeypatch.undo()
    world.wait(0)
    assert world.state.count_bindings() == world.state.count_sessions() == 1
    assert world.back(new) == new
    assert world.out("b") == new


def test_a_released_address_loses_its_bindings_and_the_others_keep_theirs():
    world = World()
    one, two = world.out(frm=inner(1)), world.out(frm=inner(2))
    world.state.release("a", [inner(1)[:16]])
    assert world.back(one) is Refusal.NO_BINDING
    assert world.back(two) == two


def test_an_address_that_moved_to_another_open_session_takes_nothing_with_it():
    world = World()
    old = world.out("a")
    new = world.out("b")
    assert world.owner(new) == "b"
    assert world.back(old) in (new, Refusal.NO_BINDING)
    assert world.state.count_bindings() == 1


@pytest.mark.parametrize("leave", ["close", "renew"])
def test_clearing_a_client_away_is_bounded_work(leave):
    world = World()
    for n in range(2500):
        last = world.out(frm=inner(1, n))
    getattr(world.state, leave)("a")
    assert world.back(last) is Refusal.NO_BINDING
    counts = [2500]
    while counts[-1]:
        counts.append(world.state.count_sessions())
        assert counts[-2] - sessions.WORK <= counts[-1] < counts[-2]
        world.state.expire(world.now)
    assert world.state.next_time() != 0.0
    assert world.state.count_bindings() == 0


# TCP


def test_tcp_waits_for_the_answer_the_transitory_time_and_is_then_established():
    world = World()
    session = world.syn()
    assert session.state is State.V6_INIT
    world.wait(241.1)
    assert world.state.count_sessions() == 0
    session = world.established()
    assert session.state is State.EST
    world.wait(7000)
    assert world.back(session, ACK) == session
    world.wait(7100)
    assert world.state.count_sessions() == 1


def test_tcp_both_fins_leave_the_transitory_time():
    world = World()
    session = world.established()
    world.back(session, FIN | ACK)
    assert session.state is State.V4_FIN
    world.out(protocol=TCP, flags=FIN | ACK)
    assert session.state is State.V4V6_FIN
    world.wait(120)
    world.back(session, ACK)
    world.wait(121.1)
    assert world.state.count_sessions() == 0


def test_tcp_reset_is_transitory_and_data_brings_it_back():
    world = World()
    session = world.established()
    session.ready = True
    world.back(session, RST)
    assert session.state is State.TRANS
    assert not session.ready
    world.wait(200)
    world.out(protocol=TCP, flags=ACK)
    assert session.state is State.EST
    world.wait(300)
    world.back(session, RST)
    world.wait(241.1)
    assert world.state.count_sessions() == 0


def test_tcp_silence_is_probed_before_the_session_goes():
    world = World()
    session = world.established()
    probes, _ = world.wait(7201)
    assert probes == [session]
    assert session.state is State.TRANS
    world.back(session, ACK)
    probes, _ = world.wait(7300)
    assert probes == [session]
    world.wait(241.1)
    assert world.state.count_sessions() == 0


def test_tcp_a_syn_from_outside_enters_a_mapped_port_and_waits_for_the_clients():
    world = World()
    session = world.established()
    inbound = world.back(session, SYN, frm=remote("198.51.100.1:999"))
    assert inbound.state is State.V4_INIT
    assert world.out(protocol=TCP, to=remote("198.51.100.1:999"), flags=SYN | ACK) == inbound
    assert inbound.state is State.EST


def test_tcp_an_unasked_syn_is_stored_for_six_seconds_and_told_once():
    world = World()
    key4 = remote("192.0.2.9:999")[:4] + SOURCE + bytes((3, 231)) + (40000).to_bytes(2, "big")
    assert world.state.inbound(TCP, key4, SYN, world.now) is Stored.SYN
    assert world.state.inbound(TCP, key4, SYN, world.now) is Refusal.NO_BINDING  # a repetition starts nothing anew
    assert world.wait(5.9) == ([], [])
    assert world.wait(0.1) == ([], [key4])
    assert world.state.next_time() is None


def test_tcp_a_stored_syn_is_answered_by_the_clients_own():
    world = World()
    outer = SOURCE + (40000).to_bytes(2, "big")
    far = remote("192.0.2.9:999")
    key4 = far[:4] + outer[:4] + far[4:] + outer[4:]
    assert world.state.inbound(TCP, key4, SYN, world.now) is Stored.SYN
    session = world.syn(frm=inner(1, 40000), to=far)
    assert session.key4 == key4
    assert session.state is State.EST
    assert world.wait(10) == ([], [])


def test_tcp_stored_syns_are_bounded():
    world = World(stored_syns=2)
    keys = [remote("192.0.2.9:999")[:4] + SOURCE + n.to_bytes(4, "big") for n in range(3)]
    verdicts = [world.state.inbound(TCP, key, SYN, world.now) for key in keys]
    assert verdicts == [Stored.SYN, Stored.SYN, Refusal.NO_BINDING]
    world.state.forget_syn(keys[0])
    assert world.state.inbound(TCP, keys[2], SYN, world.now) is Stored.SYN


def test_tcp_a_filtered_syn_is_stored_too():
    world = World(address_dependent=True)
    session = world.established()
    assert world.back(session, SYN, frm=remote("198.51.100.1:999")) is Stored.SYN


# Static bindings


def test_a_static_binding_lets_in_whoever_its_client_is_and_outlives_it():
    client = inner(5, 80)
    outer = SOURCE + (8080).to_bytes(2, "big")
    world = World(addresses={}, static=[StaticBinding(TCP, client, outer)])
    far = remote("192.0.2.9:999")
    key4 = far[:4] + outer[:4] + far[4:] + outer[4:]
    assert world.state.inbound(TCP, key4, ACK, world.now) is Refusal.NO_BINDING
    world.addresses[client[:16]] = "a"
    session = world.state.inbound(TCP, key4, SYN, world.now)
    assert session.inner == client
    assert world.owner(session) == "a"
    world.state.close("a")
    world.addresses[client[:16]] = "b"
    world.wait(0)
    assert world.state.count_sessions() == 0
    assert world.owner(world.state.inbound(TCP, key4, SYN, world.now)) == "b"
    assert world.syn(owner="b", frm=client, to=remote("192.0.2.44:5")).outer == outer


def test_a_static_binding_goes_over_to_the_next_owner_before_the_last_one_is_cleared_away(monkeypatch):
    monkeypatch.setattr(sessions, "WORK", 0)
    client = inner(5, 80)
    outer = SOURCE + (8080).to_bytes(2, "big")
    world = World(addresses={client[:16]: "a"}, static=[StaticBinding(UDP, client, outer)])
    far = remote("192.0.2.9:999")
    key4 = far[:4] + outer[:4] + far[4:] + outer[4:]
    old = world.state.inbound(UDP, key4, 0, world.now)
    world.state.close("a")
    world.addresses[client[:16]] = "b"
    new = world.out("b", frm=client, to=far)
    assert new != old
    assert world.owner(new) == "b"
    assert world.state.inbound(UDP, key4, 0, world.now) == new
    monkeypatch.undo()
    world.wait(0)
    assert world.state.count_sessions() == 1


def test_static_bindings_must_not_share_an_end():
    outer = SOURCE + (8080).to_bytes(2, "big")
    with pytest.raises(ValueError, match="bound already"):
        World(static=[StaticBinding(UDP, inner(1), outer), StaticBinding(UDP, inner(2), outer)])
    World(static=[StaticBinding(UDP, inner(1), outer), StaticBinding(TCP, inner(1), outer)])
