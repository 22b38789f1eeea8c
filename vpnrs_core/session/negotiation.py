"""Which codecs a session uses, and under which context ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from vpnrs_core.errors import PeerError
from vpnrs_core.wire.codepoints import PROBE_CONTEXT

PLAIN = "plain"
PROBE = "probe"
FIXED_CONTEXTS: Mapping[str, int] = {PLAIN: 0, "offload": 2, "segments": 4, "halves": 6, PROBE: PROBE_CONTEXT}
FIRST_FREE_CONTEXT = 16


def negotiate(ours: Sequence[str], theirs: Collection[str]) -> dict[str, int]:
    """Server: the codecs that both sides have, by name → context id. `plain` is always among them; the built-in ids
    are fixed, others get even ids from 16 up in the order of `ours`."""
    contexts = {PLAIN: FIXED_CONTEXTS[PLAIN]}
    free = FIRST_FREE_CONTEXT
    for name in ours:
        if name in contexts or name not in theirs:
            continue
        fixed = FIXED_CONTEXTS.get(name)
        if fixed is None:
            fixed, free = free, free + 2
        contexts[name] = fixed
    return contexts


def check_contexts(contexts: Mapping[str, int], offered: Collection[str]) -> None:
    """Client: raises PeerError for codecs that it did not offer and for ids that clash with the fixed ones."""
    if contexts.get(PLAIN) != FIXED_CONTEXTS[PLAIN]:
        raise PeerError("WELCOME: codec 'plain' must have context id 0")
    if len(set(contexts.values())) != len(contexts):
        raise PeerError("WELCOME: two codecs share a context id")
    for name, context in contexts.items():
        if name != PLAIN and name not in offered:
            raise PeerError("WELCOME: a codec was accepted that was not offered")
        fixed = FIXED_CONTEXTS.get(name)
        if (context != fixed) if fixed is not None else (context < FIRST_FREE_CONTEXT or context % 2):
            raise PeerError(f"WELCOME: context id {context} is not allowed for its codec")
