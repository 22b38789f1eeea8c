"""The journal's lines and its file."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpnrs_core.errors import HostError
from vpnrs_core.host import changes, dns
from vpnrs_core.host.journal import Journal, current_scope, replay
from vpnrs_core.host.leftovers import clear, leftovers
from vpnrs_core.host.undo import undo_all

HERE = ("boot", "namespace")


def change(n):
    return {"kind": "route", "network": f"10.{n}.0.0/16"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def again(path):
    """What a new process reads: (number, done), newest first."""
    return [(entry.number, entry.done) for entry in Journal(path, HERE).pending]


def test_nothing_is_written_before_the_first_entry(path):
    journal = Journal(path, HERE)
    assert journal.pending == []
    journal.close()
    assert not path.exists()


def test_entries_survive_the_process_newest_first(path):
    journal = Journal(path, HERE)
    first = journal.intend(change(1))
    journal.done(first)
    journal.intend(change(2))
    assert again(path) == [(2, False), (1, True)]


def test_the_file_goes_with_the_last_entry(path):
    journal = Journal(path, HERE)
    number = journal.intend(change(1))
    journal.undone(number)
    journal.close()
    assert not path.exists()


def test_the_file_stays_while_something_is_pending(path):
    journal = Journal(path, HERE)
    journal.intend(change(1))
    journal.close()
    assert again(path) == [(1, False)]


def test_numbers_go_on_after_a_restart(path):
    journal = Journal(path, HERE)
    journal.intend(change(1))
    assert Journal(path, HERE).intend(change(2)) == 2


@settings(max_examples=60, deadline=None)
@given(
    actions=st.lists(st.sampled_from(["intend", "done", "undoing", "undone", "restart"]), max_size=40), data=st.data()
)
def test_a_new_process_always_knows_what_this_one_knows(tmp_path_factory, actions, data):
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = Journal(path, HERE)
    for action in actions:
        numbers = [entry.number for entry in journal.pending]
        if action == "restart":
            journal.close()
            journal = Journal(path, HERE)
        elif action == "intend":
            journal.intend(change(len(numbers)))
        elif numbers:
            getattr(journal, action)(data.draw(st.sampled_from(numbers)))
        assert Journal(path, HERE).pending == journal.pending
    journal.close()


def test_a_long_life_keeps_the_file_short(path):
    journal = Journal(path, HERE)
    keeps = journal.intend(change(0))
    journal.done(keeps)
    for n in range(1000):
        number = journal.intend(change(n % 250))
        journal.done(number)
        journal.undone(number)
    assert len(path.read_text().splitlines()) < 600
    assert again(path) == [(keeps, True)]
    assert [p.name for p in path.parent.iterdir()] == ["journal"]


def test_a_line_that_was_cut_off_says_nothing(path):
    journal = Journal(path, HERE)
    journal.done(journal.intend(change(1)))
    journal.intend(change(2))
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert again(path) == [(1, True)]


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "{}", '{"undoing": 7}', '{"done": 7}', '{"undone": 7}', '{"intend": "x"}', "7", "\xff"]
)
def test_a_damaged_journal_is_refused_with_its_line(path, line):
    path.write_bytes(b'{"journal":1,"boot":"boot","namespace":"namespace"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(HostError, match="cannot be read as a journal"):
        Journal(path, HERE)


def test_the_damaged_line_is_named():
    with pytest.raises(ValueError, match="line 2: "):
        replay(['{"intend": 1, "change": {}}\n', "x\n"])


@pytest.mark.parametrize("scope", [("another boot", "namespace"), ("boot", "another namespace")])
def test_a_journal_from_elsewhere_is_foreign(path, scope):
    journal = Journal(path, scope)
    journal.intend(change(1))
    journal.close()
    assert Journal(path, HERE).foreign
    assert not Journal(path, scope).foreign


def test_a_foreign_journal_can_be_forgotten(path):
    journal = Journal(path, ("another boot", "namespace"))
    journal.intend(change(1))
    journal.close()
    Journal(path, HERE).forget()
    assert not path.exists()


def test_a_disk_that_is_full_is_said_so_and_the_journal_is_readable_again(path, monkeypatch):
    journal = Journal(path, HERE)
    journal.done(journal.intend(change(1)))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr("vpnrs_core.host.journal.os.write", lambda fd, data: real(fd, data[:5]))
        with pytest.raises(HostError, match=r"journal .* cannot be written: No space left"):
            journal.intend(change(2))
    journal.intend(change(3))
    assert again(path) == [(3, False), (2, False), (1, True)]


async def test_a_disk_that_is_full_keeps_nothing_from_being_undone(path, monkeypatch, caplog):
    key = "net/ipv4/ip_forward"
    journal, values = Journal(path, HERE), {key: "1"}
    monkeypatch.setattr(changes, "read_sysctl", values.get)
    monkeypatch.setattr(changes, "write_sysctl", values.__setitem__)
    journal.done(journal.intend(changes.SetSysctl(key, "1", "0", {}).record()))
    with monkeypatch.context() as patch:
        patch.setattr("vpnrs_core.host.journal.os.write", lambda fd, data: 0)
        assert await undo_all(None, journal) == ["net.ipv4.ip_forward = 1 (was 0)"]
    assert values == {key: "0"}
    assert "undoing goes on" in caplog.text
    journal.close()
    assert list(path.parent.iterdir()) == []


def test_of_a_damaged_journal_the_others_are_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(dns, "RESOLV_CONF", tmp_path / "resolv.conf")
    lines = {"bad": ["x"], "new": [{"intend": 1, "change": {"kind": "of tomorrow"}}]}
    lines["work"] = [{"intend": 1, "change": changes.SetSysctl("net/x", "1", "0", {}).record()}]
    for name, records in lines.items():
        (tmp_path / name).mkdir()
        head = {"journal": 1, "boot": current_scope()[0], "namespace": current_scope()[1]}
        (tmp_path / name / "journal").write_text("".join(json.dumps(line) + "\n" for line in [head, *records]))
    bad, new, work = leftovers()
    assert "cannot be read as a journal" in bad.damaged
    assert "this version does not know" in new.damaged
    assert (work.changes, work.damaged) == (("net.x = 1 (was 0)",), "")
    with pytest.raises(HostError, match="cannot be read as a journal"):
        clear("bad")
    clear("work")
    assert [each.instance for each in leftovers()] == ["bad", "new"]


def test_the_file_is_what_the_module_says(path):
    journal = Journal(path, HERE)
    number = journal.intend(change(1))
    journal.done(number)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"journal": 1, "boot": "boot", "namespace": "namespace"},
        {"intend": 1, "change": change(1)},
        {"done": 1},
    ]


def test_the_scope_is_this_boot_and_namespace():
    boot, namespace = current_scope()
    assert len(boot) == 36
    assert current_scope() == (boot, namespace)


def test_a_journal_that_has_no_end_is_refused_and_left_alone(path):
    path.symlink_to("/dev/zero")
    with pytest.raises(HostError, match="longer than 64 MiB"):
        Journal(path, HERE)
    assert path.is_symlink()


@pytest.mark.parametrize("line", ["[" * 100_000, '{"intend": 1e999, "change": {}}', "7", '{"done": []}', "\x85"])
def test_a_line_that_is_no_record_is_named(path, line):
    path.write_text(f'{{"journal": 1, "boot": "b", "namespace": "n"}}\n{line}\n')
    with pytest.raises(HostError, match="line 2: not a journal record"):
        Journal(path, HERE)
