"""The TCP state machine of a session (RFC 6146 section 3.5.2.2): a table of (state, input) → (state, timer)."""

from __future__ import annotations

from enum import Enum, auto

FIN, SYN, RST = 0x01, 0x02, 0x04


class State(Enum):
    """CLOSED is a session that does not exist; V4V6_FIN is "V4 FIN + V6 FIN RCV"."""

    CLOSED = "closed"
    V4_INIT = "v4_init"
    V6_INIT = "v6_init"
    EST = "established"
    V4_FIN = "v4_fin_rcv"
    V6_FIN = "v6_fin_rcv"
    V4V6_FIN = "v4_fin_v6_fin_rcv"
    TRANS = "trans"


class Input(Enum):
    """A segment by the side it came from, and the timer."""

    V6_SYN = auto()
    V4_SYN = auto()
    V6_FIN = auto()
    V4_FIN = auto()
    V6_RST = auto()
    V4_RST = auto()
    V6_DATA = auto()
    V4_DATA = auto()
    EXPIRY = auto()


class Timer(Enum):
    """What a transition does to the session's lifetime."""

    KEEP = auto()
    EST = auto()
    TRANS = auto()


Step = tuple[State, Timer]

_SEGMENTS = tuple(given for given in Input if given is not Input.EXPIRY)


def _staying(state: State, timer: Timer) -> dict[tuple[State, Input], Step]:
    return {(state, given): (state, timer) for given in _SEGMENTS}


# Every state has a step for every input; what stands later replaces what `_staying` laid down.
TABLE: dict[tuple[State, Input], Step] = {
    **_staying(State.CLOSED, Timer.KEEP),
    (State.CLOSED, Input.V6_SYN): (State.V6_INIT, Timer.TRANS),
    (State.CLOSED, Input.V4_SYN): (State.V4_INIT, Timer.TRANS),
    (State.CLOSED, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **_staying(State.V4_INIT, Timer.KEEP),
    (State.V4_INIT, Input.V6_SYN): (State.EST, Timer.EST),
    (State.V4_INIT, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **_staying(State.V6_INIT, Timer.KEEP),
    (State.V6_INIT, Input.V4_SYN): (State.EST, Timer.EST),
    (State.V6_INIT, Input.V6_SYN): (State.V6_INIT, Timer.TRANS),
    (State.V6_INIT, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **_staying(State.EST, Timer.EST),
    (State.EST, Input.V4_FIN): (State.V4_FIN, Timer.KEEP),
    (State.EST, Input.V6_FIN): (State.V6_FIN, Timer.KEEP),
    (State.EST, Input.V4_RST): (State.TRANS, Timer.TRANS),
    (State.EST, Input.V6_RST): (State.TRANS, Timer.TRANS),
    (State.EST, Input.EXPIRY): (State.TRANS, Timer.TRANS),  # and a probe is sent (RFC 6146 section 3.5.2.2)
    **_staying(State.V4_FIN, Timer.EST),
    (State.V4_FIN, Input.V6_FIN): (State.V4V6_FIN, Timer.TRANS),
    (State.V4_FIN, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **_staying(State.V6_FIN, Timer.EST),
    (State.V6_FIN, Input.V4_FIN): (State.V4V6_FIN, Timer.TRANS),
    (State.V6_FIN, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **_staying(State.V4V6_FIN, Timer.KEEP),
    (State.V4V6_FIN, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
    **{(State.TRANS, given): (State.EST, Timer.EST) for given in _SEGMENTS},
    (State.TRANS, Input.V4_RST): (State.TRANS, Timer.KEEP),
    (State.TRANS, Input.V6_RST): (State.TRANS, Timer.KEEP),
    (State.TRANS, Input.EXPIRY): (State.CLOSED, Timer.KEEP),
}

# Here a segment without SYN, FIN and RST changes nothing but the lifetime: the fast path may carry it.
STEADY = frozenset({State.EST, State.V4_FIN, State.V6_FIN})


def input_of(flags: int, from_v6: bool) -> Input:
    """A segment's input by the byte of its flags. RST outweighs SYN, which outweighs FIN."""
    if flags & RST:
        return Input.V6_RST if from_v6 else Input.V4_RST
    if flags & SYN:
        return Input.V6_SYN if from_v6 else Input.V4_SYN
    if flags & FIN:
        return Input.V6_FIN if from_v6 else Input.V4_FIN
    return Input.V6_DATA if from_v6 else Input.V4_DATA
