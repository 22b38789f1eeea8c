"""The contract of services."""

from vpnrs_core.testkit.suites import ServiceSuite


class TestService(ServiceSuite):
    plugin = "metrics"
    table = {"listen": "127.0.0.1:0"}
