"""The corpus: inputs that reach different code, one file each, named by the hash of what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def read(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((FOLDER / target).iterdir())]


def add(target: str, inputs: Iterable[bytes]) -> None:
    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / sha256(data).hexdigest()[:16]).write_bytes(data)
