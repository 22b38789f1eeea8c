"""DNS servers of a tunnel: which way they are put in place, and that they come out again exactly.

systemd-resolved and resolvconf are programs that record what they are asked; test_resolvers.py has the real ones, and
tests/netns/test_dns.py resolves names by the real resolver of the C library.
"""

import asyncio
import os
import shutil
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpnrs_core.errors import HostError
from vpnrs_core.host import dns
from vpnrs_core.host.changes import boot_id
from vpnrs_core.host.dns import LinkDns, ResolvconfDns, ResolvConfFile, dns_change
from vpnrs_core.host.leftovers import clear, leftovers
from vpnrs_core.host.netlink import HostLink
from vpnrs_core.host.resolv_conf import Former, former, with_servers

CHATTR = shutil.which("chattr")
SERVERS = [ip_address("10.77.0.1"), ip_address("fd77::1")]
BEFORE = "# mine\nnameserver 192.0.2.1\nsearch example.org\noptions edns0\n"


class Links:
    """The part of Netlink that is asked."""

    def __init__(self, *links):
        self.links = [HostLink(index, name, 1280, True, False) for index, name in links]

    async def link(self, name):
        return next((link for link in self.links if link.name == name), None)


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """A resolv.conf, and nothing on PATH but what `tool` puts there."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "resolv.conf").write_text(BEFORE)
    monkeypatch.setattr(dns, "RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def tool(etc, name, code=0):
    """A program that records its arguments and its input → where."""
    record = etc / f"{name}.calls"
    script = etc / "bin" / name
    lines = ("#!/bin/sh", f'echo "$@" >> {record}', f"[ -t 0 ] || /bin/cat >> {record}", "echo no bus >&2")
    script.write_text("\n".join([*lines, f"exit {code}", ""]))
    script.chmod(0o755)
    return record


async def test_with_systemd_resolved_the_link_gets_them_and_names_can_be_split(etc):
    (etc / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    calls = tool(etc, "resolvectl")
    change, warning = dns_change(SERVERS, ["corp.example"], "vpnrs0", 7, "work")
    assert (change, warning) == (LinkDns("vpnrs0", 7, ("10.77.0.1", "fd77::1"), ("corp.example",)), "")
    assert LinkDns.from_record(change.record()) == change
    await change.apply(Links((7, "vpnrs0")))
    assert calls.read_text().splitlines() == [
        "dns vpnrs0 10.77.0.1 fd77::1",
        "domain vpnrs0 ~corp.example",
        "default-route vpnrs0 false",
    ]
    calls.unlink()
    await change.undo(Links((8, "vpnrs0")))
    assert not calls.exists(), "another link of that name is not ours"
    await change.undo(Links((7, "vpnrs0")))
    assert calls.read_text() == "revert vpnrs0\n"


async def test_without_domains_all_names_are_asked_in_the_tunnel(etc):
    (etc / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    calls = tool(etc, "resolvectl")
    change, _ = dns_change(SERVERS[:1], [], "vpnrs0", 7, "work")
    await change.apply(Links((7, "vpnrs0")))
    assert calls.read_text().splitlines()[1:] == ["domain vpnrs0 ~.", "default-route vpnrs0 true"]


async def test_with_resolvconf_a_record_of_ours_is_added_and_removed(etc):
    calls = tool(etc, "resolvconf")
    change, warning = dns_change(SERVERS, ["corp.example"], "vpnrs0", 7, "work")
    assert isinstance(change, ResolvconfDns)
    assert "for all names, not for corp.example alone" in warning
    assert ResolvconfDns.from_record(change.record()) == change
    await change.apply(Links())
    await change.undo(Links())
    assert calls.read_text().splitlines() == [
        "-a tun.vpnrs0 -m 0 -x",
        "nameserver 10.77.0.1",
        "nameserver fd77::1",
        "-d tun.vpnrs0 -f",
    ]


def test_a_resolvconf_that_is_resolvectl_in_disguise_counts_as_none(etc):
    tool(etc, "resolvectl")
    (etc / "bin" / "resolvconf").symlink_to("resolvectl")
    assert isinstance(dns_change(SERVERS, [], "vpnrs0", 7, "work")[0], ResolvConfFile)


async def test_a_tool_that_fails_is_said_so(etc):
    tool(etc, "resolvconf", code=1)
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    with pytest.raises(HostError, match=r"'resolvconf -a tun\.vpnrs0 -m 0 -x' failed: no bus"):
        await change.apply(Links())


async def test_the_file_gets_them_keeps_the_rest_and_gets_its_own_back(etc):
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    assert ResolvConfFile.from_record(change.record()) == change
    inode = os.stat(etc / "resolv.conf").st_ino
    await change.apply(Links())
    first, rest = (etc / "resolv.conf").read_text().split("\n", 1)
    assert first.startswith("# Servers of vpnrs instance work; the former content comes back when it stops")
    assert rest == (
        "nameserver 10.77.0.1\nnameserver fd77::1\n"
        "# mine\n#vpnrs# nameserver 192.0.2.1\nsearch example.org\noptions edns0\n"
    )
    assert os.stat(etc / "resolv.conf").st_ino == inode, "it may be mounted over"
    await change.undo(Links())
    assert (etc / "resolv.conf").read_text() == BEFORE


def test_a_file_with_the_servers_of_another_instance_is_left_to_it(etc):
    (etc / "resolv.conf").write_text(with_servers(BEFORE, ["10.9.0.1"], "other", boot_id()))
    change, warning = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    assert change is None
    assert "has the servers of vpnrs instance other, so 10.77.0.1, fd77::1 is not asked" in warning


async def test_a_file_that_was_not_there_goes_again(etc):
    (etc / "resolv.conf").unlink()
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    await change.apply(Links())
    assert "nameserver 10.77.0.1" in (etc / "resolv.conf").read_text()
    await ResolvConfFile.from_record(change.record()).undo(Links())
    assert not (etc / "resolv.conf").exists()


async def test_a_link_stays_a_link_and_what_it_leads_to_goes_again(etc):
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").symlink_to(etc / "elsewhere.conf")
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    await change.apply(Links())
    assert "nameserver 10.77.0.1" in (etc / "resolv.conf").read_text()
    await change.undo(Links())
    assert (etc / "resolv.conf").is_symlink()
    assert not (etc / "elsewhere.conf").exists()


async def test_a_file_that_cannot_be_read_is_not_taken_for_none(etc):
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").mkdir()
    with pytest.raises(HostError, match=r"resolv\.conf cannot be read: Is a directory; .* accept_dns = false"):
        dns_change(SERVERS, [], "vpnrs0", 7, "work")


def test_a_server_in_a_comment_is_none(etc):
    (etc / "resolv.conf").write_text("#nameserver 127.0.0.53\nnameserver 192.0.2.1\n")
    assert not dns.asks_resolved()


@pytest.mark.parametrize("before", [BEFORE, None, ""])
def test_what_a_power_cut_left_is_told_and_undone_without_a_journal(etc, monkeypatch, before):
    monkeypatch.setenv("VPNRS_RUN_DIR", str(etc / "run"))
    path = etc / "resolv.conf"
    path.write_text(with_servers(before, ["10.77.0.1"], "work", boot_id()))
    assert leftovers() == [], "of this boot the journal knows"
    path.write_text(with_servers(before, ["10.77.0.1"], "work", "an-earlier-one"))
    (left,) = leftovers()
    assert left.instance == "work"
    assert "since before a power cut" in left.changes[0]
    assert "by instance work before this host was started" in clear("work")[0]
    assert (path.read_text() if path.exists() else None) == before
    assert leftovers() == []


def test_what_a_power_cut_left_and_somebody_changed_is_left_alone(etc):
    text = with_servers(BEFORE, ["10.77.0.1"], "work", "an-earlier-one") + "options ndots:2\n"
    (etc / "resolv.conf").write_text(text)
    assert dns.put_back() == ""
    assert (etc / "resolv.conf").read_text() == text


@given(
    before=st.none()
    | st.lists(
        st.sampled_from(
            [
                "nameserver 1.2.3.4",
                " nameserver ::1",
                "search a",
                "#vpnrs# x",
                "",
                "\r",
                "\u2028x",
                "# Servers of vpnrs instance b;",
            ]
        )
    ).map("\n".join),
    servers=st.lists(st.sampled_from(["::9", "9.9.9.9"])),
)
def test_the_former_content_can_be_read_from_the_new_one(before, servers):
    text = with_servers(before, servers, "work", "boot")
    assert former(text) == Former("work", "boot", before)
    asked = [line.split()[1] for line in text.splitlines() if line.lstrip().startswith("nameserver")]
    assert asked == servers
    assert former(text + "x") is None


async def test_a_file_that_somebody_changed_since_is_left_alone(etc):
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    await change.apply(Links())
    (etc / "resolv.conf").write_text("nameserver 198.51.100.1\n")
    await change.undo(Links())
    assert (etc / "resolv.conf").read_text() == "nameserver 198.51.100.1\n"


async def test_a_file_that_may_not_be_written_is_said_so(etc):
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    (etc / "resolv.conf").unlink()
    (etc / "resolv.conf").mkdir()
    with pytest.raises(HostError, match=r"resolv\.conf cannot be written: Is a directory; .* accept_dns = false"):
        await change.apply(Links())


@pytest.fixture
def immutable(etc):
    path = etc / "resolv.conf"
    if CHATTR is None or subprocess.run([CHATTR, "+i", path], capture_output=True).returncode:
        pytest.skip("this file system, or this user, makes no file immutable")
    yield path
    subprocess.run([CHATTR, "-i", path], check=True)


async def test_a_file_that_is_immutable_is_told_so_and_how_to_mend_it(immutable):
    change, _ = dns_change(SERVERS, [], "vpnrs0", 7, "work")
    with pytest.raises(HostError, match=r"written: Operation not permitted \(immutable\? 'chattr -i /.*resolv.conf'"):
        await change.apply(Links())
    await change.undo(Links())
    assert immutable.read_text() == BEFORE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(before=st.text(alphabet="ab\n", max_size=30), after=st.text(alphabet="abc\n", max_size=30))
def test_a_write_that_was_cut_short_is_recognised_both_ways(tmp_path, before, after):
    """The process may be killed between the writing and the cutting, of the change and of its undoing."""
    path = Path(tmp_path / "resolv.conf")
    change = ResolvConfFile(str(path), before, after)
    for written, under, resumed in ((after, before, False), (before, after, True)):
        path.write_text(written + under[len(written) :])
        asyncio.run(change.undo(Links(), resumed=resumed))
        if before != after:
            assert path.read_text() == before
