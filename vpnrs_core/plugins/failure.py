"""A plugin's failure: which plugin, at which stage, and the cause with the line of code that raised."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpnrs_core.errors import ConfigError, PluginError, VpnrsError

Stage = Literal[
    "choice", "compatibility", "import", "inspection", "configuration", "construction", "registration", "hook"
]


@dataclass(frozen=True)
class Failure:
    """One line: `plugin nat64: import: …`. `error` is what was raised, None where a rule was broken."""

    plugin: str
    stage: Stage
    cause: str
    error: BaseException | None = None

    def __str__(self) -> str:
        # The configuration's lines name file and table themselves, and the core's own need no plugin's name.
        if self.stage == "configuration" or (self.plugin == "core" and isinstance(self.error, ConfigError)):
            return self.cause
        return f"plugin {self.plugin}: {self.stage}: {self.cause}"

    @property
    def is_configuration(self) -> bool:
        """The user's tables or files are wrong, not the plugin."""
        return self.stage == "configuration" or isinstance(self.error, ConfigError)


def describe(error: BaseException) -> str:
    """`Type: text (file.py line n)` in one line: what an author needs to find the place."""
    text = " ".join(str(error).split())
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, VpnrsError):
        return text
    if isinstance(error, SyntaxError) and error.filename:
        return f"{named.split(' (')[0]} ({Path(error.filename).name} line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    return f"{named} ({Path(frames[-1].filename).name} line {frames[-1].lineno})" if frames else named


def refuse(failures: Sequence[Failure]) -> None:
    """Raise for one or more failures, one line each; nothing for none. ConfigError when the user's tables are all
    that is wrong, else PluginError."""
    if not failures:
        return
    kind = ConfigError if all(failure.is_configuration for failure in failures) else PluginError
    cause = next((failure.error for failure in failures if failure.error is not None), None)
    raise kind("\n".join(str(failure) for failure in failures)) from cause
