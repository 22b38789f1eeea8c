"""Compatibility is judged from the distribution's own requirements."""

from __future__ import annotations

import pytest

from vpnrs_core.plugins.compat import incompatibility


@pytest.mark.parametrize(
    ("requires", "fits"),
    [
        ([], True),
        (["click>=99"], True),
        (["vpnrs-core>=0.1,<0.2"], True),
        (["vpnrs_core>=0.1"], True),
        (["VPNRS.Core<0.1"], False),
        (["vpnrs-core>=0.2"], False),
        (["vpnrs-core>=0.1", "vpnrs-core<0.1"], False),
        (['vpnrs-core>=9; python_version < "3"'], True),
        (['vpnrs-core>=9; extra == "new"'], True),
        (["vpnrs-core[x]~=0.1.0"], True),
    ],
)
def test_only_an_applying_range_of_the_core_counts(requires: list[str], fits: bool) -> None:
    assert (incompatibility(requires, "0.1.3") is None) is fits


def test_a_prerelease_of_the_core_is_judged_by_its_number() -> None:
    assert incompatibility(["vpnrs-core>=0.1"], "0.2.0.dev1") is None


def test_metadata_that_cannot_be_read_is_said_to_be_so() -> None:
    assert (
        incompatibility(["vpnrs-core ???"], "0.1.0") == "its metadata holds the unreadable requirement 'vpnrs-core ???'"
    )
