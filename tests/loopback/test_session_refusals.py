"""Refusals and ends over real QUIC on 127.0.0.1: the client hears the code, the server tells everyone once."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from tests.engine.conftest import Bench
from vpnrs_core.builtin.vpnrs1 import VpnrsProtocol
from vpnrs_core.interfaces import Accept, Admit, ClientRequest, Code, Offer, Principal, Refuse, Reject
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport
from vpnrs_core.testkit.gate import FakeClientLink

PAIR = make_certificate("127.0.0.1")
ALPNS = ("vpnrs/1",)


class Half:
    async def prepare(self): ...
    def start(self):
        return {"bearer": "t"}

    def answer(self, challenge, channel):
        return {}

    def refused(self, code):
        return False


class Link(FakeClientLink):
    def __init__(self):
        super().__init__()
        self.up = asyncio.Event()

    def granted(self, granted, lane, control):
        super().granted(granted, lane, control)
        self.up.set()


@pytest.fixture
async def serve(tmp_path):
    """`async with serve() as (bench, request)`: a bench that listens; `request(**wish)` → (connection, task, link)."""
    (tmp_path / "c.pem").write_bytes(PAIR.certificate)
    (tmp_path / "k.pem").write_bytes(PAIR.key)

    @asynccontextmanager
    async def running(**keys):
        bench, protocol = Bench(**keys), VpnrsProtocol()
        config = QuicConfig(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
        engines = {"aioquic": AioquicEngine()}
        server = QuicTransport(config, engines)
        serving = set()

        def arrived(connection):
            serving.add(asyncio.ensure_future(protocol.serve(connection, bench.gate)))

        listener = await server.listen("127.0.0.1:0", ALPNS, arrived)
        client = QuicTransport(QuicConfig(), engines, ServerIdentity(server_pin=pin_of(PAIR.certificate)))

        async def request(**wish):
            connection = await client.dial(listener.where, ALPNS)
            link = Link()
            wish = ClientRequest("token", Half(), offer=Offer(("plain",)), **wish)
            return connection, asyncio.ensure_future(protocol.request(connection, wish, link)), link

        try:
            yield bench, request
        finally:
            await client.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await bench.gate.finished()
            await bench.sessions.stop(Refuse(Code.SHUTTING_DOWN))
            await listener.close()
            await server.close()
            bench.close()
            # Whatever a test did: what was taken is given back, once.
            assert sorted(bench.allocator.released, key=repr) == sorted(bench.allocator.acquired, key=repr)

    return running


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.value)
async def test_every_refusal_reaches_the_client_with_its_code_and_no_detail(serve, code):
    async def veto(*_):
        return Refuse(code, retry_after=7.0, detail="for the log only")

    async with serve() as (bench, request):
        bench.check.before = veto
        _, task, link = await request()
        heard = await asyncio.wait_for(task, 5)
        assert heard.code is code
        assert heard.retry_after == 7.0
        assert "for the log only" not in heard.detail
        assert not link.grants
        await bench.gate.finished()
        assert bench.check.told == [(code, False)]


async def test_a_rejected_credential_is_told_without_the_reason(serve):
    async def reject(*_):
        return Reject("token 1234 is revoked")

    async with serve() as (bench, request):
        bench.method.half.begin = reject
        heard = await asyncio.wait_for((await request())[1], 5)
        assert heard.code is Code.AUTH_FAILED
        assert "1234" not in heard.detail


async def test_a_plugin_that_raises_says_nothing_of_itself_to_the_client(serve):
    async def raises(*_):
        raise RuntimeError("/etc/secret.db is locked")

    async with serve() as (bench, request):
        bench.contributor.contribute = raises
        heard = await asyncio.wait_for((await request())[1], 5)
        assert heard.code is Code.INTERNAL
        assert "secret" not in heard.detail
        assert bench.failures() == [("p_grant", "contribute")]


@pytest.mark.parametrize("hook", ["before", "begin", "contribute", "acquire"])
async def test_a_client_that_goes_while_it_is_judged_leaves_nothing(serve, hook):
    entered, left = asyncio.Event(), asyncio.Event()

    async def waits(*_):
        entered.set()
        try:
            await asyncio.sleep(60)
        finally:
            left.set()

    async with serve() as (bench, request):
        place = {"before": bench.check, "begin": bench.method.half, "contribute": bench.contributor}
        setattr(place.get(hook, bench.allocator), hook, waits)
        connection, task, _ = await request()
        await asyncio.wait_for(entered.wait(), 5)
        connection.close(0, "changed my mind")
        await asyncio.wait([task], timeout=5)
        await asyncio.wait_for(left.wait(), 5)
        await bench.gate.finished()
        assert bench.second.told == [(Code.INTERNAL, hook in ("contribute", "acquire"))]
        assert not bench.sessions.running


async def test_many_at_once_get_what_there_is_and_the_rest_a_clear_no(serve):
    async def slow(*_):
        await asyncio.sleep(0.05)
        return Admit()

    async with serve(max_sessions=2) as (bench, request):
        bench.check.before = slow
        asked = await asyncio.gather(*(request() for _ in range(8)))
        up = [asyncio.ensure_future(link.up.wait()) for _, _, link in asked]
        async with asyncio.timeout(10):
            while sum(a.done() or u.done() for (_, a, _), u in zip(asked, up, strict=True)) < 8:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        refused = [task.result().code for _, task, _ in asked if task.done()]
        assert refused == [Code.SERVER_FULL] * 6
        for waiting in up:
            waiting.cancel()


async def test_a_session_that_ends_tells_its_client_why(serve):
    async with serve() as (bench, request):
        for code in (Code.AUTH_FAILED, Code.POLICY, Code.SHUTTING_DOWN):
            _, task, link = await request()
            await asyncio.wait_for(link.up.wait(), 5)
            (record,) = bench.sessions.table
            record.end(Refuse(code))
            assert (await asyncio.wait_for(task, 5)).code is code


async def test_an_expiry_ends_the_session_at_its_time(serve):
    async def shortly(*_):
        return Accept(Principal("alice", time.time() + 0.5))

    async with serve() as (bench, request):
        bench.method.half.begin = shortly
        _, task, link = await request()
        await asyncio.wait_for(link.up.wait(), 5)
        assert (await asyncio.wait_for(task, 5)).code is Code.POLICY


async def test_a_client_that_says_goodbye_frees_its_address_at_once(serve):
    async with serve() as (bench, request):
        _, task, link = await request()
        await asyncio.wait_for(link.up.wait(), 5)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        async with asyncio.timeout(2):
            while not bench.allocator.released:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_client_that_vanishes_is_parked(serve):
    async with serve() as (bench, request):
        connection, task, link = await request()
        await asyncio.wait_for(link.up.wait(), 5)
        connection.close(0x5700, "gone")
        await asyncio.wait([task], timeout=5)
        async with asyncio.timeout(2):
            while not any(record.parked_at for record in bench.sessions.table):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not bench.allocator.released
