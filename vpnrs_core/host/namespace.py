"""Named network namespaces, as `ip netns` keeps them, without `ip`: made, entered by a thread, removed."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vpnrs_core.errors import HostError

# Where `ip netns` looks for them, so that a person can look into ours with it.
DIRECTORY: Final = Path("/run/netns")

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 4096, 16384, 1 << 20, 2
_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str) -> None:
    """Raises HostError; then nothing is there."""
    path = DIRECTORY / name
    try:
        _share_directory()
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except OSError as error:
        raise HostError(f"namespace {name}: cannot be made in {DIRECTORY}: {error.strerror}") from error
    try:
        with _returning():
            _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
            _checked(_libc.mount(b"/proc/thread-self/ns/net", bytes(path), b"none", _MS_BIND, None), "mount")
    except OSError as error:
        path.unlink()
        raise HostError(
            f"namespace {name}: cannot be made: {error.filename}: {error.strerror}; it takes root, and a container "
            "that is allowed to (CAP_SYS_ADMIN)"
        ) from error


def delete(name: str) -> None:
    """Take the name away, if it is there; the namespace ends with the last process in it. Raises HostError."""
    path = DIRECTORY / name
    _libc.umount2(bytes(path), _MNT_DETACH)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"namespace {name}: cannot be removed: {error.strerror}") from error


def exists(name: str) -> bool:
    return (DIRECTORY / name).exists()


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is inside: sockets, TUNs, /proc/sys/net and processes that it starts belong to the namespace.
    What is already open stays where it was. Raises HostError."""
    try:
        here = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"namespace {name}: {error.strerror}") from error
    with _returning():
        try:
            _setns(here)
        except OSError as error:
            raise HostError(f"namespace {name}: cannot be entered: {error.strerror}") from error
        finally:
            os.close(here)
        yield


def processes(name: str) -> list[int]:
    """Pids of those that live in it. A process of which one thread has entered for a moment does not."""
    try:
        wanted = os.stat(DIRECTORY / name)
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is a zombie
                if os.path.samestat(os.stat(entry / "ns/net"), wanted):
                    found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    """Afterwards this thread is back in the namespace it is in now."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _setns(home)
        finally:
            os.close(home)


def _share_directory() -> None:
    """Mounts in the directory must reach other mount namespaces, as `ip netns` has it: otherwise a name that is
    removed here stays busy there."""
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Two at once would mount it twice.
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = bytes(DIRECTORY)
        if _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None):
            _checked(_libc.mount(path, path, b"none", _MS_BIND | _MS_REC, None), "mount")
            _checked(_libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None), "mount")
    finally:
        os.close(lock)


def _setns(fd: int) -> None:
    # os.setns came with Python 3.12.
    _checked(_libc.setns(fd, _CLONE_NEWNET), "setns")


def _checked(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)
