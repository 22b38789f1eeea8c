"""Every input of the corpus, then a bounded number of mutations of it: nothing but what a target allows is raised.

A failure prints the input; `python -m tests.fuzz TARGET --seconds N` goes on for longer."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.fuzz import corpus
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS

# Whichever comes first for a target.
MOST_INPUTS = 2000
MOST_SECONDS = 0.5


def run(target: str, data: bytes) -> None:
    try:
        TARGETS[target](data)
    except Exception as error:
        raise AssertionError(f"{target} is broken by bytes.fromhex({data.hex()!r})") from error


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_breaks_a_promise(target: str) -> None:
    inputs = corpus.read(target)
    assert inputs
    for data in inputs:
        run(target, data)


@pytest.mark.parametrize("target", TARGETS)
def test_no_mutation_of_the_corpus_breaks_a_promise(target: str) -> None:
    inputs = corpus.read(target)
    rng = random.Random(os.urandom(8))
    end = time.monotonic() + MOST_SECONDS
    for _ in range(MOST_INPUTS):
        run(target, mutate(inputs, rng))
        if time.monotonic() > end:
            break
