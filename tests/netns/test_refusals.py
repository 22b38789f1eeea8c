"""Who is refused, and what the client says and does then: refused for good it ends, refused for now it waits.

client 0 ── server
client 1 ────┘
"""

import json
import signal
import time

from vpnrs_core.testkit.tunnel import SERVER4

FINAL = 5
QUICK = {"reconnect": {"min": 0.5, "max": 1, "jitter": 0.1}}


def tokens(net):
    return net.directory / "pair" / "tokens.txt"


def client_token(net, name="client"):
    return net.directory / "pair" / f"{name}.token"


def the_only_line(instance):
    """What the client says at its end: one line, no traceback."""
    said = [line for line in instance.log.splitlines() if line.startswith("vpnrs: ")]
    assert len(said) == 1, instance.log
    assert "Traceback" not in instance.log
    return said[0]


def no_token_is_told(net):
    secrets = [path.read_text().strip() for path in (net.directory / "pair").glob("*.token")]
    text = net.server.log + "".join(client.log for client in net.clients)
    assert secrets
    assert not [secret for secret in secrets if secret in text or secret[-20:] in text]


def sessions(net):
    return net.server.status()["server"]["sessions"]


def test_an_unknown_token_is_refused_for_good_and_never_told(tunnel):
    net = tunnel()
    tokens(net).write_text("")
    net.start_server()
    net.client.start()
    assert net.client.wait() == FINAL
    line = the_only_line(net.client)
    assert "auth_failed" in line
    assert "ask its operator" in line
    net.server.wait_for("listening", lambda status: status["state"] == "listening")
    assert "attempt_refused" in net.server.log
    assert "is unknown or revoked" in net.server.log
    assert "unknown or revoked" not in net.client.log  # the wire gets a generic text
    no_token_is_told(net)


def test_a_mistyped_token_is_told_before_dialling(tunnel):
    net = tunnel()
    net.start_server()
    path = client_token(net)
    text = path.read_text().strip()
    path.write_text(text[:-3] + ("b" if text[-3] != "b" else "c") + text[-2:] + "\n")
    net.client.start()
    assert net.client.wait() == 2
    assert "client.token" in the_only_line(net.client)
    assert text[:20] not in net.client.log
    assert "connection" not in net.server.log
    assert "attempt" not in net.server.log


def test_an_authentication_method_that_the_server_lacks_is_final(tunnel):
    net = tunnel()
    net.remember()
    net.client.configure({"auth": {"method": "password"}})
    net.client.start()
    assert net.client.wait() == 2
    assert "password" in the_only_line(net.client)


def test_a_revoked_token_ends_its_session_within_seconds_and_others_go_on(tunnel):
    net = tunnel(clients=2).up()
    text = tokens(net).read_text()
    tokens(net).write_text("".join(line for line in text.splitlines(True) if "client1" not in line))
    began = time.monotonic()
    assert net.clients[1].wait() == FINAL
    assert time.monotonic() - began < 5
    assert "auth_failed" in the_only_line(net.clients[1])
    assert [session["principal"] for session in sessions(net)] == ["client"]
    net.client_ns[0].run("ping", "-c1", "-W3", SERVER4)
    no_token_is_told(net)


def test_a_parked_session_of_a_revoked_token_ends_too(tunnel):
    net = tunnel(clients=2)
    net.server.configure({"quic": {"idle_timeout": 3, "keepalive": 1}})
    net.up()
    net.clients[1].kill()
    net.server.wait_for("parked", lambda s: [x["state"] for x in s["server"]["sessions"]].count("parked") == 1)
    tokens(net).write_text("".join(line for line in tokens(net).read_text().splitlines(True) if "client1" not in line))
    net.server.wait_for("rid of it", lambda s: len(s["server"]["sessions"]) == 1, patience=5)
    assert [pool["leased"] for pool in net.server.status()["server"]["pools"]] == [1, 1]
    net.clients[1].start()
    assert net.clients[1].wait() == FINAL


def test_an_expired_token_ends_its_session_and_is_refused_afterwards(tunnel):
    net = tunnel()
    net.start_server()
    client_token(net).write_text(net.new_token("shortly", "--expires", "6s"))
    expires = time.monotonic() + 6
    net.server.wait_for("told", lambda _: "tokens_changed count=2" in net.server.log)
    net.client.start()
    net.client.wait_state("connected")
    assert sessions(net)[0]["principal"] == "shortly"
    assert net.client.wait() == FINAL
    assert -2 < time.monotonic() - expires < 4
    the_only_line(net.client)
    assert sessions(net) == []
    net.client.start()
    assert net.client.wait() == FINAL
    assert "expired" in net.server.log


