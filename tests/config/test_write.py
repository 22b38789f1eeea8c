"""What is written can be read again, never replaces a file, and keeps secrets to their owner."""

from __future__ import annotations

import os
import resource
import signal
import stat
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from vpnrs_core.config.write import to_toml, write_new
from vpnrs_core.errors import ConfigError


def test_toml_reads_back_and_leaves_out_what_is_none() -> None:
    data = {"a": 1, "net": ip_network("fd00::/64"), "none": None, "t": {"list": (1, 2), "none": None}}
    assert tomllib.loads(to_toml(data)) == {"a": 1, "net": "fd00::/64", "t": {"list": [1, 2]}}


def test_a_private_file_is_its_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_new(tmp_path / "key", "secret", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_nothing_is_overwritten_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("old")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("elsewhere", "link"):
        with pytest.raises(ConfigError, match="is there already and is not overwritten"):
            write_new(tmp_path / name, "new", private=False)
    assert (tmp_path / "elsewhere").read_text() == "old"


def test_half_a_file_is_not_left(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ConfigError, match="cannot be written: File too large"):
            write_new(tmp_path / "server.key", "x" * 100, private=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []
