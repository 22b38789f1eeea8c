"""Makes the modules beside this file (the bench, the three stages) importable by name, and the bench a fixture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def make_bench() -> Callable[..., Any]:
    from pipeline_bench import build_bench

    return build_bench


@pytest.fixture
def session() -> Any:
    from pipeline_bench import FakeSession

    return FakeSession
