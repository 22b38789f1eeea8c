"""What is said about a machine that lacks something."""

import pytest

from vpnrs_core.errors import HostError
from vpnrs_core.host import preflight as subject
from vpnrs_core.host.preflight import CAP_NET_ADMIN, Plan, effective_capabilities, preflight, require

ALL = 0x1FFFFFFFFFF


@pytest.fixture(autouse=True)
def good_host(tmp_path, monkeypatch):
    """A machine that has everything; each test takes one thing away."""
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path / "run"))
    device = tmp_path / "tun"
    device.write_text("")
    monkeypatch.setattr(subject.tun, "DEVICE", str(device))
    monkeypatch.setattr(subject, "effective_capabilities", lambda status: ALL)
    monkeypatch.setattr(subject, "read_sysctl", {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}.get)


def texts(plan=Plan()):  # noqa: B008  # frozen
    return [(finding.level, finding.text) for finding in preflight(plan)]


def test_a_good_host_has_nothing_to_say():
    assert texts(Plan(forwards_ipv4=True, forwards_ipv6=True, port=443)) == []


def test_a_missing_device_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(subject.tun, "DEVICE", str(tmp_path / "absent"))
    [(level, text)] = texts()
    assert level == "error"
    assert "absent does not exist" in text
    assert "modprobe tun" in text


def test_a_missing_capability_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(subject, "effective_capabilities", lambda status: ALL & ~(1 << CAP_NET_ADMIN))
    [(level, text)] = texts()
    assert level == "error"
    assert text.startswith("CAP_NET_ADMIN is missing")
    assert "setcap cap_net_admin+ep /" in text
    with pytest.raises(HostError, match="CAP_NET_ADMIN is missing"):
        require(Plan())


@pytest.mark.parametrize(("port", "count"), [(0, 0), (443, 1), (1023, 1), (1024, 0), (4433, 0)])
def test_a_low_port_needs_its_own_capability(monkeypatch, port, count):
    monkeypatch.setattr(subject, "effective_capabilities", lambda status: 1 << CAP_NET_ADMIN)
    found = texts(Plan(port=port))
    assert len(found) == count
    assert all("CAP_NET_BIND_SERVICE" in text for _, text in found)


def test_a_run_directory_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VPNRS_RUN_DIR", str(tmp_path / "file" / "below"))
    [(level, text)] = texts()
    assert level == "error"
    assert "VPNRS_RUN_DIR" in text


def test_forwarding_that_is_off_is_a_warning_for_a_server(monkeypatch):
    monkeypatch.setattr(subject, "read_sysctl", {"net/ipv4/ip_forward": "0"}.get)
    assert texts() == []
    found = texts(Plan(forwards_ipv4=True, forwards_ipv6=True))
    assert [level for level, _ in found] == ["warning", "warning"]
    assert "sysctl -w net.ipv4.ip_forward=1" in found[0][1]
    assert "sysctl -w net.ipv6.conf.all.forwarding=1" in found[1][1]
    assert texts(Plan(forwards_ipv4=True, forwards_ipv6=True, sets_forwarding=True)) == []
    assert require(Plan(forwards_ipv4=True))[0].level == "warning"


@pytest.mark.parametrize(
    ("status", "expected"),
    [("Name:\tx\nCapEff:\t0000000000001000\nCapBnd:\tff\n", 0x1000), ("CapEff:\t0\n", 0), ("Name:\tx\n", 0)],
)
def test_effective_capabilities_are_read(status, expected):
    assert effective_capabilities(status) == expected
