"""The part of HTTP/1.1 that a scraper needs, pure: a request's head in, a response's head out."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_HEAD = 16 * 1024
END = b"\r\n\r\n"


class BadRequest(ValueError):
    """What came is no request that this endpoint understands."""


@dataclass(frozen=True)
class Request:
    """`path` is without the query; names in `headers` are lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


def parse(head: bytes) -> Request:
    """The request line and headers, END included. Raises BadRequest."""
    try:
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = first.split(" ")
    except ValueError:
        raise BadRequest("no request line of HTTP/1") from None
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are understood")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest("a header without a name or a colon")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadRequest("a request here has no body")
    return Request(method, target.partition("?")[0], headers)


def verdict(request: Request, token: str | None) -> HTTPStatus:
    """OK, or why not. Who has no token learns nothing, not even which paths there are."""
    if token is not None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        good = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
        if scheme.lower() != "bearer" or not good:
            return HTTPStatus.UNAUTHORIZED
    if request.path != "/metrics":
        return HTTPStatus.NOT_FOUND
    return HTTPStatus.OK if request.method in ("GET", "HEAD") else HTTPStatus.METHOD_NOT_ALLOWED


def response(status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    """The whole head of a response that `body` follows, or would, to HEAD. One response a connection."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
    ]
    if status is HTTPStatus.UNAUTHORIZED:
        lines.append('WWW-Authenticate: Bearer realm="vpnrs"')
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join(lines).encode("latin-1") + END
