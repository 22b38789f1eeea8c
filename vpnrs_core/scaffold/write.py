"""Writes a rendered project: all of it, or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from vpnrs_core.errors import ConfigError
from vpnrs_core.scaffold.render import Project


def write(made: Project, where: Path) -> Path:
    """Make the folder of `made` in `where` → its path. Raises ConfigError; nothing is overwritten."""
    folder = where / made.distribution
    try:
        where.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        raise ConfigError(
            f"{folder}: exists already, and nothing is overwritten; choose another name or folder"
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    try:
        for name, text in made.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None
    return folder
