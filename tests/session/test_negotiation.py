"""Codecs: the server picks what both have, the client believes only what it offered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.errors import PeerError
from vpnrs_core.session.negotiation import check_contexts, negotiate

names = st.lists(st.sampled_from(["plain", "offload", "segments", "a", "b", "c"]), unique=True)


def test_fixed_ids_and_even_ones_from_sixteen() -> None:
    ours = ["segments", "repair", "offload", "zip", "plain"]
    assert negotiate(ours, {"zip", "segments", "repair", "unknown"}) == {
        "plain": 0,
        "segments": 4,
        "repair": 16,
        "zip": 18,
    }


@given(names, names)
def test_what_is_negotiated_passes_the_clients_check(ours: list[str], theirs: list[str]) -> None:
    contexts = negotiate(ours, theirs)
    check_contexts(contexts, theirs)
    assert set(contexts) == {"plain"} | (set(ours) & set(theirs))


@pytest.mark.parametrize(
    "contexts",
    [{}, {"plain": 2}, {"plain": 0, "b": 16}, {"plain": 0, "a": 0}, {"plain": 0, "a": 17}, {"plain": 0, "a": 4},
     {"plain": 0, "segments": 16}],
)  # fmt: skip
def test_contexts_that_were_not_agreed_are_refused(contexts: dict[str, int]) -> None:
    with pytest.raises(PeerError, match="WELCOME"):
        check_contexts(contexts, ["plain", "a", "segments"])
