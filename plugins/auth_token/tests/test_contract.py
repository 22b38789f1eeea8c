"""The contract of authenticators and services, with what `vpnrs init` writes."""

from vpnrs_core.testkit.suites import AuthenticatorSuite, ServiceSuite


class TestAuthenticator(AuthenticatorSuite):
    plugin = "auth_token"


class TestService(ServiceSuite):
    plugin = "auth_token"
    table = {"tokens": "tokens.txt"}
    files = {"tokens.txt": ""}
