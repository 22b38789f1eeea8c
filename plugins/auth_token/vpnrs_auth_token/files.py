"""The tokens file on disk: read, and edited under a lock with an atomic replacement (mode 0600)."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vpnrs_auth_token.tokenfile import HEADER, TokenFile, TokenFileError, parse_file

# A hundred thousand tokens. A device or a pipe may have no end.
MAX_BYTES = 16 << 20


def read_text(path: Path) -> str:
    """Raises TokenFileError when the file is not text or too long for one of tokens, OSError when it cannot be read."""
    with path.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TokenFileError(f"{path}: is longer than 16 MiB. Is this the tokens file?")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        # `from None`: the exception's own text would show the line.
        raise TokenFileError(f"{path}:{line}: is not UTF-8 text. Is this the tokens file?") from None


def read_file(path: Path) -> TokenFile:
    """Raises TokenFileError, also for a file that is missing or cannot be read."""
    try:
        return parse_file(read_text(path), str(path))
    except OSError as error:
        raise TokenFileError(unreadable(path, error)) from None


def is_open_to_change(path: Path) -> bool:
    """Whether everyone on this host may write to it. False also for a file that is gone."""
    try:
        return bool(path.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def unreadable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{path}: there is no such tokens file. Make one with `vpnrs token new --name NAME --file {path}`."
    return f"{path}: the tokens file cannot be read: {error.strerror}."


def edit_file(path: Path, change: Callable[[TokenFile], TokenFile], *, create: bool = False) -> None:
    """Read, change and replace, so that a reader sees the old or the new file, and two editors lose nothing of each
    other's. Raises TokenFileError."""
    path = Path(os.path.realpath(path))  # a link stays one: its target is replaced
    try:
        with _locked(path.parent):
            before = parse_file(HEADER, str(path)) if create and not path.exists() else read_file(path)
            after = change(before)
            if after is not before:
                _replace(path, after.text())
    except OSError as error:
        raise TokenFileError(f"{path}: the tokens file cannot be written: {error.strerror}.") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The folder is locked, not the file: the file is replaced, and a lock file of its own would stay behind.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o600)
            _keep_owner(path, stream.fileno())
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _keep_owner(path: Path, descriptor: int) -> None:
    """A file edited by root stays readable to the user that the server runs as."""
    try:
        owner = path.stat()
    except FileNotFoundError:
        return
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
