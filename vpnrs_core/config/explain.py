"""Turns pydantic's errors into lines that say where, what and what to do."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

# In TOML's words rather than Python's.
_TOML_WORDS = {
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
    "dict_type": "should be a table",
    "mapping_type": "should be a table",
    "tuple_type": 'should be an array, ["…", "…"]',
    "list_type": 'should be an array, ["…", "…"]',
    "path_type": 'should be a path, "…"',
    "string_type": 'should be text, "…"',
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
}


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean x?`, or the list of what exists when nothing is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are: {', '.join(sorted(known))}" if known else "none is known here"


def explain(
    error: pydantic.ValidationError, model: type[pydantic.BaseModel], where: str, table: tuple[str, ...] = ()
) -> list[str]:
    """One line an error: `where: [table] key: what is wrong`. `table` is where `model` stands in the file."""
    return [f"{where}: {_line(detail, model, table)}" for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails, model: type[pydantic.BaseModel], table: tuple[str, ...]) -> str:
    location = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return _unknown(location, model, table)
    tables, key, owner = _place(location, model)
    text = _text(detail)
    if owner is not None and key and detail["type"] not in ("value_error", "missing"):
        description = owner.model_fields[key[0]].description if key[0] in owner.model_fields else None
        text += f". {description}" if description else ""
    return f"{_title(table + tables)}{_key(key)}{text}"


def _unknown(location: Location, model: type[pydantic.BaseModel], table: tuple[str, ...]) -> str:
    tables, key, owner = _place(location, model)
    name = str(key[0]) if key else str(location[-1])
    known = list((owner or model).model_fields)
    for path, field in _all_fields(model):
        if field == name and path != tables and not difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            return (
                f"{_title(table + tables)}unknown key {name}; it belongs to {_title(table + path).strip() or 'the top'}"
            )
    return f"{_title(table + tables)}unknown key {name}; {nearest(name, known)}"


def _text(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return message
    if detail["type"] == "missing":
        return "is missing; set it"
    if detail["type"] in _TOML_WORDS:
        message = _TOML_WORDS[detail["type"]]
    elif message.startswith("Input should be"):
        message = "should be" + message.removeprefix("Input should be")
    value = detail["input"]
    # Only numbers and choices are shown: other text might be a secret in the wrong place.
    if isinstance(value, (bool, int, float)) or (detail["type"] == "literal_error" and isinstance(value, str)):
        return f"{message}, is {str(value).lower() if isinstance(value, bool) else value}"
    return message


def _place(
    location: Location, model: type[pydantic.BaseModel]
) -> tuple[tuple[str, ...], Location, type[pydantic.BaseModel] | None]:
    """Split a location into the tables on its way, the key with what follows it, and the table's model."""
    tables: list[str] = []
    current: type[pydantic.BaseModel] | None = model
    for position, part in enumerate(location):
        field = current.model_fields.get(str(part)) if current else None
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return tuple(tables), location[position:], current
        tables.append(str(part))
        current = inner
    return tuple(tables), (), current


def _model_of(annotation: Any) -> type[pydantic.BaseModel] | None:
    if get_origin(annotation) is Annotated:
        return _model_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        found = [m for m in map(_model_of, get_args(annotation)) if m]
        return found[0] if found else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) else None


def _all_fields(model: type[pydantic.BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None:
            yield path, name
        else:
            yield from _all_fields(inner, (*path, name))


def _title(tables: tuple[str, ...]) -> str:
    return f"[{'.'.join(tables)}] " if tables else ""


def _key(key: Location) -> str:
    if not key:
        return ""
    rest = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key[1:])
    return f"{key[0]}{rest}: "


def validate_table(
    model: type[pydantic.BaseModel],
    data: Mapping[str, Any],
    where: str,
    table: tuple[str, ...] = (),
    folder: Any = None,
) -> tuple[pydantic.BaseModel | None, list[str]]:
    """Validate one table → (object, []) or (None, lines). Paths of secrets are relative to `folder`."""
    try:
        return model.model_validate(data, context={"folder": folder} if folder else None), []
    except pydantic.ValidationError as error:
        return None, explain(error, model, where, table)
