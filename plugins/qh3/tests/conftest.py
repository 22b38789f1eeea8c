"""The shared suites' assertions explain themselves."""

import pytest

pytest.register_assert_rewrite("vpnrs_core.testkit.engine_suite", "vpnrs_core.testkit.quic_suite")
