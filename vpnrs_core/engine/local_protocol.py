"""The local sockets' protocol: framed, versioned JSON, the same text for the server, the commands and plugins."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

VERSION: Final = 1
MAX_MESSAGE: Final = 1 << 20
# Answers may be larger: a status has a few KiB for each session.
MAX_ANSWER: Final = 64 << 20
HEADER: Final = struct.Struct(">I")

STATUS: Final = "status"
CONTROL: Final = "control"
SUMMARY: Final = "summary"
# What everybody on this host may ask: it names no principal and no address.
OPEN_REQUESTS: Final = frozenset({"core.summary"})

# Error codes of a response.
BAD_REQUEST: Final = "bad_request"
UNKNOWN_REQUEST: Final = "unknown_request"
NOT_ALLOWED: Final = "not_allowed"
REFUSED: Final = "refused"
INTERNAL: Final = "internal"


class BadMessage(ValueError):
    """The other side sent what is not a message of this protocol."""


def pack(message: Mapping[str, Any], limit: int = MAX_MESSAGE) -> bytes:
    """Length (4 bytes, big-endian) and JSON. Raises BadMessage beyond `limit` bytes."""
    return _framed(json.dumps(message, separators=(",", ":")).encode(), limit)


def _framed(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise BadMessage(f"message of {len(body)} bytes is larger than {limit}")
    return HEADER.pack(len(body)) + body


def body_size(header: bytes, limit: int = MAX_MESSAGE) -> int:
    """Bytes that follow the header. Raises BadMessage beyond `limit` bytes."""
    size: int = HEADER.unpack(header)[0]
    if size > limit:
        raise BadMessage(f"message of {size} bytes is larger than {limit}")
    return size


def unpack(body: bytes) -> dict[str, Any]:
    """A message's object. Raises BadMessage when it is none, or of another version."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("message is not JSON") from None
    if not isinstance(message, dict):
        raise BadMessage("message is not a JSON object")
    if message.get("v") != VERSION:
        raise BadMessage(f"message has version {message.get('v')!r}; this side speaks {VERSION}")
    return message


def request(number: int, name: str, body: Mapping[str, Any]) -> bytes:
    return pack({"v": VERSION, "id": number, "name": name, "request": body})


def result(number: Any, value: bytes) -> bytes:
    """`value` is JSON already: that of a thousand sessions is made in one piece."""
    head = json.dumps({"v": VERSION, "id": number, "ok": True}, separators=(",", ":")).encode()
    return _framed(head[:-1] + b',"result":' + value + b"}", MAX_ANSWER)


def error(number: Any, code: str, text: str) -> bytes:
    return pack({"v": VERSION, "id": number, "ok": False, "error": {"code": code, "text": text}})
