"""Plugins that fail in a running instance: named in one line or one event, and never the end of what others do.

client ── server            The plugin is a distribution on PYTHONPATH, turned on by [plugins.faulty].
"""

import pytest

from vpnrs_core.engine.local_client import LocalClient
from vpnrs_core.errors import VpnrsError
from vpnrs_core.testkit.traffic import ping
from vpnrs_core.testkit.tunnel import SERVER4

CODE = """
import asyncio
import pydantic
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Accept, Admit, Body, ControlRequest, Principal

class Config(pydantic.BaseModel):
    fault: str = ""

class Half:
    def __init__(self, fault): self.fault = fault
    def fail(self, where):
        if self.fault == where: raise RuntimeError(where + " is broken")
    async def prepare(self): self.fail("prepare")
    def start(self):
        self.fail("start")
        return {"bearer": "a-secret-credential"}
    def answer(self, challenge, channel): return {}
    def refused(self, code):
        self.fail("refused")
        return False
    async def begin(self, attempt, credential, channel): return Accept(Principal("anyone"))

class Method:
    NAME = "faulty"
    TAKES = frozenset({Body})
    def __init__(self, fault): self.fault = fault
    def identify(self, credential): return None
    def server(self): return Half(self.fault)
    def client(self):
        if self.fault == "client": raise RuntimeError("client is broken")
        return Half(self.fault)

class Check:
    NAME = "faulty"
    def __init__(self, fault): self.fault = fault
    async def before(self, attempt):
        if self.fault == "before": raise RuntimeError("before is broken")
        if self.fault == "hang": await asyncio.sleep(60)
        return Admit()
    async def after(self, attempt, outcome, authenticated):
        if self.fault == "after": raise RuntimeError("after is broken")
        if self.fault == "hang after": await asyncio.sleep(60)

class Dying:
    NAME = "dying"
    async def run(self): raise RuntimeError("service is broken")

class Clinging:
    NAME = "clinging"
    async def run(self):
        while True:
            try: await asyncio.sleep(60)
            except asyncio.CancelledError: pass

class Nothing(pydantic.BaseModel):
    pass

async def broken(request): raise RuntimeError("handler is broken")

class Plugin:
    Config = Config
    def __init__(self, config, ctx): self.fault = config.fault
    @impl
    def vpnrs_register_authenticators(self): return [Method(self.fault)]
    @impl
    def vpnrs_register_admission_checks(self): return [Check(self.fault)]
    @impl
    def vpnrs_register_services(self):
        return {"service": [Dying()], "hang after": [Clinging()]}.get(self.fault, [])
    @impl
    def vpnrs_register_control(self): return [ControlRequest("broken", Nothing, broken, True)]
    @impl
    def vpnrs_check(self, configuration):
        if self.fault == "check": raise RuntimeError("check is broken")
        return []
    @impl
    def vpnrs_declare_host_needs(self):
        if self.fault == "needs": raise RuntimeError("needs is broken")
        from vpnrs_core.interfaces import HostNeeds
        return HostNeeds()
"""


@pytest.fixture
def faulty(tunnel, tmp_path):
    """`faulty(server=…, client=…)`: a tunnel, nothing runs yet, with that fault of the plugin at that side."""

    def make(server=None, client=None):
        info = tmp_path / "vpnrs_faulty-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: vpnrs-faulty\nVersion: 1.0\nSummary: Fails.\nRequires-Dist: vpnrs-core\n"
        )
        (info / "entry_points.txt").write_text("[vpnrs]\nfaulty = vpnrs_faulty:Plugin\n")
        (tmp_path / "vpnrs_faulty.py").write_text(CODE)
        net = tunnel(env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"})
        for instance, fault in ((net.server, server), (net.client, client)):
            if fault is not None:
                instance.configure({"plugins": {"faulty": {"fault": fault}}})
        net.remember()
        return net

    return make


@pytest.mark.parametrize("fault", ["client", "prepare", "start", "refused"])
def test_a_clients_method_that_raises_ends_the_client_in_one_line(faulty, fault):
    net = faulty(client=fault)
    net.client.configure({"auth": {"method": "faulty"}, "reconnect": {"min": 0.2, "max": 0.4}})
    net.start_server()
    net.client.start()
    assert net.client.wait() == 3, net.client.log
    (line,) = [line for line in net.client.log.splitlines() if line.startswith("vpnrs: ")]
    assert "RuntimeError" in line
    assert "'faulty'" in line
    assert fault in line
    assert "is broken" not in line  # what a method raises may hold the credential
    assert "Traceback" not in net.client.log
    assert "a-secret-credential" not in net.client.log + net.server.log


@pytest.mark.parametrize("fault", ["check", "needs"])
def test_a_hook_that_raises_at_the_start_refuses_it(faulty, fault):
    net = faulty(server=fault)
    net.server.start()
    assert net.server.wait() == 3, net.server.log
    (line,) = [line for line in net.server.log.splitlines() if line.startswith("vpnrs: ")]
    assert "faulty" in line
    assert f"{fault} is broken" in line
    assert net.left_behind() == []


@pytest.mark.parametrize("fault", ["before", "hang"])
def test_a_check_that_fails_refuses_for_now_and_is_named(faulty, fault):
    net = faulty(server=fault)
    net.start_server()
    net.client.start()
    status = net.client.wait_for("refused", lambda s: s["client"]["last_error"] and s["state"] == "waiting")
    assert "internal" in status["client"]["last_error"]
    assert "broken" not in net.client.log
    assert "plugin=faulty hook=before" in net.server.log
    failures = {plugin["name"]: plugin["failures"] for plugin in net.server.status()["plugins"]}
    assert failures["faulty"] >= 1
    assert failures["core"] == 0


@pytest.mark.parametrize("fault", ["after", "service"])
def test_what_fails_beside_the_tunnel_leaves_it_alone(faulty, fault):
    net = faulty(server=fault).up()
    ping(net.client_ns[0], SERVER4)
    told = "plugin=faulty hook=after" if fault == "after" else "service_restarted plugin=faulty service=dying"
    net.server.wait_for("told", lambda _: told in net.server.log)
    assert "Traceback" not in net.server.log
    ping(net.client_ns[0], SERVER4)


def test_a_control_request_that_raises_answers_an_error_and_nothing_else_happens(faulty):
    net = faulty(server="").up()
    with net.server._environment(), LocalClient("server") as client:
        with pytest.raises(VpnrsError) as caught:
            client.call("faulty.broken")
        assert "faulty.broken" in str(caught.value)
        assert client.call("core.status")["state"] == "listening"
    assert "handler is broken" in net.server.log
    ping(net.client_ns[0], SERVER4)


def test_a_check_that_hangs_and_a_service_that_clings_keep_no_server_from_stopping(faulty):
    net = faulty(server="hang after").up()
    assert net.server.stop() == 0
    assert "plugin_failed plugin=faulty hook=run error=\"service 'clinging' did not end within 1 s" in net.server.log
    assert "task 'service clinging of faulty' (" in net.server.log
    net.client.stop()
    assert net.left_behind() == []
