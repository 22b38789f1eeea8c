"""Nothing that a tunnel writes has a secret in it: logs, status, journals, arguments, environments, what is printed.

The demonstration runs whole; everything that it wrote is read before it cleans up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo.test_demo import Watcher, clean
from vpnrs_core.demo import story, translated
from vpnrs_core.demo.interrupts import Interrupts
from vpnrs_core.testkit.instance import run_vpnrs

__all__ = ["clean"]


class Watched(story.Demo):
    """Keeps what processes showed while all ran, and every file when all had stopped."""

    def _status(self) -> None:
        super()._status()
        self.processes = b"".join(
            path.read_bytes()
            for pid in self._pids()
            for path in (Path("/proc", pid, "cmdline"), Path("/proc", pid, "environ"))
        )
        self.limits = [Path("/proc", pid, "limits").read_text() for pid in self._pids()]
        self.sockets = "".join(
            run_vpnrs(*words, "--instance", name, run_dir=self._runs).stdout
            for name in ("server", "client")
            for words in (["status", "--json"], ["status"])
        )

    def _stop(self) -> None:
        self.running = self._read(self._runs)
        super()._stop()
        self.files = {**self._read(self.folder), **self._read(self._runs)}
        self.modes = {path.name: path.stat().st_mode & 0o777 for path in self.folder.rglob("*") if path.is_file()}

    def _pids(self) -> list[str]:
        return [str(instance.process.pid) for _, _, instance in self._running]

    def _read(self, folder: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.netns
def test_nothing_that_the_demonstration_writes_has_a_secret_in_it(
    clean: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(translated, "discover", dict)
    watcher = Watcher()
    demo = Watched(watcher, Interrupts())
    report = demo.run()
    assert report.ok, report
    tokens = {path: data.strip() for path, data in demo.files.items() if path.suffix == ".token"}
    keys = {path: data.splitlines()[1] for path, data in demo.files.items() if path.suffix == ".key"}
    assert len(tokens) == len(keys) == 1
    # All of it but the checksum, and the random part alone.
    secrets = [*tokens.values(), *(token[:-6] for token in tokens.values()), *keys.values()]
    secrets += [token[15:48] for token in tokens.values()]
    printed = "".join(capfd.readouterr()) + demo.sockets + report.model_dump_json() + repr(watcher.shown)
    others = {str(path): data for path, data in demo.files.items() if path not in {*tokens, *keys}}
    assert any(path.endswith("server.log") for path in others)
    assert any(b"session_opened" in data for data in others.values())
    others |= {f"{path} while it ran": data for path, data in demo.running.items()}
    others |= {"what was printed": printed.encode(), "arguments and environments": demo.processes}
    assert not [where for where, data in others.items() for secret in secrets if secret in data]
    for path in (*tokens, *keys):
        assert demo.modes[path.name] == 0o600
    # A crash leaves no picture of the memory, where all of this stands.
    assert all("Max core file size        1                    1 " in text for text in demo.limits)
