"""Fuzzes for as long as asked: python -m tests.fuzz [TARGET ...] --seconds 60.

With `--guided` and atheris installed, coverage leads; new inputs that reach new code go into the corpus. An input that
breaks a promise is added to the corpus too, so that the test keeps failing until it is mended.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.mutate import MOST_BYTES, mutate


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return guided_child(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    known = sorted(path.name for path in corpus.FOLDER.iterdir()) if corpus.FOLDER.exists() else []
    parser.add_argument("targets", nargs="*", default=known, help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", action="store_true", help="write the first inputs of each target, then end")
    parser.add_argument("--guided", action="store_true", help="led by coverage; needs atheris")
    args = parser.parse_args()
    if args.seed:
        from tests.fuzz.seeds import seeds

        for target, inputs in seeds().items():
            corpus.add(target, inputs)
        return 0
    fuzz = guided if args.guided else blind
    return max([fuzz(target, args.seconds) for target in args.targets])


def blind(target: str, seconds: float) -> int:
    """Mutations of the corpus."""
    from tests.fuzz.targets import TARGETS

    inputs, rng, end, count = corpus.read(target), random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data, count = mutate(inputs, rng), count + 1
        try:
            TARGETS[target](data)
        except Exception:
            corpus.add(target, [data])
            print(f"{target}: broken by {data[:200]!r}, kept in the corpus")
            traceback.print_exc()
            return 1
    print(f"{target}: {count} inputs")
    return 0


def guided(target: str, seconds: float) -> int:
    """In a process of its own: libFuzzer ends the process. What reaches new code stays in the corpus."""
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "tests.fuzz", "--child", target]
        options = [f"-max_len={MOST_BYTES}", f"-artifact_prefix={found}/crash-", "-rss_limit_mb=1024", "-timeout=5"]
        folder = corpus.FOLDER / target
        code = subprocess.run([*command, *options, f"-max_total_time={seconds:g}", found, str(folder)]).returncode
        inputs = {path.name: path.read_bytes() for path in Path(found).iterdir()}
    broken = [data for name, data in inputs.items() if name.startswith("crash-")]
    kept = broken or fewest(target, [*corpus.read(target), *inputs.values()])
    if not broken:
        for path in folder.iterdir():
            path.unlink()
    corpus.add(target, kept)
    print(f"{target}: {len(inputs)} found, {len(corpus.read(target))} in the corpus, broken: {len(broken)}")
    return code


def fewest(target: str, inputs: list[bytes]) -> list[bytes]:
    """The short ones among them that together reach every line of ours, from every line before it, that all reach."""
    from tests.fuzz.targets import TARGETS

    kept, known = [], set[tuple[str, int, int]]()
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        steps = set[tuple[str, int, int]]()
        before = 0

        def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
            nonlocal before
            if "vpnrs_" not in frame.f_code.co_filename:
                return None
            steps.add((frame.f_code.co_filename, before, before := frame.f_lineno))  # noqa: B023 - used at once
            return trace

        sys.settrace(trace)
        try:
            TARGETS[target](data)
        finally:
            sys.settrace(None)
        if steps - known:
            known |= steps
            kept.append(data)
    return kept


def guided_child(target: str, options: list[str]) -> int:
    import atheris  # type: ignore[import-not-found, unused-ignore]  # not a dependency: only who fuzzes long needs it

    # Only what is imported in here reports what of it was reached.
    with atheris.instrument_imports(include=["vpnrs_core", "vpnrs_auth_token", "vpnrs_nat64"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
