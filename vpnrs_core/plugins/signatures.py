"""The contract as lines of text: every hook, interface and error with its signature, so that two versions compare."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from vpnrs_core import errors, events, hookspecs, interfaces
from vpnrs_core.plugins.manager import hook_names


def signatures() -> Mapping[str, str]:
    """Name → signature. Members are named after their class, `Context.now`."""
    found = {name: _function(getattr(hookspecs, name)) for name in hook_names()}
    for name in interfaces.__all__:
        found.update(_thing(name, getattr(interfaces, name)))
    for module in (errors, events):
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                found.update(_thing(name, value))
    return dict(sorted(found.items()))


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names that an author must be told of: added, gone, or with another signature. A class that is new or gone is
    named once."""
    names = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    whole = {name for name in names if name not in old or name not in new}
    return sorted(name for name in names if name.partition(".")[0] not in whole or "." not in name)


def to_text(found: Mapping[str, str]) -> str:
    return "".join(f"{name}\t{signature}\n" for name, signature in found.items())


def from_text(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


def _thing(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if inspect.isfunction(value):
        yield name, _function(value)
        return
    if not inspect.isclass(value):
        yield name, str(value).replace("typing.", "")
        return
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    yield name, f"class({bases})"
    if issubclass(value, enum.Enum):
        yield from ((f"{name}.{member.name}", repr(member.value)) for member in value)
        return
    fields = {each.name: each for each in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    for member, annotation in inspect.get_annotations(value).items():
        if not member.startswith("_"):
            yield f"{name}.{member}", _field(annotation, fields.get(member))
    for member, part in vars(value).items():
        if member.startswith("_") and member != "__init__":
            continue
        function = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
        # A dataclass's constructor is its fields.
        if inspect.isfunction(function) and not (member == "__init__" and (fields or _is_protocol(value))):
            yield f"{name}.{member}", ("property " if isinstance(part, property) else "") + _function(function)


def _field(annotation: Any, field: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    optional = field is not None and not (
        field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    return f"{text}, may be left out" if optional else text


def _function(function: Any) -> str:
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    return kind + str(inspect.signature(function))


def _is_protocol(value: Any) -> bool:
    return bool(getattr(value, "_is_protocol", False))
