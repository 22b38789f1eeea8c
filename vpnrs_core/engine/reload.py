"""What a changed configuration means for a running instance: pure rules; the roles carry it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pydantic
from pydantic import Field

from vpnrs_core.config.models import Configuration

# Keys that a running instance takes over; sessions stay. All others need a restart.
LIVE: Final = frozenset(
    {
        *("log.level", "log.format"),
        *("session.routes", "session.dns", "session.max_sessions", "session.resume_window", "session.isolation"),
        *("forwarding.enable", "forwarding.nat44", "forwarding.clamp_mss"),
        *("routes", "accept_routes", "accept_dns", "dns_domains", "kill_switch", "kill_switch_after_crash"),
        *("reconnect.min", "reconnect.max", "reconnect.jitter", "reconnect.attempts"),
    }
)
# What is said beside some of them.
NOTES: Final[Mapping[str, str]] = {
    "session.routes": "for sessions granted from now on",
    "session.dns": "for sessions granted from now on",
    "session.max_sessions": "sessions above it stay",
}


class ReloadRequest(pydantic.BaseModel):
    """`core.reload`: takes nothing."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Reloaded(pydantic.BaseModel):
    """The answer to `core.reload`. Each entry is a line: the key, its old and new value."""

    applied: list[str] = Field(default_factory=list, description="What is in force now.")
    needs_restart: list[str] = Field(default_factory=list, description="What comes into force with the next start.")
    warnings: list[str] = Field(default_factory=list, description="What the check of the configuration warns of.")


def differences(old: Configuration, new: Configuration) -> dict[str, tuple[Any, Any]]:
    """Dotted key → old and new value. A plugin's table is one key; its values, which may be secrets, stay unsaid."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    found = {key: (before.get(key), after.get(key)) for key in {**before, **after} if before.get(key) != after.get(key)}
    for name in {*old.plugins, *new.plugins}:
        if old.plugins.get(name) != new.plugins.get(name):
            found[f"plugins.{name}"] = (None, None)
    return dict(sorted(found.items()))


def applies_live(key: str, new: Any) -> bool:
    """Forwarding is turned on at any time; off it goes with what else depends on it, at the end."""
    return key in LIVE and not (key == "forwarding.enable" and new is False)


def taking_over(old: Configuration, changes: Mapping[str, tuple[Any, Any]], keys: Iterable[str]) -> Configuration:
    """`old` with the new values of these keys."""
    made = old
    for key in keys:
        made = _with(made, key.split("."), changes[key][1])
    made.sourced(old.source)
    return made


def line(key: str, old: Any, new: Any) -> str:
    note = f" ({NOTES[key]})" if key in NOTES else ""
    return key if old is None and new is None else f"{key}: {_text(old)} → {_text(new)}{note}"


def _leaves(model: pydantic.BaseModel, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, pydantic.BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "plugins":
            yield f"{prefix}{name}", value


def _with(model: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return model.model_copy(update={head: _with(getattr(model, head), rest, value) if rest else value})


def _text(value: Any) -> str:
    """As TOML has it, nearly."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
