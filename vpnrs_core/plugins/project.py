"""A distribution's metadata as files, so that a plugin that nobody has installed is found as an installed one is."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from vpnrs_core.errors import ConfigError

EntryPoints = Mapping[str, Mapping[str, str]]


def write(
    folder: Path,
    distribution: str,
    version: str,
    entry_points: EntryPoints,
    *,
    summary: str = "",
    requires: Sequence[str] = (),
) -> Path:
    """Make `<folder>/<distribution>-<version>.dist-info` → its path."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nSummary: {summary}\n{needs}"
    (info / "METADATA").write_text(text)
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in entry_points.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    return info


def of_project(project: Path, folder: Path) -> str:
    """Write the metadata that `pip install` would make of `project`/pyproject.toml → its plugin's name. Raises
    ConfigError where there is no plugin."""
    file = project / "pyproject.toml"
    try:
        data = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{project}: has no pyproject.toml; name the folder of a plugin's project") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    table = data.get("project", {})
    groups = table.get("entry-points", {})
    if not groups.get("vpnrs"):
        raise ConfigError(
            f'{file}: names no plugin; add [project.entry-points.vpnrs] with a line NAME = "package.plugin:Plugin"'
        )
    write(
        folder,
        table.get("name", project.name),
        table.get("version", "0"),
        {group: entries for group, entries in groups.items() if group.startswith("vpnrs")},
        summary=table.get("description", ""),
        requires=table.get("dependencies", ()),
    )
    return str(next(iter(groups["vpnrs"])))


@contextmanager
def on_path(*folders: Path) -> Iterator[None]:
    """`folders` come first on sys.path."""
    added = [str(folder) for folder in folders]
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
