"""Starts `vpnrs` of tests as a fork of a process that has imported it: four fifths of a start's CPU are imports.

The instance is a process of its own in every other way, and a child of the test's process. A test of starting itself
(the script, its arguments in /proc, another user) starts it with exec instead.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vpnrs_core.errors import HostError

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER: Final = 36
_CLONE_NEWNS: Final = 0x0002_0000
_CLONE_NEWNET: Final = 0x4000_0000
_MOST_BYTES: Final = 1 << 17
_POLL: Final = 0.01


class ForkedProcess:
    """A child of this process, by the names of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: Sequence[str], pid: int) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """→ the exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(_POLL)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """One per process that runs tests, started with the first instance and ended with that process."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "vpnrs_core.testkit.forkserver", str(other.fileno())],
                pass_fds=[other.fileno()],
            )
        atexit.register(self.close)

    def close(self) -> None:
        self._socket.close()
        self._child.wait()

    def start(
        self, arguments: Sequence[str], entered: int, output: int, environment: Mapping[str, str]
    ) -> ForkedProcess:
        """`vpnrs arguments` in the namespaces of the process `entered`, writing to the descriptor `output`. Raises
        HostError."""
        request = {"arguments": list(arguments), "environment": dict(environment), "cwd": os.getcwd()}
        data = json.dumps(request).encode()
        if len(data) > _MOST_BYTES:
            raise HostError(f"{len(data)} bytes of arguments and environment are more than {_MOST_BYTES}")
        pidfd = os.pidfd_open(entered)
        try:
            # The instance's parent in the fork server ends at once, which makes it a child of this process.
            _subreaper(True)
            rights = array.array("i", [pidfd, output])
            self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            answer = json.loads(self._socket.recv(_MOST_BYTES) or b'{"error": "it has ended"}')
        finally:
            _subreaper(False)
            os.close(pidfd)
        if "error" in answer:
            raise HostError(f"the fork server could not start vpnrs: {answer['error']}")
        return ForkedProcess(["vpnrs", *arguments], answer["pid"])


@functools.cache
def fork_server() -> ForkServer:
    return ForkServer()


def _subreaper(on: bool) -> None:
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _serve(control: socket.socket) -> Sequence[str] | None:
    """Fork for each request → in the new process what it shall run; None at the end."""
    while True:
        data, rights, _, _ = socket.recv_fds(control, _MOST_BYTES, 2)
        if not data:
            return None
        reader, writer = os.pipe()
        middle = os.fork()
        if middle == 0:
            if os.fork():
                os._exit(0)
            os.close(reader)
            control.close()
            return _begin(json.loads(data), rights, writer)
        os.close(writer)
        os.waitpid(middle, 0)
        control.send(os.read(reader, _MOST_BYTES) or b'{"error": "it ended at once"}')
        for descriptor in (reader, *rights):
            os.close(descriptor)


def _begin(request: dict[str, Any], rights: Sequence[int], writer: int) -> Sequence[str]:
    """Answer once everything is as asked: the process whose namespaces these are may end then."""
    answer: dict[str, Any] = {"pid": os.getpid()}
    try:
        return _become(request, *rights)
    except OSError as error:
        answer = {"error": str(error)}
        sys.exit(1)
    finally:
        os.write(writer, json.dumps(answer).encode())
        os.close(writer)


def _become(request: dict[str, Any], pidfd: int, output: int) -> Sequence[str]:
    """What exec and `ip netns exec` would do: namespaces, environment, descriptors → the arguments."""
    if _LIBC.setns(pidfd, _CLONE_NEWNET | _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "setns")
    os.chdir(request["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, standard)
    for descriptor in (null, output, pidfd):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:0] = [entry for entry in os.environ.get("PYTHONPATH", "").split(":") if entry]
    arguments: list[str] = request["arguments"]
    return arguments


def _preload() -> None:
    """What `vpnrs run` imports of the core and of others; no plugin, for how plugins are found and imported is what
    tests are about."""
    import vpnrs_core.builtin.plugin
    import vpnrs_core.cli.run
    import vpnrs_core.engine.run  # noqa: F401

    gc.collect()
    gc.freeze()


def serve(descriptor: int) -> None:
    """The process: ends when the other side has closed its socket."""
    from vpnrs_core.cli import main

    _preload()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    control = socket.socket(fileno=descriptor)
    arguments = _serve(control)
    if arguments is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main(arguments)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
