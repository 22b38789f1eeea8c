"""What the QUIC transport promises with any pair of engines, over real sockets: a test file subclasses QuicSuite."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vpnrs_core.errors import AuthRejected, PeerError
from vpnrs_core.interfaces.engine import QuicEngine
from vpnrs_core.quic.identity import make_certificate, pin_of
from vpnrs_core.quic.settings import ServerIdentity
from vpnrs_core.testkit.certificates import make_chain
from vpnrs_core.testkit.quic_world import PAIR, PIN, World, transfer

OTHER = make_certificate("127.0.0.1")


class QuicSuite:
    """`engines` is a fixture of the subclass: the client's engine and the server's."""

    @pytest.fixture
    def engines(self) -> tuple[QuicEngine, QuicEngine]:
        raise AssertionError("a subclass gives the engines to test")

    @pytest.fixture
    async def world(self, tmp_path: Path, engines: tuple[QuicEngine, QuicEngine]) -> AsyncIterator[World]:
        # The loop's threads for name resolution, made once, own descriptors of their own.
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
        made = World(tmp_path, engines)
        yield made
        await made.leave()

    # Datagrams and streams

    @pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0"])
    async def test_datagrams_go_both_ways_in_order_and_unchanged(self, world: World, where: str) -> None:
        client, server = await world.pair(where)
        assert client.connection.alpn == server.connection.alpn == "a"
        assert client.connection.server_spki == server.connection.server_spki == PAIR.spki
        up, down = await asyncio.gather(transfer(client, server, 3000, 1300), transfer(server, client, 2000, 900))
        assert server.got == up
        assert client.got == down

    @pytest.mark.parametrize(("gso", "gro"), [(False, False), (True, False), (False, True)])
    async def test_without_offload_the_same_bytes_arrive(self, world: World, gso: bool, gro: bool) -> None:
        client, server = await world.pair(udp_gso=gso, udp_gro=gro)
        assert await transfer(client, server, 1500, 1200) == server.got
        facts = client.connection.facts()
        assert (facts["gso"], facts["gro"]) == (int(gso), int(gro))
        assert facts["udp_bytes_out"] > 1500 * 1200

    async def test_one_listener_serves_both_families(self, world: World) -> None:
        listener = await world.listen("[::]:0")
        port = listener.where.rpartition(":")[2]
        for number, dialled in enumerate(("127.0.0.1", "[::1]")):
            world.arrived.clear()
            client = await world.dial(f"{dialled}:{port}")
            await asyncio.wait_for(world.arrived.wait(), 5)
            path = world.accepted[number].connection.path
            assert path.local == client.connection.path.remote
            assert path.remote == client.connection.path.local
            assert await transfer(client, world.accepted[number], 50, 1000) == world.accepted[number].got

    async def test_streams_carry_and_tell_when_they_are_reset(self, world: World) -> None:
        client, server = await world.pair()
        stream = client.connection.streams.open()
        client.connection.streams.write(stream, b"x" * 100_000)
        assert client.connection.streams.unsent(stream) > 0
        assert client.connection.room() == 0
        await server.wait(lambda events: len(events.streams.get(stream, b"")) == 100_000)
        server.connection.streams.write(stream, b"answer", end=True)
        await client.wait(lambda events: events.streams.get(stream) == b"answer")
        other = client.connection.streams.open()
        client.connection.streams.write(other, b"y")
        client.connection.streams.reset(other, 77)
        await server.wait(lambda events: events.streams.get(other) == 77)

    async def test_the_control_stream_does_not_wait_behind_datagrams(self, world: World) -> None:
        client, server = await world.pair()
        stream = client.connection.streams.open()

        def flood() -> None:
            while client.connection.send([bytes(1200)] * 45) == 45:
                pass

        client.on_writable = flood
        flood()
        await server.wait(lambda events: len(events.got) > 500)
        before = len(server.got)
        client.connection.streams.write(stream, b"PING")
        await server.wait(lambda events: stream in events.streams, 3)
        # What was in flight comes before it, socket buffers full at most; nothing that was sent later does.
        assert len(server.got) - before < 10_000
        client.on_writable = lambda: None

    async def test_an_oversized_datagram_is_taken_dropped_and_counted(self, world: World) -> None:
        client, server = await world.pair()
        largest = client.connection.max_datagram()
        assert client.connection.send([b"before", bytes(largest + 1), b"after"]) == 3
        await server.wait(lambda events: len(events.got) == 2)
        assert server.got == [b"before", b"after"]
        assert client.connection.facts()["oversized"] == 1

    # Identity

    async def test_a_wrong_pin_is_refused_before_any_stream_and_says_both(self, world: World) -> None:
        listener = await world.listen()
        wrong = pin_of(OTHER.certificate)
        with pytest.raises(AuthRejected, match=f"expected {wrong}, presented {PIN}"):
            await world.dial(listener.where, identity=ServerIdentity(server_pin=wrong))

    async def test_a_ca_and_a_name_are_checked(self, world: World) -> None:
        chain = make_chain("127.0.0.1")
        (world.directory / "chain.pem").write_bytes(chain.certificate)
        (world.directory / "chain-key.pem").write_bytes(chain.key)
        listener = await world.listen(certificate=world.directory / "chain.pem", key=world.directory / "chain-key.pem")
        ca = world.directory / "ca.pem"
        ca.write_bytes(chain.ca)
        await world.dial(listener.where, identity=ServerIdentity(ca=str(ca)))
        with pytest.raises(PeerError, match=r"0x12a"):
            await world.dial(listener.where, identity=ServerIdentity(ca=str(ca), server_name="vpn.example"))
        ca.write_bytes(OTHER.certificate)
        with pytest.raises(PeerError, match=r"0x12a"):
            await world.dial(listener.where, identity=ServerIdentity(ca=str(ca)))
        with pytest.raises(PeerError, match=r"0x12a"):
            await world.dial(listener.where, identity=ServerIdentity(ca="system"))

    async def test_a_self_signed_certificate_is_its_own_ca(self, world: World) -> None:
        listener = await world.listen()
        ca = str(world.config().certificate)
        await world.dial(listener.where, identity=ServerIdentity(ca=ca))
        with pytest.raises(PeerError, match=r"0x12a"):
            await world.dial(listener.where, identity=ServerIdentity(ca=ca, server_name="vpn.example"))

    async def test_a_pin_is_checked_on_top_of_a_ca(self, world: World) -> None:
        listener = await world.listen()
        ca = str(world.config().certificate)
        with pytest.raises(AuthRejected):
            await world.dial(listener.where, identity=ServerIdentity(server_pin=pin_of(OTHER.certificate), ca=ca))

    async def test_no_common_alpn_is_a_clear_end(self, world: World) -> None:
        listener = await world.listen()
        with pytest.raises(PeerError, match="ALPN"):
            await world.dial(listener.where, alpns=["nobody"])
        assert world.accepted == []

    async def test_a_client_that_must_prove_its_address_comes_in(self, world: World) -> None:
        client, server = await world.pair(retry_threshold=0)
        assert await transfer(client, server, 100, 1000) == server.got

    # Life and end

    async def test_close_codes_and_reasons_arrive_both_ways(self, world: World) -> None:
        client, server = await world.pair()
        client.connection.close(0x4007, "enough")
        assert client.connection.send([b"late"]) == 1
        assert client.connection.room() == 0
        await server.wait(lambda events: events.end)
        await client.wait(lambda events: events.end)
        assert server.end == client.end == (0x4007, "enough")
        with pytest.raises(PeerError):
            client.connection.streams.open()

    async def test_a_server_that_goes_tells_its_clients(self, world: World) -> None:
        client, _ = await world.pair()
        await world.transports[0].close()
        await client.wait(lambda events: events.end)
        assert client.end is not None
        assert "going away" in client.end[1]

    async def test_fifty_connections_at_once(self, world: World) -> None:
        listener = await world.listen()
        clients = await asyncio.gather(*(world.dial(listener.where) for _ in range(50)))
        for number, client in enumerate(clients):
            client.connection.send([bytes([number])])
        await world.until(lambda: len(world.accepted) == 50)
        for server in world.accepted:
            await server.wait(lambda events: events.got)
        assert sorted(server.got[0][0] for server in world.accepted) == list(range(50))
        assert listener.driver.admission.total == 0

    async def test_a_moved_client_keeps_its_connection(self, world: World) -> None:
        client, server = await world.pair()
        before = server.connection.path.remote
        driver = client.connection._driver
        # A NAT that forgets its binding: the same connection from another port.
        moved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        moved.bind(("127.0.0.1", 0))
        os.dup2(moved.fileno(), driver._socket.fileno())
        moved.close()
        loop = asyncio.get_running_loop()
        loop.remove_reader(driver._socket.fileno())
        driver._socket._sock.setblocking(False)
        loop.add_reader(driver._socket.fileno(), driver._readable)
        client.connection.send([b"from elsewhere"])
        await server.wait(lambda events: events.got and events.paths)
        assert server.paths[0].remote != before
        # Until the new path is validated the server may send three times what it received, no more.
        assert await transfer(server, client, 100, 1000) == client.got

    async def test_an_idle_connection_is_kept_alive(self, world: World) -> None:
        client, server = await world.pair(idle_timeout=1.0, keepalive=0.3)
        await asyncio.sleep(1.6)
        assert client.end is None
        assert server.end is None
        client.connection.send([b"still here"])
        await server.wait(lambda events: events.got)

    async def test_a_peer_that_has_vanished_is_given_up(self, world: World) -> None:
        client, server = await world.pair(idle_timeout=1.0, keepalive=0.3)
        server.connection._driver.release()  # without a word
        client.connection.send([b"anybody?"])
        await client.wait(lambda events: events.end)
        assert client.end is not None
        assert "idle" in client.end[1]
