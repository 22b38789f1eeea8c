"""The test kit for plugin authors: opt in with `pytest_plugins = ["vpnrs_core.testkit"]` in conftest.py.

Fixtures are in plugin.py, contract suites in suites/, builders of packets in packets.py. pytest comes with the extra
`vpnrs-core[testkit]`; this file imports nothing, so that what needs no pytest works without it. What tests import
before pytest knows of the kit is not rewritten, which is no reason to warn: PYTEST_DONT_REWRITE.
"""

pytest_plugins = ("vpnrs_core.testkit.plugin",)
