"""docs/configuration.md and docs/cli.md are what docs/generate.py makes of the models and commands."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.plugins.kinds import BY_WORD

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITTEN = [
    *("events.md", "configuration.md", "cli.md", "status.schema.json"),
    *(f"reference/{name}.md" for name in ("hooks", "interfaces", "testkit", "public")),
    *(f"howto/{word}.md" for word in BY_WORD),
]


def test_all_that_is_written_is_compared(generate: ModuleType) -> None:
    assert set(generate.FILES) == set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_committed_file_is_what_the_code_says(generate: ModuleType, name: str) -> None:
    made = generate.FILES[name]()
    assert (DOCS / name).read_text() == made, f"docs/{name} is stale: run `.venv/bin/python docs/generate.py`"


def test_every_key_is_documented() -> None:
    text = (DOCS / "configuration.md").read_text()
    for model in (ServerConfig, ClientConfig):
        for name, field in model.model_fields.items():
            table = getattr(field.annotation, "model_fields", None)
            assert (f"### `[{name}]`" if table else f"| `{name}` |") in text
            assert all(f"| `{key}` |" in text for key in table or ())
