"""The contract of commands: requests that answer what their models say, and a group that needs no running instance to
show its help."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, ClassVar

import click
import pydantic
import pytest
from click.testing import CliRunner

from vpnrs_core.errors import VpnrsError
from vpnrs_core.interfaces import ControlRequest
from vpnrs_core.testkit.load import Loaded
from vpnrs_core.testkit.stage_bench import StageBench
from vpnrs_core.testkit.suites.base import Suite, run


class CommandSuite(Suite):
    """`subject` is the control request. `request` are the fields to ask it with; `group` is the name of the command
    group in the entry points `vpnrs.commands`, by default the plugin's own."""

    kind: ClassVar[str] = "command"
    request: ClassVar[Mapping[str, Any]] = {}
    group: ClassVar[str] = ""

    @pytest.fixture
    def subject(self, loaded: Loaded) -> ControlRequest:
        # Requests are answered by an instance that runs: its stages have been made.
        reasons = tuple(loaded.plugins.drop_reasons)
        StageBench(*loaded.all("stage"), plugin=self.plugin, reasons=reasons)
        found: ControlRequest = loaded.one(self.kind, self.name)
        return found

    @pytest.fixture
    def command(self) -> click.Command:
        name = self.group or self.plugin
        found = [entry for entry in entry_points(group="vpnrs.commands") if entry.name == name]
        if not found:
            pytest.skip(f"no entry point {name!r} in vpnrs.commands: the plugin adds requests, no command group")
        loaded = found[0].load()
        assert isinstance(loaded, click.Command)
        return loaded

    def test_it_is_a_request(self, subject: Any) -> None:
        assert isinstance(subject, ControlRequest)
        assert subject.name
        assert not any(c.isspace() or c == "." for c in subject.name)
        assert issubclass(subject.model, pydantic.BaseModel)
        assert isinstance(subject.reads_only, bool)

    def test_every_field_has_its_help(self, subject: Any) -> None:
        without = [name for name, field in subject.model.model_fields.items() if not field.description]
        assert not without, "a field's description is what documentation and errors show"

    def test_it_answers_a_model(self, subject: Any) -> None:
        try:
            asked = subject.model.model_validate(dict(self.request))
        except pydantic.ValidationError as error:
            pytest.skip(f"`request` does not fill its fields: {error.error_count()} are missing or wrong")
        try:
            answer = run(_awaited(subject.handler(asked)))
        except VpnrsError:
            return  # in its own words, to whoever asked
        assert isinstance(answer, pydantic.BaseModel)
        answer.model_dump_json()

    def test_its_group_shows_its_help(self, command: click.Command) -> None:
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            shown = CliRunner().invoke(each, ["--help"])
            assert shown.exit_code == 0, shown.output
            assert each.help, f"{each.name} has no help"

    def test_without_an_instance_it_says_so(
        self, command: click.Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        """In one line, as an error of vpnrs, not as a traceback."""
        monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path))
        for each in command.commands.values() if isinstance(command, click.Group) else (command,):
            if any(parameter.required for parameter in each.params):
                continue
            ran = CliRunner().invoke(each, [])
            assert ran.exception is None or isinstance(ran.exception, VpnrsError | SystemExit), repr(ran.exception)


async def _awaited(answer: Any) -> Any:
    assert inspect.isawaitable(answer), "the handler is a coroutine function"
    return await answer
