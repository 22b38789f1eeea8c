"""docs/wire.md says what the code does: code points, refusals and close codes are compared with it."""

import re
from pathlib import Path

from vpnrs_core.interfaces.common import Code, retry_class
from vpnrs_core.session.negotiation import FIXED_CONTEXTS
from vpnrs_core.wire.codepoints import CLOSE_CODES, GENERIC_TEXT, MAX_CONTROL_VALUE, MAX_LANE_VALUE, CapsuleType
from vpnrs_core.wire.messages import MODELS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()


def test_capsule_types() -> None:
    published = {int(kind, 16): name for kind, name in re.findall(r"^\| (0x\w+) \| ([A-Z_]+) \|", DOCUMENT, re.M)}
    assert published == {kind.value: kind.name for kind in CapsuleType}


def test_limits() -> None:
    assert f"limited to {MAX_CONTROL_VALUE:,} bytes on the control stream and {MAX_LANE_VALUE:,} bytes" in DOCUMENT


def test_refusals() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (final|retry)[^|]*\| (0x\w+) \| ([^|]+) \|$", DOCUMENT, re.M)
    assert {Code(code): (retry, int(number, 16)) for code, retry, number, _ in rows} == {
        code: (retry_class(code).value, CLOSE_CODES[code]) for code in Code
    }
    texts = {Code(code): text for code, _, _, text in rows if code != "protocol"}
    assert texts == {code: text for code, text in GENERIC_TEXT.items() if code is not Code.PROTOCOL}


def test_contexts() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCUMENT, re.M)
    assert {name: int(context) for context, name in rows} == FIXED_CONTEXTS


def test_every_key_of_every_message() -> None:
    for kind, model in MODELS.items():
        name = CapsuleType(kind).name
        [row] = [line for line in DOCUMENT.splitlines() if re.match(rf"\| ([A-Z]+, )*{name}(, [A-Z]+)* \|", line)]
        assert set(re.findall(r"`(\w+)`", row)) >= set(model.model_fields), name
