"""Commands run in this process, as `main` runs them: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vpnrs_core.cli import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Vpnrs = Callable[..., Ran]


@pytest.fixture
def vpnrs(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vpnrs:
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("VPNRS_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return Ran(code, out, err)

    return run
