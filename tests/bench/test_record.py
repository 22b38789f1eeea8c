"""Results in pieces: what is kept, what is added to it, and what is never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.record import SCHEMA, Record, about

ABOUT = {"at": "2026-01-01", "commit": "abc", "host": {"cores": 2}, "options": {"seconds": 4.0}}


def test_a_section_is_added_to_only_when_asked(tmp_path):
    record = Record.load(tmp_path / "latest.json")
    record.section("table", ABOUT, append=False)["turns"] = [1]
    record.save()
    again = Record.load(tmp_path / "latest.json")
    assert again.section("table", ABOUT | {"at": "2026-01-02"}, append=True)["turns"] == [1]
    assert again.sections["table"]["at"] == "2026-01-02"
    assert "turns" not in again.section("table", ABOUT, append=False)


@pytest.mark.parametrize(("key", "value"), [("commit", "def"), ("host", {"cores": 4}), ("options", {"seconds": 2.0})])
def test_what_was_measured_otherwise_is_not_mixed(tmp_path, key, value):
    record = Record(tmp_path / "latest.json")
    record.section("table", ABOUT, append=False)
    with pytest.raises(ValueError, match=key):
        record.section("table", ABOUT | {key: value}, append=True)


def test_other_sections_stay_as_they_are(tmp_path):
    record = Record(tmp_path / "latest.json", {"congestion": {"cells": [1]}})
    record.section("table", ABOUT, append=False)
    record.save()
    assert Record.load(tmp_path / "latest.json").sections["congestion"] == {"cells": [1]}


def test_a_file_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "latest.json"
    path.write_text(json.dumps({"schema": SCHEMA - 1}))
    with pytest.raises(ValueError, match="schema"):
        Record.load(path)


def test_a_section_says_where_it_was_measured():
    made = about({"seconds": 1})
    assert made["host"]["cores"] >= 1
    assert made["host"]["python"].startswith("3.")
    assert made["host"]["tcp"] in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    assert made["options"] == {"seconds": 1}
