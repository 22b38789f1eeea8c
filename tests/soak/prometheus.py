"""A real Prometheus in a namespace: scrapes each second, and answers queries over its HTTP API."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from vpnrs_core.testkit.netns import Namespace

PORT = 9090


def binary() -> str | None:
    """Beside the interpreter, where `make test` puts it, or on the path; None: not here."""
    beside = Path(sys.executable).with_name("prometheus")
    return str(beside) if beside.exists() else shutil.which("prometheus")


class Prometheus:
    """`targets`: what the label `instance` will be → host and port. Its files are in `directory`."""

    def __init__(self, namespace: Namespace, directory: Path, targets: Mapping[str, str], token: str) -> None:
        self._namespace = namespace
        directory.mkdir()
        (directory / "token").write_text(token)
        jobs = [
            {
                "job_name": name,
                "authorization": {"credentials_file": str(directory / "token")},
                "static_configs": [{"targets": [where], "labels": {"instance": name}}],
            }
            for name, where in targets.items()
        ]
        config = directory / "prometheus.yml"  # JSON is YAML
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config.write_text(json.dumps({"global": times, "scrape_configs": jobs}))
        binary_ = binary()
        assert binary_ is not None
        with (directory / "log").open("wb") as log:
            self._process: subprocess.Popen[Any] = namespace.spawn(
                binary_,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{PORT}",
                stderr=log,
                stdout=log,
            )

    def wait(self, patience: float = 30.0) -> None:
        """Until every target has been scraped."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                found = self.query("up")
            except (OSError, http.client.HTTPException, ValueError):
                found = []  # not up yet, or says so in words instead of JSON
            if found and all(sample["value"][1] == "1" for sample in found):
                return
            time.sleep(0.2)
        raise TimeoutError(f"Prometheus did not scrape every target: {self.ask('/api/v1/targets')}")

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The instant vector now."""
        result: list[dict[str, Any]] = self.ask("/api/v1/query", query=promql)["result"]
        return result

    def range(self, promql: str, seconds: float, step: float) -> list[dict[str, Any]]:
        now = time.time()
        result: list[dict[str, Any]] = self.ask(
            "/api/v1/query_range", query=promql, start=now - seconds, end=now, step=step
        )["result"]
        return result

    def ask(self, path: str, **query: Any) -> Any:
        """The `data` of an answer. Raises AssertionError with Prometheus' own words when it refuses."""
        with self._namespace.entered():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
            connection.connect()
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
