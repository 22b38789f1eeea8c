"""Which plugins are to be loaded: what the configuration and the command line name, checked before any import."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import vpnrs_core
from vpnrs_core.plugins.compat import incompatibility
from vpnrs_core.plugins.discover import Installed, distribution_name
from vpnrs_core.plugins.failure import Failure

BUILTIN = "core"


@dataclass
class Choice:
    """`chosen` may be imported; `failures` says why the others may not."""

    chosen: list[Installed] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def split_names(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Values of `-p` → (enabled, blocked): `no:name` blocks."""
    blocked = [option[3:] for option in options if option.startswith("no:")]
    return [option for option in options if not option.startswith("no:")], blocked


def choose(
    tables: Collection[str],
    installed: Mapping[str, Installed],
    *,
    enable: Sequence[str] = (),
    block: Collection[str] = (),
    where: str = "configuration",
    option: str = "-p",
) -> Choice:
    """Judge every plugin that is named, in order: tables of the configuration, then `enable`, which the command
    line's `option` gave."""
    choice = Choice()
    if BUILTIN in block:
        cause = f"blocked by -p no:{BUILTIN}, but it is the core itself; remove the option"
        choice.failures.append(Failure(BUILTIN, "choice", cause))
    for name in dict.fromkeys((*tables, *enable)):
        named_by = f"[plugins.{name}] of {where}" if name in tables else f"{option} {name}"
        cause = _refusal(name, named_by, installed, block)
        if cause:
            choice.failures.append(Failure(name, "choice", cause))
            continue
        plugin = installed[name]
        misfit = incompatibility(plugin.requires, vpnrs_core.__version__)
        if misfit:
            cause = f"{plugin.distribution} {plugin.version} is incompatible: {misfit}; install another version of it"
            choice.failures.append(Failure(name, "compatibility", cause))
            continue
        choice.chosen.append(plugin)
    return choice


def _refusal(name: str, named_by: str, installed: Mapping[str, Installed], block: Collection[str]) -> str:
    if name == BUILTIN:
        return f"named by {named_by}, but it is the core itself and always loaded; remove it"
    if name in block:
        return f"blocked by -p no:{name}, but named by {named_by}; remove one of the two"
    if name not in installed:
        return f"named by {named_by}, but not installed; {missing_hint(name, installed)}"
    plugin = installed[name]
    if plugin.rivals:
        return f"offered by {', '.join((plugin.distribution, *plugin.rivals))}; uninstall all but one"
    return ""


def missing_hint(name: str, installed: Collection[str]) -> str:
    """What to do about a plugin that is not there: the nearest installed name, or the command that installs it."""
    close = difflib.get_close_matches(name, list(installed), n=1, cutoff=0.7)
    install = f"`pip install {distribution_name(name)}`"
    return f"did you mean {close[0]}? Otherwise {install}" if close else f"{install}"
