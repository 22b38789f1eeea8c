"""Secrets are read when asked for, from where the configuration says, and are never printed."""

from __future__ import annotations

import traceback
from pathlib import Path

import pydantic
import pytest

from vpnrs_core.config.explain import validate_table
from vpnrs_core.config.secret import Secret
from vpnrs_core.errors import ConfigError

HIDDEN = "swordfish"


class Config(pydantic.BaseModel):
    token: Secret


def made(data: object, folder: Path) -> Secret:
    config, lines = validate_table(Config, {"token": data}, "client.toml", ("plugins", "x"), folder)
    assert not lines
    assert isinstance(config, Config)
    return config.token


def lines_for(data: object) -> list[str]:
    return validate_table(Config, {"token": data}, "client.toml", ("plugins", "x"))[1]


def test_a_file_is_read_when_asked_relative_to_the_configuration(tmp_path: Path) -> None:
    secret = made({"file": "token"}, tmp_path)
    (tmp_path / "token").write_text(HIDDEN + "\n")
    assert secret.read() == HIDDEN


def test_an_environment_variable_is_read_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = made({"env": "VPNRS_TEST_SECRET"}, tmp_path)
    monkeypatch.setenv("VPNRS_TEST_SECRET", HIDDEN)
    assert secret.read() == HIDDEN


def test_no_form_of_printing_shows_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(HIDDEN)
    secret = made({"file": "token"}, tmp_path)
    secret.read()
    assert HIDDEN not in f"{secret!r} {secret} {secret.model_dump()} {secret.model_dump_json()}"


def test_a_secret_in_the_configuration_is_refused_without_repeating_it() -> None:
    assert lines_for(HIDDEN) == [
        "client.toml: [plugins.x.token] a secret does not stand in the configuration itself: "
        'write {file = "…"} or {env = "…"}'
    ]


@pytest.mark.parametrize("data", [{}, {"file": "a", "env": "B"}])
def test_a_secret_has_exactly_one_source(data: object) -> None:
    (line,) = lines_for(data)
    assert line.endswith('a secret has exactly one source: {file = "…"} or {env = "…"}')


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VPNRS_TEST_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"^environment variable VPNRS_TEST_SECRET: is not set or empty"):
        made({"env": "VPNRS_TEST_SECRET"}, tmp_path).read()
    with pytest.raises(ConfigError, match=r"/token: the secret cannot be read: No such file or directory$"):
        made({"file": "token"}, tmp_path).read()
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        made({"file": "token"}, tmp_path).read()
    (tmp_path / "token").write_bytes(bytes(70_000))
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        made({"file": "token"}, tmp_path).read()


def test_an_error_does_not_carry_the_content(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"swordfish\xff")
    with pytest.raises(ConfigError) as caught:
        made({"file": "token"}, tmp_path).read()
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))
