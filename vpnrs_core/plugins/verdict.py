"""What `vpnrs plugins check` finds out about one plugin: step by step, each with its outcome in one line."""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import click
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic_core import PydanticUndefined

import vpnrs_core
from vpnrs_core import interfaces
from vpnrs_core.config.load import from_data
from vpnrs_core.errors import ConfigError, VpnrsError
from vpnrs_core.plugins.compat import CORE, incompatibility
from vpnrs_core.plugins.discover import COMMANDS_GROUP, Installed
from vpnrs_core.plugins.dry_context import dry_contexts
from vpnrs_core.plugins.failure import describe
from vpnrs_core.plugins.hooks import findings_of, needs_of
from vpnrs_core.plugins.inspection import NoKeys
from vpnrs_core.plugins.kinds import BY_REGISTRY
from vpnrs_core.plugins.load import Plugins, import_plugin, load_plugins
from vpnrs_core.plugins.public import private_imports
from vpnrs_core.plugins.registry import KINDS

State = Literal["ok", "warning", "failed", "skipped"]

# Registry → what an object of it must have. Stages and codecs have halves, which are looked at where they are used.
_SHAPES: Mapping[str, type] = {
    "transports": interfaces.Transport,
    "quic_engines": interfaces.QuicEngine,
    "session_protocols": interfaces.SessionProtocol,
    "link_schedulers": interfaces.LinkScheduler,
    "authenticators": interfaces.Authenticator,
    "admission_checks": interfaces.AdmissionCheck,
    "grant_contributors": interfaces.GrantContributor,
    "address_allocators": interfaces.AddressAllocator,
    "packet_stages": interfaces.StageFactory,
    "stores": interfaces.Store,
    "services": interfaces.Service,
}


@dataclass(frozen=True)
class Step:
    """`what` was looked at, and what came of it."""

    what: str
    state: State
    text: str = ""


@dataclass(frozen=True)
class Tables:
    """[plugins.NAME] at a server, and at a client where that is another one."""

    server: Mapping[str, Any]
    client: Mapping[str, Any] | None = None


@dataclass
class Verdict:
    plugin: str
    steps: list[Step] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not any(step.state == "failed" for step in self.steps)

    def add(self, what: str, state: State, text: str = "") -> None:
        self.steps.append(Step(what, state, text))


def judge(plugin: Installed, tables: Tables) -> Verdict:
    """Metadata, compatibility, import, class, configuration, construction and hooks at both sides, commands. A step
    that later ones need and that fails is the last."""
    verdict = Verdict(plugin.name)
    verdict.steps += _metadata(plugin)
    misfit = incompatibility(plugin.requires, vpnrs_core.__version__)
    if misfit:
        verdict.add("compatibility", "failed", misfit)
        return verdict
    verdict.add("compatibility", "ok", f"runs on vpnrs-core {vpnrs_core.__version__}")
    loaded, failures = import_plugin(plugin)
    if failures:
        verdict.steps += [Step(failure.stage, "failed", failure.cause) for failure in failures]
        return verdict
    verdict.add("import", "ok", plugin.entry_point.value)
    verdict.steps += _imports(loaded)
    verdict.steps += _configuration(loaded)
    with tempfile.TemporaryDirectory(prefix="vpnrs-check-") as folder:
        made = provisioned(loaded, Path(folder)) if not tables.server else None
        client = tables.server if tables.client is None else tables.client
        used = made or {"server": tables.server, "client": client}
        for role in ("server", "client"):
            verdict.steps += _role(plugin.name, used[role], role, Path(folder))
    verdict.steps += _commands(plugin)
    return verdict


def _metadata(plugin: Installed) -> Iterator[Step]:
    yield Step("metadata", "ok", f"{plugin.distribution} {plugin.version}, entry point {plugin.entry_point.value}")
    if not plugin.summary:
        yield Step("metadata", "warning", "has no description, which is what `vpnrs plugins list` shows")
    ranges = [each for each in map(_core_range, plugin.requires) if each is not None]
    if not ranges:
        yield Step("metadata", "warning", f"requires no {CORE}: write a range, as in {CORE}>=0.1,<0.2")
    elif not any(spec.operator in ("<", "<=", "==", "~=") for each in ranges for spec in each.specifier):
        yield Step("metadata", "warning", f"its range of {CORE} has no upper end: a later contract may break it")


def _core_range(text: str) -> Requirement | None:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    # An extra's requirement is that of its tests.
    extra = requirement.marker is not None and "extra" in str(requirement.marker)
    return requirement if canonicalize_name(requirement.name) == CORE and not extra else None


