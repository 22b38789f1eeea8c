"""The relay as a process in a namespace, with calls that return once what they ask for is in force."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from typing import Any, Self

from vpnrs_core.errors import HostError
from vpnrs_core.testkit.netns import Namespace

# Seconds for the process to answer.
_PATIENCE = 10.0


class RelayProcess:
    """`options` are the relay's own, as in `delay=20, loss="1,0", rate=1`; units as in testkit.relay."""

    def __init__(self, namespace: Namespace, listen: str, to: str, **options: float | str) -> None:
        command = [sys.executable, "-m", "vpnrs_core.testkit.relay", "--listen", listen, "--to", to]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        self._child = namespace.spawn(*command, stdout=subprocess.PIPE, text=True)
        self.port = int(self._expect("listening")["port"])

    def blackout(self) -> None:
        self._ask(signal.SIGUSR1, "blackout")

    def restore(self) -> None:
        self._ask(signal.SIGUSR2, "restored")

    def rebind(self) -> None:
        """A new outgoing port, as when a NAT forgets."""
        self._ask(signal.SIGHUP, "rebound")

    def stop(self) -> dict[str, Any]:
        """→ the counts: "up" and "down" as testkit.impairment names them, "refused" by the kernel."""
        counts = self._ask(signal.SIGTERM, "ended")
        self._child.wait(_PATIENCE)
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self.stop()

    def _ask(self, number: signal.Signals, event: str) -> dict[str, Any]:
        self._child.send_signal(number)
        return self._expect(event)

    def _expect(self, event: str) -> dict[str, Any]:
        output = self._child.stdout
        assert output is not None  # asked for with PIPE
        if not select.select([output], [], [], _PATIENCE)[0]:
            raise HostError(f"the relay did not say {event!r} within {_PATIENCE:g} s")
        line = output.readline()
        message: dict[str, Any] = json.loads(line) if line else {}
        if message.get("event") != event:
            raise HostError(f"the relay said {line.strip() or 'nothing'} instead of {event!r}")
        return message
