"""What all contract suites share: the plugin under test, loaded alone, and the one object of its kind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from vpnrs_core.testkit.clock import Clock
from vpnrs_core.testkit.load import Loaded, load

T = TypeVar("T")

# Seconds that one call of a plugin may take, as in a running instance.
DEADLINE = 5.0


class Suite:
    """`plugin` is the entry point's name, `table` its table [plugins.<plugin>], `files` are written beside the
    configuration, `settings` are other keys of the configuration; `name`: the NAME of the object, when the plugin
    registers several of the kind."""

    kind: ClassVar[str]
    plugin: ClassVar[str] = ""
    table: ClassVar[Mapping[str, Any]] = {}
    files: ClassVar[Mapping[str, str]] = {}
    settings: ClassVar[Mapping[str, Any]] = {}
    name: ClassVar[str | None] = None

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def loaded(self, tmp_path: Path, clock: Clock) -> Loaded:
        """The plugin in a server. A client's table is loaded with `load`."""
        assert self.plugin, "name the plugin: the class attribute `plugin`, or override the fixture `subject`"
        return load(self.plugin, self.table, settings=self.settings, files=self.files, folder=tmp_path, clock=clock)

    @pytest.fixture
    def subject(self, loaded: Loaded) -> Any:
        """The object under test."""
        return loaded.one(self.kind, self.name)


def run(coroutine: Coroutine[Any, Any, T], deadline: float = DEADLINE) -> T:
    """In an event loop of its own, within the deadline that the core gives a call."""

    async def bounded() -> T:
        async with asyncio.timeout(deadline):
            return await coroutine

    return asyncio.run(bounded())


def is_named(subject: Any) -> bool:
    """Whether it has a NAME that a configuration can hold: text without blanks."""
    name = subject.NAME
    return isinstance(name, str) and bool(name) and not any(c.isspace() for c in name)
