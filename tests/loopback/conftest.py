"""The shared suite's assertions explain themselves."""

import pytest

pytest.register_assert_rewrite("vpnrs_core.testkit.quic_suite")
