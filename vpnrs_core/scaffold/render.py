"""Renders the templates of a kind into the files of a new plugin's project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from vpnrs_core import __version__
from vpnrs_core.errors import ConfigError
from vpnrs_core.plugins.discover import distribution_name
from vpnrs_core.plugins.kinds import BY_WORD

_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]\Z")
_SUFFIX = ".txt"
# Kind → what turns it on beyond its table, for the README.
CHOOSE: Mapping[str, str] = {
    "authenticator": 'A server accepts the method with `[auth] methods = ["{name}"]`, a client uses it with `[auth] '
    'method = "{name}"`; `vpnrs init DIR --auth {name}` writes both.',
    "allocator": 'It is used when `[addresses] allocator = "{name}"`.',
    "transport": 'It is used when `transport = "{name}"`, at both sides.',
    "engine": 'It is used when `[quic] engine = "{name}"`.',
    "protocol": "It is offered beside `vpnrs/1`, which both sides prefer.",
    "codec": "Both sides need it: it is negotiated by name.",
    "scheduler": 'It is used when `scheduler = "{name}"`.',
    "store": 'It is used when `store = "{name}"`.',
    "command": "Then `vpnrs {name} sessions` asks a running instance.",
}


@dataclass(frozen=True)
class Project:
    """`distribution` is what it is published under and the name of its folder; `files` by path inside of it."""

    name: str
    kind: str
    distribution: str
    files: Mapping[str, str]


def project(name: str, kind: str) -> Project:
    """The files of a new plugin. Raises ConfigError for a name that no plugin can have."""
    check_name(name)
    distribution = distribution_name(name)
    package = distribution.replace("-", "_")
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {
        "name": name,
        "kind": kind,
        "title": title,
        "package": package,
        "distribution": distribution,
        "summary": f"{title} {BY_WORD[kind].what}.",
        "core": _core_range(),
        "choose": CHOOSE.get(kind, "").format(name=name),
        "commands": _commands(name, package) if kind == "command" else "",
    }
    made = {_place(kind, path, package): Template(text).substitute(words) for path, text in _templates(kind).items()}
    made[f"{package}/py.typed"] = ""
    return Project(name, kind, distribution, dict(sorted(made.items())))


def check_name(name: str) -> None:
    """Raises ConfigError that says what a name looks like."""
    if not _NAME.match(name):
        raise ConfigError(f"{name!r} is no name for a plugin: use a–z, 0–9 and _, a letter first, as in rate_limit")
    if name == "core":
        raise ConfigError("'core' is the name of the core itself; choose another")


def _core_range() -> str:
    """The contract's version is the core's major.minor, so a plugin keeps to it."""
    major, minor = __version__.split(".")[:2]
    above = f"{major}.{int(minor) + 1}" if major == "0" else str(int(major) + 1)
    return f"vpnrs-core>={major}.{minor},<{above}"


def _commands(name: str, package: str) -> str:
    return f'\n[project.entry-points."vpnrs.commands"]\n{name} = "{package}.cli:{name}"\n'


def _templates(kind: str) -> Mapping[str, str]:
    """Path below templates/ → text."""
    root = files("vpnrs_core.scaffold") / "templates"
    return {
        f"{folder}/{each.name}": each.read_text("utf-8")
        for folder in ("common", kind)
        for each in (root / folder).iterdir()
        if each.name.endswith(_SUFFIX)
    }


def _place(kind: str, template: str, package: str) -> str:
    """Where a template's file goes."""
    folder, name = template.removesuffix(_SUFFIX).split("/")
    if name == "init.py":
        return f"{package}/__init__.py"
    if name.startswith("test_"):
        return f"tests/{name}"
    return name if folder == "common" else f"{package}/{name}"
