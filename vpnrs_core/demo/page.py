"""A page over HTTP from one namespace to another, with the standard library's server and client."""

from __future__ import annotations

import contextlib
import http.client
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple

from vpnrs_core.demo.traffic import PATIENCE
from vpnrs_core.errors import PeerError
from vpnrs_core.host import namespace

_PATH = "/page"


class Fetched(NamedTuple):
    """`url` as it was asked for; `seen_from`: the address that the server saw; `size` in bytes, `ms` milliseconds."""

    url: str
    seen_from: str
    size: int
    ms: float


def fetch(client: str, host: str, listens: str, asked: str, size: int) -> Fetched:
    """A page of `size` random bytes, offered in the namespace `host` at the IPv4 address `listens`, asked for in
    `client` at the IPv6 address `asked`. Raises PeerError when it is not the page, OSError."""
    page = os.urandom(size)
    with _offered(host, listens, page) as server:
        connection = http.client.HTTPConnection(asked, server.server_address[1], timeout=PATIENCE)
        with namespace.entered(client), contextlib.closing(connection):
            started = time.perf_counter()
            connection.request("GET", _PATH)
            response = connection.getresponse()
            got = response.read()
            ms = round((time.perf_counter() - started) * 1000, 1)
        url = f"http://[{asked}]:{server.server_address[1]}{_PATH}"
        if response.status != http.HTTPStatus.OK or got != page:
            raise PeerError(f"{url}: status {response.status}, {len(got)} bytes; the page has {size}")
        return Fetched(url, server.seen_from, size, ms)


class _Server(socketserver.TCPServer):
    """One page. `seen_from` is who asked last."""

    page: bytes
    seen_from: str = ""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        self.server.seen_from = self.client_address[0]
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, *_: object) -> None:
        """Standard error is the demo's own."""


@contextlib.contextmanager
def _offered(host: str, address: str, page: bytes) -> Iterator[_Server]:
    with namespace.entered(host):
        server = _Server((address, 0), _Handler)
    server.page = page
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="demo-page")
    with server:
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
