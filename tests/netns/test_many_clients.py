"""Clients beside each other: each has its own address, traffic and counters, and leaves nothing at the server.

client, client 1 ── server            Fifty are tasks of this process, in the namespace of the first client.
"""

import asyncio
import gc
import os

from vpnrs_core.config.load import load
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport
from vpnrs_core.testkit.crowd import crowd
from vpnrs_core.testkit.packets import echo
from vpnrs_core.testkit.traffic import content, tcp_transfer, together
from vpnrs_core.testkit.tunnel import SERVER4, SERVER6

FIFTY = 50


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_two_clients_at_once_have_their_own_traffic(tunnel):
    net = tunnel(clients=2).up()
    sizes = {"client": 3_000_000, "client1": 5_000_000}
    client, other = net.client_ns
    together(
        lambda: tcp_transfer(client, net.server_ns, SERVER4, content(sizes["client"], 1), content(1_000_000, 2)),
        lambda: tcp_transfer(other, net.server_ns, SERVER6, content(sizes["client1"], 3), content(1_000_000, 4)),
    )
    sessions = {session["principal"]: session for session in net.server.status()["server"]["sessions"]}
    for principal, size in sizes.items():
        assert size < sessions[principal]["ingress"]["bytes"] < size * 1.2
        assert 1_000_000 < sessions[principal]["egress"]["bytes"] < 2_000_000
    assert not set(net.addresses(0).values()) & set(net.addresses(1).values())


def test_fifty_clients_in_one_process_come_ask_and_leave(tunnel):
    net = tunnel()
    net.start_server()
    token = (net.directory / "pair" / "client.token").read_text().strip()
    before = open_files(net.server.pid)
    own_before = open_files(os.getpid())

    async def visit(client):
        for number, (server, (own, _)) in enumerate(zip((SERVER4, SERVER6), client.granted_now.addresses, strict=True)):
            payload = f"{own} was here".encode()
            request = echo(str(own), server, payload, ident=number)
            await client.exchange(request, lambda got, payload=payload: payload in got)
        assert client.drops.total() == 0

    async def main():
        config = load(net.client.config)
        transport = QuicTransport(QuicConfig(), {"aioquic": AioquicEngine()}, ServerIdentity(config.server_pin))
        try:
            return await crowd(transport, config.server, [token] * FIFTY, visit)
        finally:
            await transport.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with net.client_ns[0].entered():
        grants = asyncio.run(main())
    assert len({address for granted in grants for address, _ in granted.addresses}) == 2 * FIFTY
    gone = net.server.wait_for("empty", lambda status: not status["server"]["sessions"])
    assert [pool["leased"] for pool in gone["server"]["pools"]] == [0, 0]
    assert gone["drops"] == {}
    # `before` may have been read while a question for the status was still being hung up on, and so may this.
    net.server.wait_for("without files of its clients", lambda _: open_files(net.server.pid) <= before + 1)
    gc.collect()
    assert open_files(os.getpid()) == own_before
    assert "Traceback" not in net.server.log
