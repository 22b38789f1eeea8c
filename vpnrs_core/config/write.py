"""Writes configurations and the files that belong to them: new files only, secrets readable by their owner only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from vpnrs_core.errors import ConfigError


def to_toml(data: Mapping[str, Any]) -> str:
    """TOML text. None (TOML has no null) leaves the key out; addresses and prefixes become strings."""
    return tomli_w.dumps(_plain(data))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def write_new(path: Path, content: str | bytes, *, private: bool) -> None:
    """Create `path` with `content`; `private`: mode 0600 from its first moment on. Raises ConfigError when it is
    there already or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    except FileExistsError:
        raise ConfigError(
            f"{path}: is there already and is not overwritten; move it away or choose another folder"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:  # the disk is full: half a file would be taken for a whole one
        path.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
