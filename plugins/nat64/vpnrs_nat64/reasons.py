"""Why this plugin drops packets: every reason, one a cause, with the line that documentation and status print."""

from __future__ import annotations

from vpnrs_nat64.state.model import Refusal
from vpnrs_nat64.translate.problem import REASONS as TRANSLATION

_STATE: dict[str, str] = {
    Refusal.NO_BINDING.value: "from outside, for a port or echo id that no client has",
    Refusal.NO_SESSION.value: "a TCP segment without SYN from a client that has no such connection",
    Refusal.FILTERED.value: "from an address that the client has not sent to (address-dependent filtering)",
    Refusal.NO_PORT.value: "all ports of the client's source address are taken",
    Refusal.BINDING_LIMIT.value: "the client's bindings, or all of them, are as many as they may be",
    Refusal.SESSION_LIMIT.value: "the client's sessions, or all of them, are as many as they may be",
}

PRIVATE, OWN_SOURCE, ERROR_SESSION, UNANSWERED, OPENED, CLIENT_GONE = (
    "private_address",
    "own_source",
    "error_without_session",
    "unanswered_syn",
    "crossed_syn",
    "client_gone",
)

_HERE: dict[str, str] = {
    PRIVATE: "an IPv4 address that is not global, behind the well-known prefix (RFC 6052 3.1): see allow_private",
    OWN_SOURCE: "from outside, with one of the translator's own addresses as its source",
    ERROR_SESSION: "an ICMP error about a packet of no session, or of another client's",
    UNANSWERED: "a SYN from outside that no client's own SYN answered in time; its sender hears port unreachable",
    OPENED: "a stored SYN from outside, when the client's own SYN made it superfluous",
    CLIENT_GONE: "of a client whose session ended, and held until then",
}

REASONS: dict[str, str] = {**TRANSLATION, **_STATE, **_HERE}
