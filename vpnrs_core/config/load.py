"""Loads a configuration: TOML file, overrides of the command line, model; every mistake becomes a ConfigError."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpnrs_core.config.explain import nearest, validate_table
from vpnrs_core.config.models import ClientConfig, Configuration, ServerConfig
from vpnrs_core.errors import ConfigError

# No configuration is as long. A device or a pipe may have no end.
MAX_BYTES = 1 << 20

_ROLES: dict[str, type[ServerConfig] | type[ClientConfig]] = {"server": ServerConfig, "client": ClientConfig}


def load(path: str | Path, overrides: Sequence[str] = ()) -> Configuration:
    """Load `path`. `overrides` are `a.b=c`: the value in TOML's syntax, else it is taken as a string.

    Raises ConfigError with one line a mistake, each with file, table and key."""
    source = Path(path)
    data = read_toml(source)
    for text in overrides:
        _override(data, text)
    return from_data(data, source)


def read_toml(source: Path) -> dict[str, Any]:
    """The file as a dict. Raises ConfigError, with the line for a syntax error."""
    try:
        with source.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file; `vpnrs init DIR` writes a server's and a client's") from None
    except IsADirectoryError:
        raise ConfigError(f"{source}: is a folder; name the file in it, for example {source / 'server.toml'}") from None
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{source}: is longer than 1 MiB; a configuration is a TOML file")
    try:
        # Editors of other systems put a byte order mark first, which TOML does not know.
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: is not UTF-8 text; a configuration is a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: is not a configuration: its values are nested too deeply") from None


def from_data(data: dict[str, Any], source: Path | None = None) -> Configuration:
    """Validate what a TOML file holds. Raises ConfigError with one line a mistake."""
    where = str(source) if source else "configuration"
    role = data.get("role")
    if role is None:
        raise ConfigError(f'{where}: role is missing; the file begins with role = "server" or role = "client"')
    if not isinstance(role, str) or role not in _ROLES:
        raise ConfigError(f"{where}: role: {role!r} is neither server nor client; {nearest(str(role), list(_ROLES))}")
    model, lines = validate_table(_ROLES[role], data, where, folder=source.absolute().parent if source else None)
    if lines:
        raise ConfigError("\n".join(lines))
    assert isinstance(model, (ServerConfig, ClientConfig))
    model.sourced(source)
    return model


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    path = _key_path(key.strip()) if equals else None
    if not path:
        raise ConfigError(f"--set {text}: is not KEY=VALUE; write for example --set tun.mtu=1400")
    table = data
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}: {part} is a value, not a table")
        table = inner
    table[path[-1]] = _value(value.strip())


def _key_path(key: str) -> list[str]:
    """A TOML key (bare, dotted or quoted) as its parts; empty: not a key."""
    try:
        node: Any = tomllib.loads(f"{key} = 0") if "\n" not in key else {}
    except tomllib.TOMLDecodeError:
        return []
    path = []
    while isinstance(node, dict):
        if len(node) != 1:
            return []
        part, node = next(iter(node.items()))
        path.append(part)
    return path


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
