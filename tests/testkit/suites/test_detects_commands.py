"""Requests and command groups that break one promise each fail the test of that promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pydantic
import pytest

from vpnrs_core.errors import NotRunning
from vpnrs_core.interfaces import ControlRequest
from vpnrs_core.testkit.suites import CommandSuite

SUITE = CommandSuite()


class Asked(pydantic.BaseModel):
    count: int = pydantic.Field(1, description="How many.")


class Answer(pydantic.BaseModel):
    found: int


async def sound(request: Asked) -> Answer:
    return Answer(found=request.count)


def of(handler: Any = sound, name: str = "show", model: Any = Asked, reads_only: Any = True) -> ControlRequest:
    return ControlRequest(name, model, handler, reads_only)


@click.group()
def group() -> None:
    """Asks."""


@group.command("show")
def show() -> None:
    """Show it."""
    raise NotRunning("no instance runs")


def test_a_good_one_passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    SUITE.test_it_is_a_request(of())
    SUITE.test_every_field_has_its_help(of())
    SUITE.test_it_answers_a_model(of())
    SUITE.test_its_group_shows_its_help(group)
    SUITE.test_without_an_instance_it_says_so(group, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "request_", [object(), of(name=""), of(name="a.b"), of(name="two words"), of(model=dict), of(reads_only="yes")]
)
def test_what_is_no_request_is_found(request_: Any) -> None:
    with pytest.raises((AssertionError, TypeError)):
        SUITE.test_it_is_a_request(request_)


def test_a_field_without_help_is_found() -> None:
    class Bare(pydantic.BaseModel):
        count: int = 1

    with pytest.raises(AssertionError, match="description"):
        SUITE.test_every_field_has_its_help(of(model=Bare))


def not_awaited(request: Asked) -> Answer:
    return Answer(found=1)


async def no_model(request: Asked) -> Any:
    return {"found": 1}


async def raises(request: Asked) -> Answer:
    raise KeyError("found")


async def is_no_json(request: Asked) -> Any:
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        thing: object

    return Odd(thing=object())


@pytest.mark.parametrize("handler", [not_awaited, no_model, raises, is_no_json])
def test_a_handler_that_answers_no_model_is_found(handler: Any) -> None:
    with pytest.raises((AssertionError, KeyError, ValueError)):
        SUITE.test_it_answers_a_model(of(handler))


def test_a_group_without_help_is_found() -> None:
    @click.group()
    def silent() -> None: ...

    with pytest.raises(AssertionError, match="has no help"):
        SUITE.test_its_group_shows_its_help(silent)


def test_a_command_that_fails_at_its_help_is_found() -> None:
    class Broken(click.Command):
        def get_help(self, ctx: click.Context) -> str:
            raise OSError("no file")

    with pytest.raises(AssertionError):
        SUITE.test_its_group_shows_its_help(Broken("broken", help="Breaks."))


def test_a_command_that_ends_in_a_traceback_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @click.command()
    def raw() -> None:
        """Asks."""
        open(tmp_path / "absent").close()

    with pytest.raises(AssertionError, match="FileNotFoundError"):
        SUITE.test_without_an_instance_it_says_so(raw, monkeypatch, tmp_path)
