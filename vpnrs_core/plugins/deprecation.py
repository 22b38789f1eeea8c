"""Collects what a plugin uses that is deprecated, as lines with its name, file and line, for whoever starts it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpnrs_core.hookspecs import Deprecated


@contextmanager
def deprecations_of(plugin: str, lines: list[str]) -> Iterator[None]:
    """Add a line for each Deprecated that is warned of inside; all other warnings go where they would have gone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Deprecated)
        yield
    for each in caught:
        if issubclass(each.category, Deprecated):
            line = f"plugin {plugin}: {each.message} ({Path(each.filename).name} line {each.lineno})"
            lines += [] if line in lines else [line]
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)
