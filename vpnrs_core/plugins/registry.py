"""What plugins registered: by kind and NAME, each with its owner; the configuration selects from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from vpnrs_core.config.explain import nearest
from vpnrs_core.errors import ConfigError
from vpnrs_core.plugins.failure import Failure, describe, refuse
from vpnrs_core.plugins.manager import call_each

# Kind → what one of it is called in messages. The hook of a kind is vpnrs_register_<kind>.
KINDS: Mapping[str, str] = {
    "quic_engines": "QUIC engine",
    "transports": "transport",
    "session_protocols": "session protocol",
    "datagram_codecs": "datagram codec",
    "link_schedulers": "link scheduler",
    "authenticators": "authentication method",
    "admission_checks": "admission check",
    "grant_contributors": "grant contributor",
    "address_allocators": "address allocator",
    "packet_stages": "packet stage",
    "stores": "store",
    "services": "service",
    "control": "control request",
}


@dataclass(frozen=True)
class Entry:
    """A registered object and the plugin that it came from."""

    name: str
    owner: str
    object: Any


class Registry:
    """Empty until `collect`, read-only afterwards."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}

    def collect(self, manager: pluggy.PluginManager) -> None:
        """Call every registration hook. Raises PluginError, a line for each failure: a hook that raised, an object
        without a name, a name or an ALPN that two register."""
        failures: list[Failure] = []
        for kind in KINDS:
            hook = f"vpnrs_register_{kind}"
            for owner, result in call_each(manager, hook, failures=failures, needs_list=True):
                try:
                    objects = list(result)
                except TypeError as error:
                    failures.append(Failure(owner, "hook", f"{hook} returned {result!r}, not a list", error))
                    continue
                except (Exception, SystemExit) as error:  # a generator runs only now
                    failures.append(Failure(owner, "hook", f"{hook} raised {describe(error)}", error))
                    continue
                failures += filter(None, (self._add(kind, owner, item) for item in objects))
        failures += self._alpn_conflicts()
        refuse(failures)

    def all(self, kind: str) -> Sequence[Entry]:
        """Everything of a kind, in the order of registration, the built-ins first."""
        return tuple(self._kinds[kind].values())

    def objects(self, kind: str) -> Mapping[str, Any]:
        """The objects of a kind by NAME."""
        return {name: entry.object for name, entry in self._kinds[kind].items()}

    def get(self, kind: str, name: str, key: str) -> Entry:
        """The one that the configuration selects. `key` says where it does (`server.toml: store`). Raises
        ConfigError that lists what exists."""
        entries = self._kinds[kind]
        if name not in entries:
            raise ConfigError(f"{key}: there is no {KINDS[kind]} {name!r}; {_exists(name, entries)}")
        return entries[name]

    def select(self, kind: str, names: Sequence[str], key: str) -> Sequence[Entry]:
        """Several, in the given order; as `get`."""
        return tuple(self.get(kind, name, key) for name in names)

    def _add(self, kind: str, owner: str, item: Any) -> Failure | None:
        hook = f"vpnrs_register_{kind}"
        name = getattr(item, "name" if kind == "control" else "NAME", None)
        if not isinstance(name, str) or not name:
            wanted = "a ControlRequest" if kind == "control" else "an object with a NAME"
            return Failure(owner, "hook", f"{hook} returned {item!r}, which is not {wanted}")
        # Requests live in their plugin's own namespace, so two plugins may both have a `list`.
        key = f"{owner}.{name}" if kind == "control" else name
        other = self._kinds[kind].get(key)
        if other is not None:
            both = "twice by it" if other.owner == owner else f"by {other.owner} already"
            exist = ", ".join(sorted(self._kinds[kind]))
            return Failure(owner, "hook", f"{hook}: {KINDS[kind]} {key!r} is registered {both}; taken are: {exist}")
        self._kinds[kind][key] = Entry(key, owner, item)
        return None

    def _alpn_conflicts(self) -> Iterator[Failure]:
        claimed: dict[str, Entry] = {}
        for entry in self.all("session_protocols"):
            for alpn in entry.object.ALPNS:
                other = claimed.setdefault(alpn, entry)
                if other is not entry:
                    taken = f"which {other.name!r} of {other.owner} claims already; load only one of the two"
                    cause = f"session protocol {entry.name!r} claims ALPN {alpn!r}, {taken}"
                    yield Failure(entry.owner, "hook", cause)


def _exists(name: str, entries: Mapping[str, Entry]) -> str:
    if not entries:
        return "no plugin that registers one is loaded; add the plugin's table [plugins.NAME]"
    hint = nearest(name, list(entries))
    known = f"known are: {', '.join(sorted(entries))}"
    return f"{hint if hint == known else f'{hint} {known}'}; or add the table [plugins.NAME] of the plugin that has it"
