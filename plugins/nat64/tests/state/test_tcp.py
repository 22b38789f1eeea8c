"""The TCP machine, step by step as RFC 6146 section 3.5.2.2 has it."""

import pytest
from vpnrs_nat64.state.tcp import FIN, RST, STEADY, SYN, TABLE, Input, State, Timer, input_of

G, S, T = Input, State, Timer
ACK, PSH = 0x10, 0x08


def test_every_state_has_a_step_for_every_input():
    assert set(TABLE) == {(state, given) for state in State for given in Input}


@pytest.mark.parametrize(
    ("state", "given", "becomes", "timer"),
    [
        (S.CLOSED, G.V6_SYN, S.V6_INIT, T.TRANS),
        (S.CLOSED, G.V4_SYN, S.V4_INIT, T.TRANS),
        (S.V6_INIT, G.V4_SYN, S.EST, T.EST),
        (S.V6_INIT, G.V6_SYN, S.V6_INIT, T.TRANS),
        (S.V6_INIT, G.V6_DATA, S.V6_INIT, T.KEEP),
        (S.V6_INIT, G.V4_RST, S.V6_INIT, T.KEEP),
        (S.V4_INIT, G.V6_SYN, S.EST, T.EST),
        (S.V4_INIT, G.V4_SYN, S.V4_INIT, T.KEEP),
        (S.EST, G.V4_DATA, S.EST, T.EST),
        (S.EST, G.V6_DATA, S.EST, T.EST),
        (S.EST, G.V6_SYN, S.EST, T.EST),
        (S.EST, G.V4_FIN, S.V4_FIN, T.KEEP),
        (S.EST, G.V6_FIN, S.V6_FIN, T.KEEP),
        (S.EST, G.V4_RST, S.TRANS, T.TRANS),
        (S.EST, G.V6_RST, S.TRANS, T.TRANS),
        (S.EST, G.EXPIRY, S.TRANS, T.TRANS),
        (S.V4_FIN, G.V6_FIN, S.V4V6_FIN, T.TRANS),
        (S.V4_FIN, G.V6_DATA, S.V4_FIN, T.EST),
        (S.V4_FIN, G.V4_FIN, S.V4_FIN, T.EST),
        (S.V4_FIN, G.V4_RST, S.V4_FIN, T.EST),
        (S.V6_FIN, G.V4_FIN, S.V4V6_FIN, T.TRANS),
        (S.V6_FIN, G.V4_DATA, S.V6_FIN, T.EST),
        (S.V4V6_FIN, G.V4_DATA, S.V4V6_FIN, T.KEEP),
        (S.V4V6_FIN, G.V6_SYN, S.V4V6_FIN, T.KEEP),
        (S.TRANS, G.V4_RST, S.TRANS, T.KEEP),
        (S.TRANS, G.V6_DATA, S.EST, T.EST),
        (S.TRANS, G.V4_DATA, S.EST, T.EST),
    ],
)
def test_a_step(state, given, becomes, timer):
    assert TABLE[state, given] == (becomes, timer)


@pytest.mark.parametrize("state", [s for s in State if s is not S.EST])
def test_every_other_state_ends_when_its_time_is_over(state):
    assert TABLE[state, G.EXPIRY][0] is S.CLOSED


@pytest.mark.parametrize("state", sorted(STEADY, key=str))
def test_a_steady_state_only_refreshes_on_data(state):
    for given in (G.V6_DATA, G.V4_DATA):
        assert TABLE[state, given] == (state, T.EST)


def test_flags_are_told_apart():
    assert input_of(SYN, True) is G.V6_SYN
    assert input_of(SYN | ACK, False) is G.V4_SYN
    assert input_of(FIN | ACK | PSH, True) is G.V6_FIN
    assert input_of(RST | SYN | FIN, False) is G.V4_RST
    assert input_of(SYN | FIN, False) is G.V4_SYN
    assert input_of(ACK, False) is G.V4_DATA
    assert input_of(0, True) is G.V6_DATA
