"""The file that results are kept in: one JSON object with a section for each kind of measurement.

A section says when, where and of which commit it was measured. It is written after every step, so that an interrupted
run is not lost, and `--append` goes on with it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LATEST = Path(__file__).parent / "results" / "latest.json"
SCHEMA = 2


class Record:
    """`sections` by name, each a JSON object."""

    def __init__(self, path: Path, sections: dict[str, Any] | None = None) -> None:
        self.path = path
        self.sections: dict[str, Any] = {} if sections is None else sections

    @classmethod
    def load(cls, path: Path) -> Record:
        """An absent file is an empty record. Raises ValueError when it is of another schema."""
        if not path.exists():
            return cls(path)
        data = json.loads(path.read_text())
        if data.get("schema") != SCHEMA:
            raise ValueError(f"{path} has schema {data.get('schema')}, this bench writes {SCHEMA}; remove it")
        return cls(path, data["sections"])

    def section(self, name: str, about: Mapping[str, Any], append: bool) -> dict[str, Any]:
        """The named one to add to, or a new one. Raises ValueError when what is there was measured otherwise: its
        figures must not be mixed with others."""
        kept = self.sections.get(name)
        if not append or kept is None:
            kept = self.sections[name] = dict(about)
            return kept
        for key in ("commit", "host", "options"):
            if kept.get(key) != about.get(key):
                raise ValueError(
                    f"{self.path}: [{name}] was measured with {key} {kept.get(key)}, this is {about.get(key)}; "
                    "begin anew without --append"
                )
        kept["at"] = about["at"]
        return kept

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"schema": SCHEMA, "sections": self.sections}, indent=1) + "\n")
        new.replace(self.path)


def about(options: Mapping[str, Any]) -> dict[str, Any]:
    """When, where and of what: what a section begins with."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "host": {
            "cpu": cpu(Path("/proc/cpuinfo").read_text()),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            # What streams use that name no other.
            "tcp": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        },
        "options": dict(options),
    }


def cpu(cpuinfo: str) -> str:
    """The processor's name as /proc/cpuinfo has it."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "model name"), platform.machine())


def commit() -> str:
    """Of this checkout, "+" behind it: with changes of the product; empty: no checkout."""
    try:
        told = subprocess.run(
            ["git", "-C", str(ROOT), "log", "-1", "--format=%h"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(ROOT), "status", "--porcelain", "--", "vpnrs_core", "plugins"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told + ("+" if changed else "")
