"""The tokens file as text: any text is read or refused with file and line, and edits keep every other line."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vpnrs_auth_token.token import ID_ALPHABET, new_token
from vpnrs_auth_token.tokenfile import Entry, TokenFileError, format_expiry, parse_file, parse_time

HASH = "a" * 64
ids = st.text(ID_ALPHABET, min_size=8, max_size=8)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", fullmatch=True).filter(lambda n: not n.startswith("vpnrs_"))
entries = st.builds(
    Entry,
    ids,
    st.text("0123456789abcdef", min_size=64, max_size=64),
    names,
    st.none() | st.integers(0, 253_402_300_799).map(float),
)
fillers = st.sampled_from(["", "   ", "# a comment", "  # another", "#"])
# Lines that are nearly right find more than random text does.
word = st.sampled_from(
    ["abcdefgh", "01234567", f"sha256:{HASH}", "alice", "never", "2030-01-01", "#", "\t", "ß", "\x00"]
)
lines = st.lists(word | st.text(max_size=8), max_size=6).map(" ".join)


@given(st.lists(entries, unique_by=lambda e: e.id, max_size=5), st.lists(fillers, min_size=6, max_size=6))
def test_what_is_written_is_read(made, between):
    text = "\n".join(line for pair in zip(between, [*(e.line() for e in made), ""], strict=False) for line in pair)
    assert list(parse_file(text, "f").entries.values()) == made


@given(st.text() | st.lists(lines).map("\n".join))
@example("\ufeff# begins with a byte order mark")
@example("abcdefgh sha256:" + HASH + " alice 9999-12-31T23:59:60Z")
def test_any_text_is_read_or_refused_with_file_and_line(text):
    refusal = ""
    try:
        parse_file(text, "tokens.txt")
    except TokenFileError as error:
        refusal = str(error)
    if refusal:
        file, line, _ = refusal.split(":", 2)
        assert file == "tokens.txt"
        assert 1 <= int(line) <= text.count("\n") + 1
        assert "\n" not in refusal


@given(st.lists(entries, unique_by=lambda e: e.id, min_size=1, max_size=5), st.lists(fillers, min_size=5), st.data())
def test_an_edit_leaves_every_other_line_as_it_was(made, between, data):
    kept_lines = [*between, *(entry.line() + "  # note" for entry in made)]
    file = parse_file("\n".join(kept_lines) + "\n", "f")
    gone = data.draw(st.sampled_from(made))
    after = file.without({gone.id})
    assert list(after.lines) == [line for line in kept_lines if not line.startswith(gone.id)]
    assert parse_file(after.text(), "f").entries == after.entries
    assert after.added(gone).text() == after.text() + gone.line() + "\n"


@given(st.binary(min_size=29, max_size=29), st.integers(0, 4), st.sampled_from(["", "# ", "abcdefgh "]))
def test_a_token_in_the_file_never_reaches_the_error(key, place, before):
    pieces = [key[:5], key[5:]]
    token = new_token(lambda n: pieces.pop(0)).text
    words = ["abcdefgh", f"sha256:{HASH}", "alice", "never"]
    words.insert(place, token)
    text = f"# first\n{before}{' '.join(words)}\n"
    if before == "# ":
        assert not parse_file(text, "f").entries
        return
    with pytest.raises(TokenFileError, match=r"^f:2: holds a token itself") as caught:
        parse_file(text, "f")
    assert token[15:] not in str(caught.value)


GOOD = f"abcdefgh sha256:{HASH} alice never"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("abcdefgh", "4 fields expected, 1 found"),
        (f"{GOOD} more", "4 fields expected, 5 found"),
        (f"ABCDEFGH sha256:{HASH} alice never", "field 1 is not a token id"),
        (f"abcdefgh {HASH} alice never", "field 2 is not a hash"),
        ("abcdefgh sha256:12 alice never", "field 2 is not a hash"),
        (f"abcdefgh sha256:{HASH} -alice never", "field 3 is not a name"),
        (f"abcdefgh sha256:{HASH} alice tomorrow", "field 4 is not an expiry"),
        (GOOD, "the same token id as in line 2"),
    ],
)
def test_a_bad_line_is_told_by_number_and_field(line, words):
    with pytest.raises(TokenFileError) as caught:
        parse_file(f"# tokens\n{GOOD}\n\n{line}\n", "/etc/vpnrs/tokens.txt")
    assert str(caught.value).startswith("/etc/vpnrs/tokens.txt:4: ")
    assert words in str(caught.value)


def test_line_ends_and_comments_behind_an_entry_are_accepted():
    file = parse_file(f"\ufeff{GOOD} # the laptop\r\nabcdefg0 sha256:{HASH} bob 2030-01-02\r\n", "f")
    assert [e.name for e in file.entries.values()] == ["alice", "bob"]
    assert file.entries["abcdefg0"].expires == 1_893_542_400.0


@given(st.integers(0, 253_402_300_799).map(float))
def test_an_expiry_is_read_as_it_was_written(expires):
    assert parse_time(format_expiry(expires), "f") == expires


def test_a_token_expires_at_its_moment():
    entry = Entry("abcdefgh", HASH, "alice", 100.0)
    assert not entry.expired(99.9)
    assert entry.expired(100.0)
    assert not Entry("abcdefgh", HASH, "alice").expired(1e12)
