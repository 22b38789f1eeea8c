"""The contracts of admission checks, grant contributors and control requests."""

from vpnrs_core.testkit.suites import AdmissionSuite, CommandSuite, GrantSuite, ServiceSuite


class TestAdmission(AdmissionSuite):
    plugin = "ratelimit"


class TestObserving(AdmissionSuite):
    plugin = "ratelimit"
    table = {"observe_only": True, "per_ipv4": {"failures": 3}, "escalate": 2.0}


class TestPrincipal(GrantSuite):
    plugin = "ratelimit"
    table = {"per_principal": {"attempts": 5}}


class TestCount(ServiceSuite):
    plugin = "ratelimit"


class TestStatus(CommandSuite):
    plugin = "ratelimit"
    name = "status"


class TestUnblock(CommandSuite):
    plugin = "ratelimit"
    name = "unblock"
    request = {"everyone": True}
