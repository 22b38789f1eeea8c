"""`vpnrs token` as a user types it, and the file that it leaves."""

import json
import os
import secrets
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from vpnrs_auth_token.commands import parse_expiry, token
from vpnrs_auth_token.files import edit_file, read_file
from vpnrs_auth_token.token import new_token, parse_token
from vpnrs_auth_token.tokenfile import TokenFileError

from vpnrs_core.errors import ConfigError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs one command in an empty folder; errors of ours come through as they reach `vpnrs`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=None):
        result = CliRunner().invoke(token, arguments, input=stdin)
        if isinstance(result.exception, ConfigError):
            raise result.exception
        return result

    return run


def test_a_new_token_is_printed_alone_and_only_its_hash_is_kept(run, tmp_path):
    result = run("new", "--name", "alice", "--expires", "30d")
    made = parse_token(result.stdout)
    assert result.stdout == f"{made.text}\n"
    assert made.id in result.stderr
    assert made.text not in result.stderr
    file = tmp_path / "tokens.txt"
    assert made.text[15:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tokens.txt"]


def test_list_shows_names_and_states(run, tmp_path):
    run("new", "--name", "alice")
    run("new", "--name", "bob", "--expires", "1d")
    (tmp_path / "tokens.txt").write_text(
        (tmp_path / "tokens.txt").read_text().replace(" alice never", " alice 2020-01-01")
    )
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["state"]) for row in rows] == [("alice", "expired"), ("bob", "valid")]
    table = run("list").stdout.splitlines()
    assert table[0].split() == ["ID", "NAME", "EXPIRES", "STATE"]
    assert table[1].split() == [rows[0]["id"], "alice", "2020-01-01T00:00:00Z", "expired"]


def test_revoke_by_id_and_by_name_keeps_comments(run, tmp_path):
    run("new", "--name", "alice")
    file = tmp_path / "tokens.txt"
    file.write_text(file.read_text() + "\n# the others\n")
    one = parse_token(run("new", "--name", "bob").stdout)
    run("new", "--name", "alice")
    assert run("revoke", one.id).stdout == f"Revoked token {one.id} of bob.\n"
    assert len(run("revoke", "--name", "alice").stdout.splitlines()) == 2
    assert file.read_text().endswith("\n\n# the others\n")
    assert not read_file(file).entries


def test_a_token_given_where_an_id_belongs_is_not_repeated(run):
    text = run("new", "--name", "alice").stdout.strip()
    for arguments in (
        ["revoke", text],
        ["revoke", "--name", text],
        ["new", "--name", text],
        ["new", "--name", "x", "--expires", text],
    ):
        with pytest.raises(ConfigError) as caught:
            run(*arguments)
        assert text[15:] not in str(caught.value)
    with pytest.raises(ConfigError, match="either the token's ID or --name"):
        run("revoke")


def test_check_says_whether_a_token_is_accepted(run, tmp_path):
    text = run("new", "--name", "alice").stdout
    (tmp_path / "client.token").write_text(text)
    assert run("check").stdout == "tokens.txt: no mistake, tokens: 1.\n"
    assert "token of alice, expires: never, accepted" in run("check", "client.token").stdout
    assert "accepted" in run("check", "-", stdin=text).stdout
    other = new_token(secrets.token_bytes).text
    with pytest.raises(ConfigError, match=r"not accepted by tokens\.txt: .* is unknown or revoked"):
        run("check", "-", stdin=other)
    with pytest.raises(ConfigError, match="53 characters"):
        run("check", "-", stdin=other[:-1])


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "abcdefgh"], ["check"]])
def test_a_missing_file_is_one_line(run, arguments):
    with pytest.raises(TokenFileError, match=r"^tokens\.txt: |/tokens\.txt: there is no such tokens file"):
        run(*arguments)


def test_a_bad_file_is_left_as_it_is(run, tmp_path):
    file = tmp_path / "tokens.txt"
    file.write_text("mistake\n")
    with pytest.raises(TokenFileError, match=r"tokens\.txt:1: "):
        run("new", "--name", "alice")
    assert file.read_text() == "mistake\n"
    assert os.listdir(tmp_path) == ["tokens.txt"]


def test_a_folder_that_is_not_there_is_said(run):
    with pytest.raises(TokenFileError, match="cannot be written: No such file or directory"):
        run("new", "--name", "alice", "--file", "missing/tokens.txt")


def test_a_link_stays_a_link(run, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "tokens.txt").symlink_to("real/tokens.txt")
    run("new", "--name", "alice")
    assert (tmp_path / "tokens.txt").is_symlink()
    assert len(read_file(tmp_path / "real" / "tokens.txt").entries) == 1


def test_two_editors_lose_nothing_of_each_other(run, tmp_path):
    script = "from vpnrs_auth_token.commands import token; token()"
    editors = [
        subprocess.Popen([sys.executable, "-c", script, "new", "--name", f"n{i}"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, cwd=tmp_path)
        for i in range(4)
    ]  # fmt: skip
    assert [editor.wait(30) for editor in editors] == [0] * 4
    names = {entry.name for entry in read_file(tmp_path / "tokens.txt").entries.values()}
    assert names == {"n0", "n1", "n2", "n3"}


def test_an_interrupted_edit_leaves_the_old_file_and_nothing_else(tmp_path, run):
    run("new", "--name", "alice")
    before = (tmp_path / "tokens.txt").read_text()

    def interrupted(tokens):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_file(tmp_path / "tokens.txt", interrupted)
    assert (tmp_path / "tokens.txt").read_text() == before
    assert os.listdir(tmp_path) == ["tokens.txt"]


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("never", None),
        ("30d", 1000 + 30 * 86_400),
        ("90m", 6400),
        ("3s", 1003),
        ("1y", 1000 + 31_536_000),
        ("1970-01-02", 86_400),
    ],
)
def test_expiries(text, expires):
    assert parse_expiry(text, 1000.0) == expires


@pytest.mark.parametrize("text", ["0d", "1970-01-01", "-1d", "", "30", "soon", "999999999y", "٣d"])
def test_bad_expiries_are_refused(text):
    with pytest.raises(ConfigError, match="--expires"):
        parse_expiry(text, 1000.0)
