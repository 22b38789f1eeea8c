"""Real distributions in a temporary folder on sys.path, so that importlib.metadata finds them as it finds any other."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpnrs_core.config.load import from_data
from vpnrs_core.config.models import Configuration
from vpnrs_core.hookspecs import impl
from vpnrs_core.interfaces import Context
from vpnrs_core.plugins.dry_context import DryContext
from vpnrs_core.plugins.load import Plugins, load_plugins

PREFIX = "vpnrs_fake_"
Install = Callable[..., None]
Load = Callable[..., Plugins]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(name, code, requires=…)`: a distribution vpnrs-<name> with one module, whose Plugin is the plugin."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    # No bytecode: a module that is written again within a second must be read again.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(
        name: str,
        code: str | None = None,
        *,
        requires: str | None = "vpnrs-core>=0.1,<0.2",
        distribution: str = "",
        target: str = "",
        group: str = "vpnrs",
    ) -> None:
        distribution = distribution or f"vpnrs-{name}"
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\nSummary: What {name} is for.\n{needs}"
        )
        target = target or f"{PREFIX}{name}:Plugin"
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
        if code is not None:
            (site / f"{PREFIX}{name}.py").write_text(HEADER + textwrap.dedent(code))

    yield make
    for module in [module for module in sys.modules if module.startswith(PREFIX)]:
        del sys.modules[module]


HEADER = "import pydantic\nfrom vpnrs_core.hookspecs import impl\nfrom vpnrs_core.interfaces import Finding\n"
GOOD = """
    class Plugin:
        DROP_REASONS = ("too_late",)

        class Config(pydantic.BaseModel):
            limit: int = pydantic.Field(5, description="How many.")

        def __init__(self, config, ctx):
            self.config = config
            self.ctx = ctx

        @impl
        def vpnrs_check(self, configuration):
            return [Finding("warning", f"limit is {self.config.limit}")]
"""


class FakeStore:
    NAME = "memory"


class FakeCore:
    """Stands for the built-in plugin where a test looks at the loader only."""

    def __init__(self, config: Configuration, ctx: Context, engines: object) -> None:
        self.config = config

    @impl
    def vpnrs_register_stores(self) -> list[FakeStore]:
        return [FakeStore()]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load({name: table}, enable=…, block=…)` loads with a server's configuration of these plugins' tables."""

    def run(tables: dict[str, dict[str, object]] | None = None, **arguments: object) -> Plugins:
        configuration = from_data({"role": "server", "plugins": tables or {}}, tmp_path / "server.toml")
        configuration.sourced(Path("server.toml"))
        return load_plugins(
            configuration,
            lambda name: DryContext(name, configuration),
            builtin=FakeCore,
            **arguments,  # type: ignore[arg-type]
        )

    return run
