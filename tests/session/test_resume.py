"""Resume secrets: a use changes them, a lost WELCOME locks nobody out, nothing else opens."""

import hashlib
import hmac
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnrs_core.interfaces.protocol import ResumeClaim, ResumeTicket
from vpnrs_core.session.resume import ResumeSecrets, binding, channel, make_proof

BOUND = binding(b"c" * 32, b"s" * 32, b"spki")


def secrets_of(session: str = "s1") -> ResumeSecrets:
    numbers = itertools.count(1)
    return ResumeSecrets(session, lambda n: next(numbers).to_bytes(n, "big"))


def claim(ticket: ResumeTicket, bound: bytes = BOUND) -> ResumeClaim:
    return ResumeClaim(ticket.session, make_proof(ticket.secret, bound), BOUND, ticket.generation)


def test_binding_and_proof_are_as_published() -> None:
    assert hashlib.sha256(b"spki").digest() == BOUND[64:]
    assert BOUND[:64] == b"c" * 32 + b"s" * 32
    assert make_proof(b"k" * 32, BOUND) == hmac.new(b"k" * 32, BOUND, hashlib.sha256).digest()
    assert (
        channel("vpnrs/1", b"c" * 32, b"s" * 32, b"spki", "client") == b"vpnrs channel 1\0vpnrs/1\0" + BOUND + b"client"
    )


def test_a_used_secret_stays_valid_until_the_new_one_is_used() -> None:
    secrets = secrets_of()
    first = secrets.ticket
    assert secrets.verify(claim(first)) == 0
    second = secrets.rotate(0)
    assert secrets.verify(claim(first)) == 0, "its WELCOME may have been lost"
    assert secrets.verify(claim(second)) == 1
    third = secrets.rotate(1)
    assert secrets.verify(claim(first)) is None
    assert secrets.verify(claim(second)) == 1
    assert secrets.verify(claim(third)) == 2


def test_a_client_that_loses_every_welcome_is_never_locked_out() -> None:
    secrets = secrets_of()
    old = secrets.ticket
    for _ in range(5):
        used = secrets.verify(claim(old))
        assert used == 0
        secrets.rotate(used)
    assert secrets.ticket.generation == 5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: ResumeClaim("other", make_proof(t.secret, BOUND), BOUND, t.generation),
        lambda t: ResumeClaim(t.session, make_proof(t.secret, BOUND), BOUND, t.generation + 1),
        lambda t: ResumeClaim(t.session, make_proof(b"guess" * 6, BOUND), BOUND, t.generation),
        lambda t: ResumeClaim(t.session, make_proof(t.secret, BOUND[::-1]), BOUND, t.generation),
        lambda t: ResumeClaim(t.session, b"", BOUND, t.generation),
    ],
    ids=["session", "generation", "secret", "connection", "empty"],
)
def test_a_claim_that_is_wrong_in_one_thing_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    secrets = secrets_of()
    assert secrets.verify(wrong(secrets.ticket)) is None


def test_a_generation_that_is_gone_cannot_be_rotated() -> None:
    secrets = secrets_of()
    secrets.rotate(0)
    secrets.rotate(1)
    with pytest.raises(ValueError, match="no longer valid"):
        secrets.rotate(0)


@given(st.lists(st.booleans(), max_size=30))
def test_the_client_always_holds_a_valid_secret(welcome_arrives: list[bool]) -> None:
    secrets = secrets_of()
    held = secrets.ticket
    for arrives in welcome_arrives:
        used = secrets.verify(claim(held))
        assert used is not None
        new = secrets.rotate(used)
        held = new if arrives else held


def test_no_secret_is_in_a_repr() -> None:
    secrets = secrets_of()
    assert "secret" not in repr(secrets.ticket)
    assert "proof" not in repr(claim(secrets.ticket))