def test_a_tokens_file_that_breaks_is_told_with_its_line_and_keeps_who_is_in(tunnel):
    net = tunnel().up()
    good = tokens(net).read_text()
    tokens(net).write_text(good + "this is no token line\n")
    number = len(good.splitlines()) + 1
    net.server.wait_for("told", lambda _: f"tokens.txt:{number}" in net.server.log)
    net.client_ns[0].run("ping", "-c1", "-W3", SERVER4)
    assert net.client.stop() == 0
    net.client.start()
    net.client.wait_state("connected")
    tokens(net).write_text("")
    assert net.client.wait() == FINAL


def test_a_second_client_waits_for_a_full_server_and_gets_in_when_the_first_leaves(tunnel):
    net = tunnel(clients=2)
    net.server.configure({"session": {"max_sessions": 1}})
    net.clients[1].configure(QUICK)
    net.up(0)
    net.clients[1].start()
    waiting = net.clients[1].wait_for("refused", lambda s: s["client"]["last_error"] and s["state"] == "waiting")
    assert "server_full" in waiting["client"]["last_error"]
    assert 0 <= waiting["client"]["next_try_seconds"] <= 2
    assert waiting["client"]["attempts"] >= 1
    assert net.clients[0].stop() == 0
    net.clients[1].wait_state("connected", patience=10)


def test_an_exhausted_pool_is_refused_for_now_and_a_left_address_is_given_again(tunnel):
    net = tunnel(clients=2, ipv4="10.77.0.0/30", ipv6=None)
    net.clients[1].configure(QUICK)
    net.up(0)
    net.clients[1].start()
    waiting = net.clients[1].wait_for("refused", lambda s: s["client"]["last_error"] and s["state"] == "waiting")
    assert "pool_exhausted" in waiting["client"]["last_error"]
    assert net.clients[0].stop() == 0
    net.clients[1].wait_state("connected", patience=10)
    assert net.addresses(1) == {4: "10.77.0.2"}


def test_one_exhausted_family_leaves_the_other(tunnel):
    net = tunnel(clients=2, ipv4="10.77.0.0/30").up(0)
    net.clients[1].start()
    net.clients[1].wait_state("connected")
    assert set(net.addresses(0)) == {4, 6}
    assert set(net.addresses(1)) == {6}
    net.client_ns[1].run("ping", "-c1", "-W3", "fd77::1")


def test_the_longest_parked_session_makes_place(tunnel):
    net = tunnel(clients=2, ipv4="10.77.0.0/30", ipv6=None)
    net.server.configure({"quic": {"idle_timeout": 3, "keepalive": 1}})
    net.up(0)
    net.clients[0].kill()
    net.server.wait_for("parked", lambda s: s["server"]["sessions"][0]["state"] == "parked")
    net.clients[1].start()
    net.clients[1].wait_state("connected")
    assert net.addresses(1) == {4: "10.77.0.2"}
    assert [session["principal"] for session in sessions(net)] == ["client1"]
    net.clients[0].start()  # undoes what SIGKILL left, and finds no place
    net.clients[0].wait_state("waiting")
    net.clients[0].signal(signal.SIGINT)
    assert net.clients[0].wait() == 0


def test_a_client_that_gives_up_after_its_attempts_says_why(tunnel):
    net = tunnel()
    net.remember()
    net.client.configure({"reconnect": {"min": 0.1, "max": 0.2, "jitter": 0, "attempts": 2}})
    net.client.start()
    assert net.client.wait(40) == 6
    assert "after 2 attempts" in the_only_line(net.client)


def test_no_token_is_in_any_log_or_status_however_talkative(tunnel):
    net = tunnel(clients=2)
    for instance in (net.server, *net.clients):
        instance.configure({"log": {"level": "debug", "format": "json"}})
    tokens(net).write_text("".join(line for line in tokens(net).read_text().splitlines(True) if "client1" not in line))
    net.up(0)
    net.clients[1].start()
    assert net.clients[1].wait() == FINAL
    shown = net.vpnrs("status", "--instance", "server", "--json") + net.vpnrs("status", "--instance", "client")
    shown += net.vpnrs("plugins", "list", "--json") + net.server.log + net.clients[0].log + net.clients[1].log
    for name in ("client", "client1"):
        secret = client_token(net, name).read_text().strip()
        for part in (secret, secret.rpartition("_")[2], secret[-20:]):
            assert part not in shown
    hashes = [
        line.split()[1].removeprefix("sha256:") for line in tokens(net).read_text().splitlines() if "sha256" in line
    ]
    assert hashes
    assert not [each for each in hashes if each in shown]
    lines = [line for line in net.server.log.splitlines() if line]
    assert {json.loads(line)["level"] for line in lines} >= {"debug", "info", "warning"}