def _configuration(plugin: Any) -> Iterator[Step]:
    model = getattr(plugin, "Config", NoKeys)
    fields = model.model_fields
    yield Step("configuration", "ok", ", ".join(fields) or "takes no key")
    if silent := [name for name, each in fields.items() if not each.description]:
        yield Step(
            "configuration", "warning", f"without a description, which errors and pages show: {', '.join(silent)}"
        )
    if required := [n for n, f in fields.items() if f.get_default(call_default_factory=True) is PydanticUndefined]:
        yield Step("configuration", "warning", f"`-p` alone cannot turn it on: {', '.join(required)} has no default")


def _imports(plugin: Any) -> Iterator[Step]:
    file = getattr(sys.modules.get(plugin.__module__), "__file__", None)
    if file is None or ".whl" in file:
        return  # packed: nobody can look at it as source
    package = Path(file).parent if "." in plugin.__module__ else Path(file)
    for path, line, module in private_imports(package):
        text = f"{path.name} line {line} imports {module}, which is not public and may change with any release"
        yield Step("imports", "warning", text)


def provisioned(plugin: Any, folder: Path) -> Mapping[str, Mapping[str, Any]] | None:
    """The tables of both sides as `vpnrs init --auth` would write them, with their files in `folder`; None: the plugin
    has no `provision`."""
    if not hasattr(plugin, "provision"):
        return None
    made = plugin.provision("alice")
    for name, text in (*made.server_files.items(), *made.client_files.items()):
        (folder / name).write_text(text)
    return {"server": made.server_table, "client": made.client_table}


def _role(name: str, table: Mapping[str, Any], role: Literal["server", "client"], folder: Path) -> Iterator[Step]:
    """Construction, registration and every hook, in an instance of this role that never runs."""
    try:
        configuration = from_data({**_BASES[role], "plugins": {name: dict(table)}}, folder / f"{role}.toml")
        plugins = load_plugins(configuration, dry_contexts(configuration))
        findings_of(plugins.manager, configuration)
        needs_of(plugins.manager)
    except VpnrsError as error:
        hint = "; give the keys that it needs with --set" if isinstance(error, ConfigError) and not table else ""
        yield from (Step(role, "failed", line + hint) for line in str(error).splitlines())
        return
    (own,) = (each for each in plugins.loaded if each.name == name)
    yield Step(role, "ok", ", ".join(own.hooks))
    yield from (Step(role, "warning", line) for line in plugins.warnings)
    yield from (Step(role, "failed", line) for line in _lacking(name, plugins))


def _lacking(name: str, plugins: Plugins) -> Iterator[str]:
    """What registered objects lack of their interface."""
    for registry, protocol in _SHAPES.items():
        for entry in plugins.registry.all(registry):
            if entry.owner != name:
                continue
            members = {*vars(protocol), *inspect.get_annotations(protocol)}
            wanted = sorted(member for member in members if not member.startswith("_"))
            missing = [member for member in wanted if not hasattr(entry.object, member)]
            if missing:
                word = BY_REGISTRY[registry].word
                yield f"{KINDS[registry]} {entry.name!r} lacks {', '.join(missing)}; see the how-to of kind {word}"
            for member in wanted:
                promised, kept = getattr(protocol, member, None), getattr(entry.object, member, None)
                if inspect.iscoroutinefunction(promised) and callable(kept) and not inspect.iscoroutinefunction(kept):
                    yield f"{KINDS[registry]} {entry.name!r}: {member} is not async, as its interface is"


def _commands(plugin: Installed) -> Iterator[Step]:
    for entry in entry_points(group=COMMANDS_GROUP):
        if entry.dist is None or entry.dist.metadata["Name"] != plugin.distribution:
            continue
        try:
            command = entry.load()
        except (Exception, SystemExit) as error:
            yield Step("commands", "failed", f"{entry.name} ({entry.value}): import: {describe(error)}")
            continue
        if isinstance(command, click.Command):
            yield Step("commands", "ok", f"vpnrs {entry.name}")
        else:
            yield Step("commands", "failed", f"{entry.name} ({entry.value}): is {command!r}, not a click command")


_BASES: Mapping[str, Mapping[str, Any]] = {
    "server": {"role": "server", "addresses": {"ipv4": "10.0.0.0/24", "ipv6": "fd00::/64"}},
    "client": {"role": "client", "server": "192.0.2.1:4433", "ca": "system"},
}
