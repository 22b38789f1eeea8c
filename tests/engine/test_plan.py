"""What the start must know of a configuration before it touches the host."""

import pytest

from vpnrs_core.config.models import ServerConfig
from vpnrs_core.engine.run import plan_of


@pytest.mark.parametrize(
    ("session", "beyond"),
    [
        ({}, (False, False)),
        ({"routes": ["10.0.0.0/8"]}, (True, False)),
        ({"dns": ["10.77.0.1", "fd77::53"]}, (False, False)),
        ({"dns": ["10.9.0.1", "fd77::53"]}, (True, False)),
        ({"dns": ["10.77.0.1", "2001:db8::53"]}, (False, True)),
    ],
)
def test_what_clients_are_sent_to_beyond_the_server_needs_forwarding(session, beyond):
    plan = plan_of(ServerConfig(addresses={"ipv4": "10.77.0.0/24", "ipv6": "fd77::/64"}, session=session))
    assert (plan.forwards_ipv4, plan.forwards_ipv6) == beyond
