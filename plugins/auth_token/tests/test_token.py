"""Tokens as text: every typing error is found, and nothing of a token gets into an error."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vpnrs_auth_token.token import BASE62, LENGTH, TokenError, hash_token, new_token, parse_token

keys = st.binary(min_size=29, max_size=29)


def token_of(key):
    pieces = [key[:5], key[5:]]
    return new_token(lambda n: pieces.pop(0))


@given(keys)
def test_a_new_token_parses_to_itself(key):
    token = token_of(key)
    assert len(token.text) == LENGTH
    assert parse_token(f" {token.text}\n") == token


@given(keys, keys)
def test_different_randomness_gives_different_tokens_and_hashes(one, other):
    a, b = token_of(one), token_of(other)
    assert (one == other) == (a == b) == (hash_token(a) == hash_token(b))


@given(keys, st.data())
def test_every_single_mistyped_character_is_found(key, data):
    text = token_of(key).text
    place = data.draw(st.integers(0, LENGTH - 1))
    other = data.draw(st.sampled_from(BASE62 + "_ -ß").filter(lambda c: c != text[place]))
    with pytest.raises(TokenError):
        parse_token(text[:place] + other + text[place + 1 :])


@given(keys, st.integers(6, LENGTH - 2))
def test_two_swapped_neighbours_are_found(key, place):
    text = token_of(key).text
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    if swapped == text:
        return
    with pytest.raises(TokenError, match="mistyped"):
        parse_token(swapped)


@given(keys, st.integers(0, LENGTH - 1))
def test_a_token_cut_off_is_found(key, length):
    with pytest.raises(TokenError):
        parse_token(token_of(key).text[:length])


@given(keys, st.integers(6, LENGTH - 1), st.sampled_from(BASE62))
def test_no_error_and_no_repr_shows_the_token(key, place, other):
    token = token_of(key)
    secret = token.text.rpartition("_")[2]
    assert secret not in repr(token)
    wrong = token.text[:place] + other + token.text[place + 1 :]
    if wrong != token.text:
        with pytest.raises(TokenError) as caught:
            parse_token(wrong)
        pieces = {wrong[i : i + 6] for i in range(6, len(wrong) - 5)}
        assert not any(piece in str(caught.value) for piece in pieces)


@given(st.text())
def test_any_text_parses_or_is_refused_as_a_token(text):
    with pytest.raises(TokenError):
        parse_token(text)


def test_real_randomness_is_long_enough():
    asked = []

    def random(n):
        asked.append(n)
        return secrets.token_bytes(n)

    new_token(random)
    assert asked == [5, 24]
