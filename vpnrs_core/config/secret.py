"""Secrets in a configuration: named by file or environment variable, read when needed, never printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import pydantic

from vpnrs_core.errors import ConfigError

# A file of this size is not a secret but a mistake in the path.
_MAX_BYTES = 65_536


class Secret(pydantic.BaseModel):
    """`{file = "path"}` or `{env = "NAME"}`. Holds the reference only: no form of printing shows the secret itself.

    A relative file belongs to the folder of the configuration file (validation context key `folder`)."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    file: str | None = pydantic.Field(None, description="A file that holds the secret and nothing else.")
    env: str | None = pydantic.Field(None, description="An environment variable that holds the secret.")

    _folder: Path = pydantic.PrivateAttr(default_factory=Path)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _is_reference(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError('a secret does not stand in the configuration itself: write {file = "…"} or {env = "…"}')
        return value

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError('a secret has exactly one source: {file = "…"} or {env = "…"}')
        return self

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, dict) and "folder" in context:
            self._folder = Path(context["folder"])

    def read(self) -> str:
        """The secret without its trailing line ends. Raises ConfigError that names the source, never the content."""
        if self.env is not None:
            return self._read_environment(self.env)
        return self._read_file(self._folder / str(self.file))

    def _read_environment(self, name: str) -> str:
        value = os.environ.get(name, "").rstrip("\r\n")
        if not value:
            raise ConfigError(f"environment variable {name}: is not set or empty; set it, or name a file instead")
        return value

    def _read_file(self, path: Path) -> str:
        try:
            with path.open("rb") as stream:
                raw = stream.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{path}: the secret cannot be read: {error.strerror}") from None
        if len(raw) > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes, which no secret is; check the path")
        try:
            value = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            # `from None`: the exception's own text would show bytes of the secret.
            raise ConfigError(f"{path}: the secret is not UTF-8 text") from None
        if not value:
            raise ConfigError(f"{path}: the secret's file is empty")
        return value
