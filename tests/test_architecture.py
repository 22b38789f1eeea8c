"""Imports point one way, and docs/architecture.md names files and functions that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "vpnrs_core"
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()

# Room → the rooms it may import. A room is a folder of vpnrs_core, or one of the files beside them.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "events": set(),
    "packet": set(),
    "interfaces": {"events", "hookspecs", "packet"},
    "hookspecs": set(),
    "wire": {"errors", "interfaces"},
    "counters": {"interfaces"},
    "session": {"errors", "interfaces", "wire"},
    "pipeline": {"counters", "errors", "interfaces", "packet"},
    "quic": {"errors", "interfaces"},
    "host": {"errors", "events", "interfaces"},
    "config": {"builtin", "errors", "host", "interfaces", "quic", "session"},
    "builtin": {"config", "errors", "hookspecs", "interfaces", "packet", "quic", "session", "wire"},
    "plugins": {"builtin", "config", "errors", "events", "hookspecs", "interfaces"},
    "engine": {
        *("config", "counters", "errors", "events", "host", "interfaces", "packet", "pipeline", "plugins", "session"),
        "wire",
    },
    "scaffold": {"errors", "plugins"},
    "cli": {"config", "demo", "engine", "errors", "hookspecs", "host", "interfaces", "plugins", "quic", "scaffold"},
    "demo": {"cli", "config", "engine", "errors", "host", "interfaces", "packet", "plugins"},
    # The testkit may reach everything: it runs the commands as a user would.
    "testkit": {
        *("builtin", "cli", "config", "counters", "engine", "errors", "events", "hookspecs", "host", "interfaces"),
        *("packet", "pipeline", "plugins", "quic", "session", "wire"),
    },
}
# The package itself, and `python -m vpnrs_core`.
ENTRANCES = {"__init__", "__main__"}
# `demo` is a command that has grown to a room: it shows the tables that `status` shows. The testkit runs commands.
COMMANDS = {"cli", "demo", "__main__", "testkit"}
# Room → rooms that it names in annotations only (below `if TYPE_CHECKING`).
NAMED_ONLY: dict[str, set[str]] = {"packet": {"interfaces"}, "hookspecs": {"interfaces"}}
# The engine reaches what has I/O through interfaces. These files make the objects, or need the run directory's place.
MAKES_HOST_OBJECTS = {"engine/instance.py", "engine/run.py", "engine/local.py", "engine/local_client.py"}
# Where configuration and the built-ins know each other: the pool's own rules are asked before a start.
KNOWS_BUILTINS = {"config/check_addresses.py"}
STANDARD = {
    *("__future__", "array", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "enum"),
    *("functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "struct"),
    "typing",
}
# Pure room → modules that it may import besides the core's. No I/O, no clock, no randomness, no pluggy among them.
PURE = {"packet": STANDARD, "wire": STANDARD | {"pydantic"}, "session": STANDARD, "pipeline": STANDARD}


@dataclass(frozen=True)
class Import:
    """`kind`: when it happens: "load" (of the module), "call" (of a function) or "typing" (never)."""

    file: str
    line: int
    module: str
    kind: str

    @property
    def of_core(self) -> bool:
        return self.module.split(".")[0] == "vpnrs_core"

    @property
    def room(self) -> str:
        return self.module.split(".")[1] if "." in self.module else ""

    def __str__(self) -> str:
        return f"vpnrs_core/{self.file}:{self.line} imports {self.module}"


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for path in sorted(CORE.rglob("*.py")) for found in _imports_of(path))


def _imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(CORE).as_posix()

    def walk(node: ast.AST, kind: str) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, "typing")
            for child in node.orelse:
                yield from walk(child, kind)
            return
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, kind) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: relative import"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(file, node.lineno, whole if _is_module(whole) else node.module, kind)
        inner = "call" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == "load" else kind
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text()), "load")


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _room(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def test_every_room_is_known() -> None:
    assert {_room(found.file) for found in imports()} - ENTRANCES <= set(ARROWS)
    assert len(imports()) > 500  # the walk sees the code at all


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    wrong = [
        str(found)
        for found in imports()
        if _room(found.file) == room
        and found.of_core
        and found.room not in {"", "__version__", room} | ARROWS[room]
        and not (found.kind == "typing" and found.room in NAMED_ONLY.get(room, ()))
    ]
    assert not wrong


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_nothing_that_does_io(room: str) -> None:
    wrong = [
        str(found)
        for found in imports()
        if _room(found.file) == room and not found.of_core and found.module.split(".")[0] not in PURE[room]
    ]
    assert not wrong


def test_nobody_imports_the_commands() -> None:
    assert not [str(found) for found in imports() if found.room == "cli" and _room(found.file) not in COMMANDS]


def test_no_running_part_imports_the_testkit() -> None:
    """A user who installs vpnrs never needs it."""
    assert {_room(found.file) for found in imports() if found.room == "testkit"} <= {"testkit"}


def test_the_core_imports_no_plugin() -> None:
    wrong = [str(found) for found in imports() if found.module.startswith("vpnrs_") and not found.of_core]
    assert not wrong


def test_the_engine_reaches_the_host_through_interfaces() -> None:
    files = {found.file for found in imports() if _room(found.file) == "engine" and found.room == "host"}
    assert files <= MAKES_HOST_OBJECTS


def test_configuration_knows_the_built_ins_in_one_place() -> None:
    files = {found.file for found in imports() if _room(found.file) == "config" and found.room == "builtin"}
    assert files <= KNOWS_BUILTINS


def test_modules_load_without_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in imports():
        if found.of_core and found.kind == "load":
            parts = ("vpnrs_core", *found.file.removesuffix(".py").split("/"))
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            graph.setdefault(module, set()).add(found.module)
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


# docs/architecture.md


def test_every_path_of_the_document_exists() -> None:
    paths = set(re.findall(r"`((?:vpnrs_core|plugins|tests|docs|bench|examples)/[\w./]*)`", DOCUMENT))
    assert len(paths) > 40
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_every_link_of_the_document_exists() -> None:
    links = re.findall(r"\]\(([\w./-]+\.md)", DOCUMENT)
    assert links
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]


def test_every_function_of_the_document_exists() -> None:
    """A cell with a file is followed by one with names of that file: `Class.method` or `function`."""
    rows = re.findall(r"`(vpnrs_core/[\w/]+\.py)` \| ((?:`[\w.]+`(?:, )?)+) \|", DOCUMENT)
    assert len(rows) > 40
    missing = [
        f"{path}: {name}" for path, names in rows for name in re.findall(r"`([\w.]+)`", names) if not _has(path, name)
    ]
    assert not missing


def _has(path: str, name: str) -> bool:
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text()).body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == part
        ]
        if not found:
            return False
        body = found[0].body
    return True


def test_the_table_of_rooms_is_the_rule() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|`]+ \| ([\w, ]+) \|$", DOCUMENT, re.M)
    assert {room: set(re.findall(r"\w+", cell)) - {"nothing"} for room, cell in rows} == ARROWS


def test_every_logger_is_below_the_one_that_is_set_up() -> None:
    """Another one's lines would reach stderr bare: no time, no level, no JSON for who asked for it."""
    sources = [*CORE.rglob("*.py"), *(ROOT / "plugins").glob("*/vpnrs_*/**/*.py")]
    loggers = re.compile(r"""^\w+ = logging\.getLogger\((?!"vpnrs\.)""", re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in sources if loggers.search(path.read_text())] == []
