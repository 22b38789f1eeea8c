"""What a changed configuration means, without an instance; tests/netns/test_reload.py has real ones."""

from ipaddress import ip_network

import pytest

from vpnrs_core.config.models import ClientConfig, ServerConfig
from vpnrs_core.engine.reload import LIVE, NOTES, applies_live, differences, line, taking_over

SERVER = {"addresses": {"ipv4": "10.77.0.0/24"}, "plugins": {"auth_token": {"tokens": {"file": "tokens.txt"}}}}


def server(**tables):
    return ServerConfig(**{**SERVER, **tables})


def test_nothing_is_different_from_itself():
    assert differences(server(), server()) == {}


def test_differences_are_named_by_key():
    new = server(session={"routes": ["10.99.0.0/24"]}, forwarding={"nat44": True}, listen="0.0.0.0:5000")
    assert differences(server(), new) == {
        "forwarding.nat44": (False, True),
        "listen": ("0.0.0.0:4433", "0.0.0.0:5000"),
        "session.routes": ((), (ip_network("10.99.0.0/24"),)),
    }


def test_a_plugins_values_stay_unsaid():
    new = server(plugins={"auth_token": {"tokens": {"file": "a-secret"}}, "nat64": {}})
    found = differences(server(), new)
    assert sorted(found) == ["plugins.auth_token", "plugins.nat64"]
    assert [line(key, *values) for key, values in found.items()] == ["plugins.auth_token", "plugins.nat64"]


@pytest.mark.parametrize(
    ("key", "new", "live"),
    [
        ("session.routes", (), True),
        ("log.level", "debug", True),
        ("kill_switch", False, True),
        ("forwarding.enable", True, True),
        ("forwarding.enable", False, False),
        ("listen", "0.0.0.0:5000", False),
        ("plugins.nat64", None, False),
    ],
)
def test_what_can_change_while_it_runs_is_known(key, new, live):
    assert applies_live(key, new) is live


def test_only_the_keys_that_were_taken_over_have_their_new_value():
    old, new = server(), server(session={"max_sessions": 5}, quic={"idle_timeout": 17})
    taken = taking_over(old, differences(old, new), ["session.max_sessions"])
    assert taken.session.max_sessions == 5
    assert list(differences(taken, new)) == ["quic.idle_timeout"], "it is told again by the next reload"


def test_every_live_key_exists():
    def keys(model, prefix=""):
        for name, field in model.model_fields.items():
            inner = field.annotation if hasattr(field.annotation, "model_fields") else None
            yield from keys(inner, f"{prefix}{name}.") if inner is not None else [f"{prefix}{name}"]

    known = {*keys(ServerConfig), *keys(ClientConfig)}
    assert known >= LIVE
    assert known >= NOTES.keys()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (False, True, "kill_switch: false → true"),
        ((ip_network("10.0.0.0/8"), ip_network("::/0")), (), "kill_switch: [10.0.0.0/8, ::/0] → []"),
        (1.5, None, "kill_switch: 1.5 → none"),
    ],
)
def test_values_are_written_as_in_the_file(old, new, text):
    assert line("kill_switch", old, new) == text
