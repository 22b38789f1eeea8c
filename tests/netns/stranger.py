"""A peer of our own in a client's namespace: it speaks QUIC properly and above it whatever a test wants."""

import asyncio
import contextlib
import tomllib

from vpnrs_core.interfaces import ClientRequest, Offer
from vpnrs_core.quic.aioquic_engine import AioquicEngine
from vpnrs_core.quic.settings import QuicConfig, ServerIdentity
from vpnrs_core.quic.transport import QuicTransport

CONTROL = 0


class Heard:
    """interfaces.ConnectionEvents that remembers."""

    def __init__(self):
        self.data = bytearray()
        self.end = asyncio.get_running_loop().create_future()

    def stream_data(self, stream, data, end):
        if stream == CONTROL:
            self.data += data

    def stream_reset(self, stream, code): ...
    def datagrams(self, batch): ...
    def writable(self): ...
    def path_changed(self, path): ...

    def closed(self, code, reason):
        self.end.set_result((code, reason))


class TokenHalf:
    """interfaces.ClientHalf of a token, right or wrong."""

    def __init__(self, token):
        self.token = token

    async def prepare(self): ...
    def start(self):
        return {"bearer": self.token}

    def answer(self, challenge, channel):
        return {}

    def refused(self, code):
        return False


class Stranger:
    """Dials the server of a TunnelNet from client n's namespace, as often as asked."""

    def __init__(self, net, n):
        self.namespace = net.client_ns[n]
        self.config = tomllib.loads(net.clients[n].config.read_text())
        self.where = self.config["server"]
        self.token = (net.clients[n].config.parent / f"{net.clients[n].name}.token").read_text().strip()
        host, _, port = self.where.rpartition(":")
        self.address = host.strip("[]"), int(port)
        self.transports = []

    async def dial(self, *alpns):
        """→ (connection, Heard)."""
        identity = ServerIdentity(server_pin=self.config["server_pin"])
        transport = QuicTransport(QuicConfig(), {"aioquic": AioquicEngine()}, identity)
        self.transports.append(transport)
        with self.namespace.entered():
            dialling = asyncio.ensure_future(transport.dial(self.where, alpns or ("vpnrs/1",)))
            # The socket is made in the first steps of the task; the namespace is this thread's.
            for _ in range(20):
                await asyncio.sleep(0)
            try:
                while not dialling.done():  # noqa: ASYNC110 - name resolution may need its threads
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                dialling.cancel()
                raise
        connection = await dialling
        heard = Heard()
        return connection, heard

    async def open(self, *alpns):
        """A connection with its control stream open → (connection, Heard)."""
        connection, heard = await self.dial(*alpns)
        connection.listen(heard)
        assert connection.streams.open() == CONTROL
        return connection, heard

    def wish(self, **keys):
        return ClientRequest("token", TokenHalf(self.token), offer=Offer(("plain",)), **keys)

    async def close(self):
        for transport in self.transports:
            await transport.close()


@contextlib.asynccontextmanager
async def stranger(net, n=1):
    one = Stranger(net, n)
    try:
        yield one
    finally:
        await one.close()
