"""The running server's tokens: judged, read again when the file changes, failing closed for what vanished."""

import os
import secrets
from pathlib import Path

import pytest
from vpnrs_auth_token.files import edit_file
from vpnrs_auth_token.live import CLAIM, LiveTokens
from vpnrs_auth_token.token import BASE62, hash_token, new_token, parse_token
from vpnrs_auth_token.tokenfile import Entry, TokenFileError

WALL = 2e9  # later than any file's time stamp here, so that a file counts as settled


def fresh(name="alice", expires=None):
    token = new_token(secrets.token_bytes)
    return token, Entry(token.id, hash_token(token), name, expires)


def write(path, *entries, extra=""):
    path.write_text("".join(entry.line() + "\n" for entry in entries) + extra)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.txt"


def test_a_listed_token_is_its_principal(path):
    token, entry = fresh(expires=3e9)
    write(path, entry)
    principal = LiveTokens(path).judge(token.text, WALL)
    assert (principal.name, principal.expires, principal.claims) == ("alice", 3e9, {CLAIM: token.id})


def test_unknown_expired_foreign_and_malformed_tokens_are_refused_without_their_secret(path):
    token, entry = fresh(expires=WALL)
    unknown, _ = fresh()
    write(path, entry)
    live = LiveTokens(path)
    # The right id with another secret, its checksum made to fit.
    forged = new_token(lambda n: secrets.token_bytes(n) if n > 5 else id_bytes(token.id))
    assert forged.id == token.id
    for text, words in (
        (token.text, f"token {token.id} of alice expired at 2033-05-18T03:33:20Z"),
        (unknown.text, f"token {unknown.id} is unknown or revoked"),
        (forged.text, "its secret is another"),
        (token.text[:-1] + BASE62[BASE62.index(token.text[-1]) - 1], "malformed"),
        ("", "malformed"),
        ("\udcff", "malformed"),
    ):
        why = live.judge(text, WALL)
        assert isinstance(why, str)
        assert words in why
        assert text[15:] not in why or not text[15:]


def id_bytes(token_id):
    from vpnrs_auth_token.token import ID_ALPHABET

    return sum(ID_ALPHABET.index(c) << 5 * place for place, c in enumerate(token_id)).to_bytes(5, "big")


def test_a_changed_file_is_read_again(path):
    (one, first), (two, second) = fresh(), fresh("bob")
    write(path, first)
    live = LiveTokens(path)
    assert live.refresh(WALL) is None
    write(path, first, second)
    found = live.refresh(WALL)
    assert (found.gone, found.count, found.error) == (frozenset(), 2, "")
    assert live.judge(two.text, WALL).name == "bob"
    assert live.judge(one.text, WALL).name == "alice"
    assert live.refresh(WALL) is None


def test_a_change_within_one_time_stamp_is_seen_while_the_file_is_unsettled(path):
    (_, first), (two, second) = fresh(), fresh()
    write(path, first)
    status = path.stat()
    live = LiveTokens(path)
    write(path, second)  # the same size, in the same file
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert live.refresh(status.st_mtime + 1.0).gone == {first.id}
    assert live.judge(two.text, WALL).name == "alice"


def test_vanished_and_rehashed_tokens_are_gone(path):
    (_, first), (_, second), (_, third) = fresh(), fresh(), fresh()
    write(path, first, second, third)
    live = LiveTokens(path)
    write(path, first, Entry(second.id, "0" * 64, second.name))
    assert live.refresh(WALL).gone == {second.id, third.id}


def test_a_mistake_keeps_the_tokens_of_before_and_is_told_once(path):
    token, entry = fresh()
    write(path, entry)
    live = LiveTokens(path)
    write(path, entry, extra="mistake\n")
    found = live.refresh(WALL)
    assert found.error.startswith(f"{path}:2: 4 fields expected, 1 found")
    assert found.gone == frozenset()
    assert live.refresh(WALL) is None
    assert live.judge(token.text, WALL).name == "alice"
    write(path, entry, extra="another mistake\n")
    assert "2 found" in live.refresh(WALL).error
    write(path, entry)
    assert live.refresh(WALL) is None
    write(path, entry, extra="mistake\n")
    assert live.refresh(WALL).error


def test_a_file_that_is_not_text_names_the_line_and_none_of_it(path):
    path.write_bytes(b"# first\n\xff\xfe secret\n")
    with pytest.raises(TokenFileError, match=r"tokens.txt:2: is not UTF-8 text") as caught:
        LiveTokens(path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_taken_away_ends_its_tokens_but_not_at_the_first_look(path):
    token, entry = fresh()
    write(path, entry)
    live = LiveTokens(path)
    path.unlink()
    assert live.refresh(WALL) is None
    assert live.judge(token.text, WALL).name == "alice"
    found = live.refresh(WALL)
    assert found.gone == {token.id}
    assert "there is no such tokens file" in found.error
    assert live.refresh(WALL) is None
    assert "unknown or revoked" in live.judge(token.text, WALL)
    write(path, entry)
    assert live.refresh(WALL).count == 1
    assert live.judge(token.text, WALL).name == "alice"


def test_an_atomic_replacement_is_no_absence(path):
    (_, first), (_, second) = fresh(), fresh()
    write(path, first)
    live = LiveTokens(path)
    for entry in (second, fresh()[1], fresh()[1]):
        edit_file(path, lambda tokens, entry=entry: tokens.added(entry))
        found = live.refresh(WALL)
        assert found.gone == frozenset()
        assert not found.error


def test_inline_tokens_alone_and_beside_a_file(path):
    (one, first), (two, second) = fresh(), fresh("bob")
    assert LiveTokens(None, [first.line()]).judge(one.text, WALL).name == "alice"
    write(path, second)
    live = LiveTokens(path, [first.line()])
    assert live.judge(two.text, WALL).name == "bob"
    path.unlink()
    live.refresh(WALL)
    assert live.refresh(WALL).gone == {second.id}
    assert live.judge(one.text, WALL).name == "alice"


def test_bad_inline_tokens_and_ones_that_are_in_the_file_too(path):
    _, entry = fresh()
    with pytest.raises(TokenFileError, match=r"tokens_inline: item 2: the same token id"):
        LiveTokens(None, [entry.line(), entry.line()])
    with pytest.raises(TokenFileError, match=r"tokens_inline: item 1: 4 fields expected"):
        LiveTokens(None, ["what"])
    write(path, entry)
    with pytest.raises(TokenFileError, match="is in tokens_inline as well"):
        LiveTokens(path, [entry.line()])


def test_a_missing_file_says_how_to_make_one(path):
    with pytest.raises(TokenFileError, match=r"vpnrs token new --name NAME --file .*tokens\.txt"):
        LiveTokens(path)


def test_parsing_ignores_white_space_around_a_token(path):
    token, entry = fresh()
    write(path, entry)
    assert parse_token(f"\n{token.text} ") == token
    assert LiveTokens(path).judge(f"{token.text}\n", WALL).name == "alice"


def test_a_file_without_an_end_is_no_tokens_file():
    with pytest.raises(TokenFileError, match="16 MiB"):
        LiveTokens(Path("/dev/zero"))
