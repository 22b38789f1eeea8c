"""The endpoint on real sockets, asked by an ordinary HTTP client."""

from __future__ import annotations

import asyncio
import http.client
import socket
import stat

import pydantic
import pytest
from vpnrs_metrics.config import MetricsConfig
from vpnrs_metrics.endpoint import MOST_CLIENTS, Endpoint
from vpnrs_metrics.exposition import Exposition

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.context import KitContext

LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
async def serve():
    """`await serve(where, path, token)` → a running endpoint."""
    tasks = []

    async def start(where=LOOPBACK, path=None, token=None, **more):
        ctx = KitContext("metrics", None, Clock())
        ctx.counter("seen", "what was seen").add(3)
        endpoint = Endpoint(ctx, Exposition(ctx, False, 10), where, path, token, **more)
        task = asyncio.create_task(endpoint.run())
        tasks.append(task)
        ready = asyncio.create_task(endpoint.listening.wait())
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            await task
        return endpoint

    async def stop():
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    start.stop = stop
    yield start
    await stop()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def ask(connection, method="GET", path="/metrics", **headers):
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()
    finally:
        connection.close()


async def get(endpoint, **more):
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    return await asyncio.to_thread(ask, connection, **more)


async def test_a_scraper_gets_the_format_that_it_asks_for(serve):
    endpoint = await serve()
    status, kind, text = await get(endpoint)
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "vpnrs_metrics_seen_total 3.0" in text
    _, kind, text = await get(endpoint, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert (await get(endpoint, method="HEAD"))[2] == ""
    assert (await get(endpoint, path="/"))[0] == 404


async def test_without_the_token_nothing_is_told(serve):
    endpoint = await serve(token="s3cret")
    status, _, text = await get(endpoint)
    assert (status, text) == (401, "Unauthorized\n")
    assert (await get(endpoint, Authorization="Bearer s3cret"))[0] == 200


async def test_a_unix_socket_is_for_owner_and_group_and_goes_with_the_endpoint(serve, tmp_path):
    path = tmp_path / "metrics.sock"
    path.touch()
    with pytest.raises(HostError, match="exists and is no socket"):
        await serve(None, path)
    path.unlink()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    await serve(None, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    status, _, _ = await asyncio.to_thread(ask, UnixConnection(path))
    assert status == 200
    await serve.stop()
    assert not path.exists()


async def test_a_socket_that_somebody_listens_on_is_left_to_him(serve, tmp_path):
    path = tmp_path / "metrics.sock"
    await serve(None, path)
    with pytest.raises(HostError, match="is another program's"):
        await serve(None, path)
    assert (await asyncio.to_thread(ask, UnixConnection(path)))[0] == 200


async def test_who_asks_slowly_loses_his_answer_and_nobody_waits_for_him(serve):
    endpoint = await serve(patience=0.3)
    with socket.socket() as slow:
        await asyncio.to_thread(slow.connect, ("127.0.0.1", endpoint.port))
        slow.sendall(b"GET /met")
        assert (await get(endpoint))[0] == 200
        slow.settimeout(10)
        assert await asyncio.to_thread(slow.recv, 1) == b""


async def test_who_says_nothing_is_let_go_and_who_is_one_too_many_is_told(serve):
    endpoint = await serve(patience=0.3)
    idle = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(MOST_CLIENTS)]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"503"
        writer.close()
        assert [await reader.read() for reader, _ in idle] == [b""] * MOST_CLIENTS
    finally:
        for _, writer in idle:
            writer.close()
    assert (await get(endpoint))[0] == 200


async def test_garbage_gets_an_answer_and_costs_nobody_else_anything(serve):
    endpoint = await serve()
    for data in (b"\x16\x03\x01 not http\r\n\r\n", b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 70_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(data)
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
    assert (await get(endpoint))[0] == 200


async def test_a_port_in_use_is_said(serve):
    endpoint = await serve()
    with pytest.raises(HostError, match=r"\[plugins.metrics\] listen"):
        await serve(("127.0.0.1", endpoint.port))


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"])
def test_beyond_loopback_a_token_is_required(listen):
    with pytest.raises(pydantic.ValidationError, match="add a token"):
        MetricsConfig(listen=listen)
    assert MetricsConfig.model_validate({"listen": listen, "token": {"env": "T"}}).where[1] == 9464


@pytest.mark.parametrize("listen", ["here", "127.0.0.1", "localhost:9464", "127.0.0.1:99999"])
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(pydantic.ValidationError):
        MetricsConfig(listen=listen)


def test_a_socket_replaces_the_port_unless_both_are_given():
    assert MetricsConfig().where == ("127.0.0.1", 9464)
    assert MetricsConfig.model_validate({"socket": "m.sock"}).where is None
    assert MetricsConfig.model_validate({"socket": "m.sock", "listen": "127.0.0.1:1"}).where == ("127.0.0.1", 1)
