"""Tokens as text: made, parsed with words about typing errors, and hashed. Pure; no error shows any of a token."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

PREFIX = "vpnrs_"
# The id is for people: no capitals, and none of i, l, o, u.
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 8
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_BYTES = 24
SECRET_LENGTH = 33  # 24 bytes are 192 bits, 62^33 > 2^192
CHECK_LENGTH = 6  # 62^6 > 2^32
LENGTH = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH
# Separates these hashes from every other use of SHA-256 on the same text.
_DOMAIN = b"vpnrs token v1\0"


class TokenError(ValueError):
    """Why a text is no token. Never holds any of it."""


@dataclass(frozen=True, repr=False)
class Token:
    """A token: `id` is public, `text` (the whole) is the secret."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"Token({self.id!r}, …)"


def new_token(random: Callable[[int], bytes]) -> Token:
    """A token with a 40-bit id and a 192-bit secret. `random(n)` gives n unpredictable bytes."""
    number = int.from_bytes(random(5), "big")
    token_id = "".join(ID_ALPHABET[number >> 5 * place & 31] for place in range(ID_LENGTH))
    body = f"{PREFIX}{token_id}_{_base62(int.from_bytes(random(SECRET_BYTES), 'big'), SECRET_LENGTH)}"
    return Token(token_id, body + _check(body))


def parse_token(text: str) -> Token:
    """Raises TokenError that says what is wrong: no token at all, cut off, or mistyped."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise TokenError(f"not a token: tokens begin with {PREFIX}")
    if len(text) != LENGTH:
        raise TokenError(f"{len(text)} characters instead of {LENGTH}: something is missing or was added")
    token_id, separator, rest = text[len(PREFIX) :].partition("_")
    if len(token_id) != ID_LENGTH or not separator or set(token_id) - set(ID_ALPHABET) or set(rest) - set(BASE62):
        raise TokenError("mistyped: it has characters that no token has")
    if _check(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        raise TokenError("mistyped: its last six characters, a checksum, do not fit the others")
    return Token(token_id, text)


def is_token_id(text: str) -> bool:
    return len(text) == ID_LENGTH and not set(text) - set(ID_ALPHABET)


def hash_token(token: Token) -> str:
    """64 hexadecimal digits. One SHA-256 is enough: with 192 random bits there is nothing that a slow hash would have
    to protect from guessing, and a slow one would let strangers spend the server's time."""
    return hashlib.sha256(_DOMAIN + token.text.encode()).hexdigest()


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
