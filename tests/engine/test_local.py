"""The local sockets: real sockets in a temporary run directory, and the commands' own client."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import socket
import stat
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import pytest

from vpnrs_core.engine import local as local_module
from vpnrs_core.engine.local import LocalSockets
from vpnrs_core.engine.local_client import LocalClient, choose_instance, running_instances, wait_until_gone
from vpnrs_core.errors import ConfigError, HostError, NotRunning, PeerError
from vpnrs_core.interfaces import ControlRequest

T = TypeVar("T")


class Echo(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    text: str = pydantic.Field("", description="What comes back.")


async def echo(request: Echo) -> Echo:
    return request


async def refuse(request: Echo) -> Echo:
    raise ConfigError("there is no client of that name")


async def fail(request: Echo) -> Echo:
    raise KeyError("oops")


async def half(request: Echo) -> Echo:
    return Echo(text="eve\udcff")


HANDLERS = {
    "core.half": ControlRequest("half", Echo, half, reads_only=True),
    "core.echo": ControlRequest("echo", Echo, echo, reads_only=True),
    "core.set": ControlRequest("set", Echo, echo, reads_only=False),
    "core.refuse": ControlRequest("refuse", Echo, refuse, reads_only=True),
    "core.fail": ControlRequest("fail", Echo, fail, reads_only=True),
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path))
    (tmp_path / "default").mkdir()
    return tmp_path / "default"


@pytest.fixture
async def sockets(directory: Path) -> AsyncIterator[LocalSockets]:
    served = LocalSockets(directory, HANDLERS, max_clients=3, patience=0.2)
    await served.start()
    yield served
    await served.close()


async def in_thread(function: Callable[[], T]) -> T:
    return await asyncio.to_thread(function)


def raised(kind: type[Exception], function: Callable[[], object]) -> Awaitable[str]:
    def run() -> str:
        with pytest.raises(kind) as caught:
            function()
        return str(caught.value)

    return in_thread(run)


async def test_a_question_is_answered(sockets: LocalSockets) -> None:
    with LocalClient() as client:
        assert await in_thread(lambda: client.call("core.echo", text="hé")) == {"text": "hé"}
        assert await in_thread(lambda: client.call("core.echo", text="again")) == {"text": "again"}


async def test_a_large_answer_comes_whole(sockets: LocalSockets) -> None:
    text = "x" * 900_000
    with LocalClient() as client:
        assert await in_thread(lambda: client.call("core.echo", text=text)) == {"text": text}


async def test_text_that_utf_8_cannot_say_is_answered_all_the_same(sockets: LocalSockets) -> None:
    with LocalClient() as client:
        assert await in_thread(lambda: client.call("core.half")) == {"text": "eve\udcff"}


async def test_commands_go_to_the_control_socket_only(sockets: LocalSockets) -> None:
    with LocalClient() as client:
        said = await raised(HostError, lambda: client.call("core.set"))
    assert said == "core.set changes something; ask on the control socket"
    with LocalClient(socket="control") as client:
        assert await in_thread(lambda: client.call("core.set", text="1")) == {"text": "1"}


async def test_errors_come_back_as_what_they_are(sockets: LocalSockets) -> None:
    with LocalClient() as client:
        assert await raised(ConfigError, lambda: client.call("core.eco")) == (
            "there is no request 'core.eco'; did you mean core.echo?"
        )
        assert await raised(ConfigError, lambda: client.call("core.echo", txt=1)) == (
            "core.echo: unknown key txt; did you mean text?"
        )
        assert await raised(ConfigError, lambda: client.call("core.refuse")) == "there is no client of that name"
        assert await raised(PeerError, lambda: client.call("core.fail")) == "core.fail failed: KeyError: 'oops'"
        assert await in_thread(lambda: client.call("core.echo", text="still there")) == {"text": "still there"}


async def test_modes_keep_others_out(sockets: LocalSockets, directory: Path) -> None:
    assert stat.S_IMODE((directory / "status").stat().st_mode) == 0o660
    assert stat.S_IMODE((directory / "control").stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another group")
async def test_the_status_socket_belongs_to_its_group(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = next(entry for entry in grp.getgrall() if entry.gr_gid != 0)
    monkeypatch.setattr(local_module, "GROUP", group.gr_name)
    served = LocalSockets(directory, HANDLERS)
    await served.start()
    try:
        assert (directory / "status").stat().st_gid == group.gr_gid
        assert (directory / "control").stat().st_gid == os.getgid()
    finally:
        await served.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_may_not_control_even_where_modes_do_not_hold(
    sockets: LocalSockets, directory: Path
) -> None:
    os.chmod(directory / "control", 0o666)
    for folder in (directory, *directory.parents[:-1]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            os.chmod(folder, folder.stat().st_mode | 0o011)
    code = (
        "import os, socket, sys\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(5)\n"
        f"s.connect({str(directory / 'control')!r})\nsys.stdout.write(s.recv(4096)[4:].decode())"
    )
    process = await asyncio.create_subprocess_exec("python3", "-c", code, stdout=asyncio.subprocess.PIPE)
    answer = json.loads((await process.communicate())[0])
    assert answer["error"] == {"code": "not_allowed", "text": "user 65534 may not control this instance"}


def connected(directory: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(str(directory / "status"))
    return client


def answer_of(client: socket.socket) -> Any:
    size = struct.unpack(">I", client.recv(4))[0]
    return json.loads(client.recv(size))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (struct.pack(">I", (1 << 20) + 1), "message of 1048577 bytes is larger than 1048576"),
        (struct.pack(">I", 3) + b"no!", "message is not JSON"),
        (struct.pack(">I", 2) + b"[]", "message is not a JSON object"),
        (struct.pack(">I", 7) + b'{"v":2}', "message has version 2; this side speaks 1"),
        (struct.pack(">I", 100_000) + b"[" * 100_000, "message is not JSON"),
    ],
)
async def test_what_is_no_message_is_answered_and_cut_off(
    sockets: LocalSockets, directory: Path, sent: bytes, said: str
) -> None:
    def talk() -> tuple[Any, bytes]:
        with connected(directory) as client:
            client.sendall(sent)
            return answer_of(client), client.recv(1)

    answer, rest = await in_thread(talk)
    assert (answer["ok"], answer["error"], rest) == (False, {"code": "bad_request", "text": said}, b"")


async def test_a_slow_client_is_dropped_and_others_are_served(sockets: LocalSockets, directory: Path) -> None:
    with connected(directory) as slow:
        slow.sendall(b"\0\0")
        with LocalClient() as client:
            assert await in_thread(lambda: client.call("core.echo", text="1")) == {"text": "1"}
        assert await in_thread(lambda: slow.recv(1)) == b""


async def test_a_client_that_takes_no_answer_is_dropped(sockets: LocalSockets, directory: Path) -> None:
    body = json.dumps({"v": 1, "id": 1, "name": "core.echo", "request": {"text": "x" * 900_000}}).encode()

    def ask_and_wait() -> int:
        with connected(directory) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(struct.pack(">I", len(body)) + body)
            while sockets._clients["status"]:
                time.sleep(0.02)
            received = 0
            while chunk := client.recv(1 << 16):
                received += len(chunk)
            return received

    async with asyncio.timeout(5):
        assert await in_thread(ask_and_wait) < 900_000


async def test_more_clients_than_allowed_are_turned_away(sockets: LocalSockets, directory: Path) -> None:
    clients = []
    for _ in range(3):
        client = LocalClient()
        await in_thread(lambda client=client: client.call("core.echo"))  # type: ignore[misc]
        clients.append(client)
    said = await raised(PeerError, lambda: LocalClient().call("core.echo"))
    assert said == "instance 'default' closed the connection before it answered core.echo"
    for client in clients:
        client.close()


async def test_closing_ends_conversations_and_leaves_nothing(directory: Path) -> None:
    served = LocalSockets(directory, HANDLERS)
    await served.start()
    with connected(directory) as client:
        client.sendall(struct.pack(">I", 3) + b"no!")
        await in_thread(lambda: answer_of(client))
        with LocalClient() as other:
            await in_thread(lambda: other.call("core.echo"))
            await served.close()
            assert await in_thread(lambda: client.recv(1)) == b""
            assert await raised(PeerError, lambda: other.call("core.echo"))
    assert os.listdir(directory) == []


async def test_a_handler_may_close_the_sockets(directory: Path) -> None:
    async def stop(request: Echo) -> Echo:
        await served.close()
        return Echo(text="stopping")

    served = LocalSockets(directory, {"core.stop": ControlRequest("stop", Echo, stop, reads_only=False)})
    await served.start()
    with LocalClient(socket="control") as client:
        assert await in_thread(lambda: client.call("core.stop")) == {"text": "stopping"}
    assert os.listdir(directory) == []
    assert wait_until_gone("default", 0)


async def test_what_a_crash_left_is_replaced(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory / "status"))
    served = LocalSockets(directory, HANDLERS)
    await served.start()
    with LocalClient() as client:
        assert await in_thread(lambda: client.call("core.echo")) == {"text": ""}
    await served.close()


async def test_a_directory_that_cannot_hold_sockets_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot open the local sockets there: No such file or directory"):
        await LocalSockets(tmp_path / "absent", HANDLERS).start()
    (tmp_path / ("x" * 110)).mkdir()
    with pytest.raises(HostError, match="cannot open the local sockets there: AF_UNIX path too long"):
        await LocalSockets(tmp_path / ("x" * 110), HANDLERS).start()


async def test_not_running_names_those_that_do(sockets: LocalSockets, directory: Path) -> None:
    (directory.parent / "crashed").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(directory.parent / "crashed" / "status"))
    assert await in_thread(running_instances) == ["default"]
    said = await raised(NotRunning, lambda: LocalClient("crashed").call("core.status"))
    assert said == "instance 'crashed' is not running; running: default; name one with --instance"


def test_not_running_on_a_host_with_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path / "absent"))
    with pytest.raises(NotRunning, match=r"^instance 'default' is not running; none is running on this host$"):
        LocalClient().call("core.status")


async def test_the_only_instance_is_the_one_meant(directory: Path) -> None:
    assert choose_instance(None) == "default"
    assert choose_instance("x") == "x"
    served = []
    for name in ("one", "two"):
        (directory.parent / name).mkdir()
        served.append(LocalSockets(directory.parent / name, HANDLERS))
    await served[0].start()
    assert await in_thread(lambda: choose_instance(None)) == "one"
    await served[1].start()
    assert await raised(ConfigError, lambda: choose_instance(None)) == (
        "several instances run: one, two; name one with --instance"
    )
    for each in served:
        await each.close()


def test_an_instance_that_does_not_answer_is_said_to(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(directory / "status"))
        silent.listen()
        with pytest.raises(PeerError, match=r"^instance 'default' did not answer core.status in 0.05 s$"):
            LocalClient(timeout=0.05).call("core.status")
        assert not wait_until_gone("default", 0)


def test_who_comes_when_too_many_wait_waits_its_turn(directory: Path) -> None:
    """A full backlog answers EAGAIN at once; that is no failure of the instance."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(directory / "status"))
    listening.listen(0)
    waiting = []
    try:
        for _ in range(8):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append(one)
            try:
                one.connect(str(directory / "status"))
            except BlockingIOError:
                break
        else:
            pytest.fail("the backlog never filled")
        with LocalClient("default", timeout=0.1) as client, pytest.raises(PeerError, match="too busy"):
            client.call("core.echo")
        assert running_instances() == ["default"]
    finally:
        for one in (*waiting, listening):
            one.close()
