"""The run directory of an instance: its place, its lock against a second instance, and its end."""

from __future__ import annotations

import fcntl
import grp
import os
import re
import shutil
import time
from pathlib import Path
from typing import Final, Self

from vpnrs_core.errors import ConfigError, HostError

DEFAULT_BASE: Final = "/run/vpnrs"
BASE_VARIABLE: Final = "VPNRS_RUN_DIR"
GROUP: Final = "vpnrs"
JOURNAL: Final = "journal"

_LOCK: Final = "lock"
# Seconds that a guard may take to put back what a killed instance changed.
_GUARD_PATIENCE: Final = 10.0
_INSTANCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def base_directory() -> Path:
    """Where the instances' directories are: /run/vpnrs, or what VPNRS_RUN_DIR names."""
    return Path(os.environ.get(BASE_VARIABLE) or DEFAULT_BASE)


def instance_directory(instance: str) -> Path:
    """The directory of that instance, made or not. Raises ConfigError for a bad name."""
    return base_directory() / valid_instance(instance)


def valid_instance(name: str) -> str:
    """→ the name itself. Raises ConfigError."""
    if not _INSTANCE.fullmatch(name):
        raise ConfigError(
            f"instance name {name!r}: use 1 to 32 of a-z, 0-9, '_' and '-', and begin with a letter or a digit"
        )
    return name


def running_pid(instance: str) -> int | None:
    """The process that runs this instance now, None: nobody does."""
    try:
        fd = os.open(instance_directory(instance) / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise HostError(
            f"no permission to look into {error.filename}: run as root, or join the group {GROUP}"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _read_pid(fd)
        # Its guard holds the lock a little longer than an instance that was killed.
        return pid if pid is None or _alive(pid) else None
    finally:
        os.close(fd)
    return None


def is_held(path: Path) -> bool:
    """Whether an instance runs, or its guard is at work, that has this directory."""
    try:
        fd = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class RunDir:
    """The directory of an instance that is ours for as long as the lock is held."""

    def __init__(self, instance: str, path: Path, lock: int) -> None:
        self.instance = instance
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, instance: str) -> Self:
        """Make the directory and take the lock. Raises HostError when the instance runs already or the place cannot
        be written, ConfigError for a bad name. What a crashed predecessor left is removed, but for its journal."""
        path = instance_directory(instance)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = _lock(instance, path)
            _share(path)
        except OSError as error:
            raise HostError(
                f"cannot use the run directory {path}: {error.strerror} ({error.filename}); run as root, or set "
                f"{BASE_VARIABLE} to a directory that you may write"
            ) from error
        for entry in path.iterdir():
            if entry.name not in (JOURNAL, _LOCK):
                _discard(entry)
        return cls(instance, path, lock)

    @property
    def lock(self) -> int:
        """The descriptor that holds the lock; whoever inherits it holds the lock as well."""
        return self._lock

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    def release(self) -> None:
        """Remove the directory and give the lock back. A journal that is still there stays, for the next start."""
        if self._lock < 0:
            return
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            if entry.name not in (JOURNAL, _LOCK):
                _discard(entry)
        (self.path / _LOCK).unlink(missing_ok=True)
        try:
            self.path.rmdir()
        except OSError:
            pass
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(instance: str, path: Path) -> int:
    """A descriptor that holds the lock of the file that is at its path now."""
    deadline = time.monotonic() + _GUARD_PATIENCE
    while True:
        path.mkdir(mode=0o751, exist_ok=True)
        try:
            fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:
            continue  # the former instance removed the directory just now
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(fd)
            os.close(fd)
            if (pid is None or not _alive(pid)) and time.monotonic() < deadline:
                time.sleep(0.02)  # its guard is at work, or somebody looks whether anyone is there
                continue
            raise HostError(
                f"instance {instance!r} is running already (pid {pid or 'unknown'}): stop it with 'vpnrs stop "
                f"--instance {instance}', or give this one another name with --instance"
            ) from None
        # The former instance unlinks the file before it unlocks: a lock on an unlinked file protects nothing.
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(path / _LOCK))
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd
        os.close(fd)


def _share(path: Path) -> None:
    """For the members of the group `vpnrs` where there is one. All others may only pass through, to the socket that is
    open to everybody: what else is inside has modes of its own."""
    os.chmod(path, 0o751)
    try:
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    except (KeyError, PermissionError):
        pass


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _alive(pid: int) -> bool:
    """Whether the process still runs; one that was killed and that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def _discard(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
