"""`vpnrs status` and `vpnrs stop` against real local sockets, served from another thread as by another process."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest

from tests.cli.conftest import Vpnrs
from vpnrs_core.engine.local import LocalSockets
from vpnrs_core.engine.status import (
    ClientStatus,
    InstanceStatus,
    LinkStatus,
    PluginStatus,
    PoolStatus,
    ServerStatus,
    SessionStatus,
    StatusRequest,
    Stopping,
    StopRequest,
    SummaryStatus,
    Traffic,
    TunStatus,
    json_schema,
    summary_of,
)
from vpnrs_core.host.rundir import RunDir
from vpnrs_core.interfaces import ControlRequest
from vpnrs_core.plugins import report

SESSION = SessionStatus(
    id="s1",
    principal="alice [bold]",
    state="active",
    addresses=["10.77.0.2"],
    mtu=1280,
    age_seconds=3700,
    expires_seconds=90_000,
    links=[
        LinkStatus(
            remote="192.0.2.7:5000",
            transport="quic",
            engine="aioquic",
            lane="datagram",
            age_seconds=65,
            handshake_ms=34.4,
            rtt_ms=12.34,
            rtt_variation_ms=0.5,
            loss=0.002,
            congestion_controller="cubic",
            congestion_window=15_000,
            datagram_size=1350,
            migrations=1,
            codecs=["plain"],
        )
    ],
    ingress=Traffic(packets=3, bytes=1536, bytes_per_second=1536, history=[0, 768, 1536]),
    drops={"spoofed_source": 2},
)


def status_of(role: str, state: str, **more: Any) -> InstanceStatus:
    return InstanceStatus.model_validate(
        {
            "role": role,
            "instance": "default",
            "version": "0.1.0",
            "pid": 4711,
            "uptime_seconds": 61,
            "state": state,
            "transport": "quic",
            "engine": "aioquic",
            "plugins": [
                PluginStatus(name="core", version="0.1.0"),
                PluginStatus(name="odd", version="2", failures=3, slow=2),
            ],
            "tun": TunStatus(name="vpnrs0", mtu=1280, offloads=["tcp4"]),
            **more,
        }
    )


SERVER = status_of(
    "server",
    "listening",
    server=ServerStatus(
        listen="0.0.0.0:4433", pools=[PoolStatus(prefix="10.77.0.0/24", leased=1, leasable=253)], sessions=[SESSION]
    ),
)


class Instance:
    """Serves core.status and core.stop for `default` in its own thread, until stopped."""

    def __init__(self, status: InstanceStatus, *, stops: bool = True) -> None:
        self._status, self._stops = status, stops
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._stopping = asyncio.Event()
        self._thread.start()
        assert self._ready.wait(10)

    def end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async def status(request: pydantic.BaseModel) -> InstanceStatus:
            return self._status

        async def stop(request: pydantic.BaseModel) -> Stopping:
            if self._stops:
                self._stopping.set()
            return Stopping(pid=4711)

        handlers = {
            "core.status": ControlRequest("status", StatusRequest, status, reads_only=True),
            "core.stop": ControlRequest("stop", StopRequest, stop, reads_only=False),
        }
        with RunDir.claim("default") as place:
            sockets = LocalSockets(place.path, handlers)
            await sockets.start()
            self._ready.set()
            await self._stopping.wait()
            await sockets.close()


@pytest.fixture
def instance(vpnrs: Vpnrs) -> Iterator[Callable[..., Instance]]:
    started: list[Instance] = []

    def start(status: InstanceStatus, **more: Any) -> Instance:
        started.append(Instance(status, **more))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_json_is_the_documented_object(vpnrs: Vpnrs, instance: Callable[..., Instance]) -> None:
    instance(SERVER)
    ran = vpnrs("status", "--json")
    assert ran.code == 0
    assert InstanceStatus.model_validate(json.loads(ran.out)) == SERVER


def test_people_get_a_table(vpnrs: Vpnrs, instance: Callable[..., Instance]) -> None:
    instance(SERVER)
    ran = vpnrs("status")
    assert ran.code == 0
    said = " ".join(ran.out.split())
    for part in (
        "server default listening, up 1 min 1 s, pid 4711",
        "transport quic (aioquic)",
        "tun vpnrs0, MTU 1280, offloads tcp4",
        "pool 10.77.0.0/24: 1 of 253 leased",
        "sessions 1 active, 0 parked",
        "alice [bold] active 10.77.0.2 1280 12.3 kbit/s ▁▅█ 0 bit/s 1.5 KiB / 0 B 0 B 2 1 h 1 min in 1 d 1 h",
        "alice [bold] 192.0.2.7:5000 quic/aioquic/datagram 12.3 ± 0.5 ms 0.20% 14.6 KiB cubic 1350 B plain 34 ms "
        "1 min 5 s 1",
        "dropped (alice [bold]): spoofed_source 2",
        "plugin odd 2 failed 3 times",
        "plugin odd 2 kept all waiting 2 times",
    ):
        assert part in said


@pytest.mark.parametrize(("state", "code"), [("connected", 0), ("connecting", 3), ("waiting", 3)])
def test_a_client_that_is_not_connected_has_its_own_exit_code(
    vpnrs: Vpnrs, instance: Callable[..., Instance], state: str, code: int
) -> None:
    client = ClientStatus(server="vpn:4433", attempts=2, last_error="no answer", next_try_seconds=3.5)
    instance(status_of("client", state, client=client))
    assert vpnrs("status", "--json").code == code
    ran = vpnrs("status")
    assert ran.code == code
    assert "next try in 3 s" in " ".join(ran.out.split())


def test_status_of_nothing(vpnrs: Vpnrs) -> None:
    assert vpnrs("status", "--instance", "edge") == (
        7,
        "",
        "vpnrs: instance 'edge' is not running; none is running on this host\n",
    )
    assert vpnrs("status", "--instance", "UP").code == 2


def test_stop_waits_until_the_instance_has_gone(
    vpnrs: Vpnrs, instance: Callable[..., Instance], tmp_path: Path
) -> None:
    instance(SERVER)
    assert vpnrs("stop") == (0, "instance default has stopped\n", "")
    assert not (tmp_path / "run" / "default").exists()
    assert vpnrs("stop").code == 7


def test_an_instance_that_does_not_stop_is_said_to(vpnrs: Vpnrs, instance: Callable[..., Instance]) -> None:
    instance(SERVER, stops=False)
    assert vpnrs("stop", "--timeout", "0.05") == (
        6,
        "",
        "vpnrs: instance 'default' (pid 4711) has not stopped in 0.05 s; wait longer with --timeout, or look into its "
        "log\n",
    )


def test_every_field_is_documented() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "status.md").read_text()
    models = [
        InstanceStatus, TunStatus, PluginStatus, ServerStatus, PoolStatus, ClientStatus, SessionStatus, LinkStatus,
        Traffic, SummaryStatus, report.PluginsReport, report.PluginReport,
    ]  # fmt: skip
    for model in models:
        section = text.split(f"### {model.__name__}\n")[1].split("\n#")[0]
        for name, field in model.model_fields.items():
            assert any(
                row.startswith(f"| `{name}` |") and row.endswith(f"| {field.description} |")
                for row in section.splitlines()
            ), f"docs/status.md: {model.__name__}.{name} is missing or says something else"


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_timeout_that_is_no_time_is_one_line(vpnrs: Vpnrs, seconds: str) -> None:
    ran = vpnrs("stop", "--timeout", seconds)
    assert ran.code == 2
    assert ran.err.startswith("vpnrs: Invalid value for '--timeout':")
    assert len(ran.err.splitlines()) == 1


def test_the_json_answers_to_the_published_schema(vpnrs: Vpnrs, instance: Callable[..., Instance]) -> None:
    schema = json.loads(vpnrs("status", "--schema").out)
    assert schema == json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    instance(SERVER)
    answer = json.loads(vpnrs("status", "--json").out)
    jsonschema.validate(answer, schema)
    answer["server"]["sessions"][0]["links"][0]["rtt_ms"] = "soon"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, schema)


def test_a_summary_names_nobody() -> None:
    summary = summary_of(SERVER, 1)
    assert (summary.sessions, summary.dropped, summary.state) == (1, 0, "listening")
    text = summary.model_dump_json()
    for secret in ("alice", "192.0.2.7", "10.77.0", "4433", "vpnrs0"):
        assert secret not in text


def test_watching_tells_again_and_again_until_it_is_interrupted(
    vpnrs: Vpnrs, instance: Callable[..., Instance]
) -> None:
    instance(SERVER)
    command = [str(Path(sys.executable).with_name("vpnrs")), "status", "--watch", "--json", "--every", "0.1"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    try:
        for _ in range(3):
            assert InstanceStatus.model_validate_json(watching.stdout.readline()) == SERVER
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
    finally:
        watching.kill()
        watching.wait()
    assert (watching.returncode, errors) == (0, "")
