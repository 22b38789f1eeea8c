"""The errors of vpnrs, named by who must act. cli/ turns each into one line and an exit code."""

from __future__ import annotations


class VpnrsError(Exception):
    """Base of all errors that a user sees. The text says what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(VpnrsError):
    """The configuration, a file it names or a command-line argument is wrong: the user mends it."""

    exit_code = 2


class PluginError(VpnrsError):
    """A plugin is missing, blocked, incompatible or broken: the user changes the choice, or the author mends it."""

    exit_code = 3


class HostError(VpnrsError):
    """The machine lacks or refuses something: a privilege, a device, a port, an address."""

    exit_code = 4


class AuthRejected(VpnrsError):
    """The server refused this client for good: the credential, the version or the policy must change.

    `code` is the wire's refusal code (interfaces.Code value); `retry_after` is seconds or None.
    """

    exit_code = 5

    def __init__(self, text: str, code: str = "auth_failed", retry_after: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class PeerError(VpnrsError):
    """The peer sent what the protocol does not allow, or went away. The connection ends; others go on."""

    exit_code = 6


class NotRunning(VpnrsError):
    """No instance of that name answers on its local socket."""

    exit_code = 7
