"""Where the time of both ends goes during a TCP stream: samples of py-spy, by what the innermost frame belongs to."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench import iperf, measure
from bench.peers import Peer
from bench.topology import path

PY_SPY = Path(sys.executable).with_name("py-spy")
_RATE = 200
_WAITING = "waiting"

# The first that fits the innermost frame, as "name (file)" with the file's last folders.
KINDS: Sequence[tuple[str, str]] = (
    (_WAITING, r"^(epoll_wait|epoll_pwait|__poll) \(libc"),
    ("kernel: UDP socket", r"^(sendmsg|recvmsg|sendto|recvfrom)\S* \(libc"),
    ("kernel: TUN", r"^(read|write|writev)\S* \(libc"),
    ("copies and allocation", r"\((libc|ld-linux|libpthread)"),
    ("qh3's native core", r"qh3/_hazmat"),
    ("encryption below aioquic", r"\(.*(_rust\.abi3|libcrypto|libssl|aioquic/_crypto)"),
    ("packets and codecs", r"\(vpnrs_core/(packet|builtin|wire)/"),
    ("pipeline and engine", r"\(vpnrs_core/(pipeline|engine|session|host|counters)"),
    ("QUIC driver and adapters", r"\((vpnrs_core/quic|vpnrs_qh3)/"),
    ("aioquic", r"\(aioquic/"),
    ("asyncio", r"\((asyncio/|selectors\.py)"),
    ("interpreter and its C modules", r"\((libpython|python3|\w+\.c:|[\w/]*\.so|.*cpython)"),
)
OTHER = "other Python"


def kind(frame: str) -> str:
    return next((name for name, pattern in KINDS if re.search(pattern, frame)), OTHER)


def shares(lines: Iterable[str]) -> dict[str, float]:
    """py-spy's raw format, "outer;…;inner COUNT" a line → percent of the samples that were not waiting, largest
    first. Raises ValueError when there are none."""
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip("\n").rpartition(" ")
        counts[kind(stack.rpartition(";")[2])] += int(count)
    del counts[_WAITING]
    total = sum(counts.values())
    if not total:
        raise ValueError("py-spy saw nothing but waiting")
    return {name: 100 * count / total for name, count in counts.most_common()}


def unavailable() -> str | None:
    return None if PY_SPY.exists() else f"{PY_SPY} is missing: pip install '.[bench]', or make bench"


def profile(peer: Peer, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """ "client" and "server" → shares, of one TCP stream up: the client sends, the server receives."""
    with tempfile.TemporaryDirectory(prefix="bench-spy-") as made, path() as ends, peer.tunnel(ends) as tunnel:
        measure.ready(ends, tunnel)
        with iperf.test(ends, tunnel.target, seconds + 2) as finish:
            files = {role: Path(made) / role for role in ("client", "server")}
            spies = [_spy(pid, seconds, file) for pid, file in zip(tunnel.pids, files.values(), strict=True)]
            told = [spy.communicate(timeout=seconds + 30)[1] for spy in spies]
            iperf.tcp(finish())
        if missing := [file for file in files.values() if not file.exists()]:
            raise RuntimeError(f"py-spy wrote no {missing[0].name} profile: {told[0].strip()[-200:]}")
        return {role: shares(file.read_text().splitlines()) for role, file in files.items()}


def _spy(pid: int, seconds: float, file: Path) -> subprocess.Popen[str]:
    command = [str(PY_SPY), "record", "--native", "--format", "raw", "--rate", str(_RATE)]
    return subprocess.Popen(
        [*command, "--duration", str(round(seconds)), "--pid", str(pid), "--output", str(file)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
