"""Contract suites: what every implementation of a kind must pass, built in or not.

A test file subclasses one and names its plugin; the rest is inherited:

    from vpnrs_core.testkit.suites import StageSuite

    class TestContract(StageSuite):
        plugin = "geocount"
        table = {"list": "countries.csv"}
        files = {"countries.csv": "192.0.2.0/24,NL"}

Where a plugin cannot be found by name, or one object is meant, override the fixture `subject`.
"""

from vpnrs_core.testkit.suites.admission import AdmissionSuite
from vpnrs_core.testkit.suites.allocator import AllocatorSuite
from vpnrs_core.testkit.suites.authenticator import AuthenticatorSuite
from vpnrs_core.testkit.suites.codec import CodecSuite, WrapperSuite
from vpnrs_core.testkit.suites.command import CommandSuite
from vpnrs_core.testkit.suites.engine import EngineSuite
from vpnrs_core.testkit.suites.grant import GrantSuite
from vpnrs_core.testkit.suites.protocol import ProtocolSuite
from vpnrs_core.testkit.suites.scheduler import SchedulerSuite
from vpnrs_core.testkit.suites.service import ServiceSuite
from vpnrs_core.testkit.suites.stage import StageSuite
from vpnrs_core.testkit.suites.store import StoreSuite
from vpnrs_core.testkit.suites.transport import TransportSuite

__all__ = [
    "AdmissionSuite",
    "AllocatorSuite",
    "AuthenticatorSuite",
    "CodecSuite",
    "CommandSuite",
    "EngineSuite",
    "GrantSuite",
    "ProtocolSuite",
    "SchedulerSuite",
    "ServiceSuite",
    "StageSuite",
    "StoreSuite",
    "TransportSuite",
    "WrapperSuite",
]
