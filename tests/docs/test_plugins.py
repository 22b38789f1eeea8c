"""The plugin of docs/plugins.md is installed as a distribution, loaded by name, and carries packets."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from vpnrs_core import hookspecs
from vpnrs_core.config.load import from_data
from vpnrs_core.counters import DropCounts
from vpnrs_core.errors import ConfigError
from vpnrs_core.interfaces import Packet
from vpnrs_core.pipeline.pipeline import Peer, Pipeline, StageSpec
from vpnrs_core.plugins.dry_context import dry_contexts
from vpnrs_core.plugins.load import Plugins, load_plugins
from vpnrs_core.testkit.packets import super_tcp, tcp, udp

DOCUMENT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
MODULE = "vpnrs_blockports"


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.M | re.S)
    return found[number]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What pip makes of the document's two files."""
    project = tomllib.loads(block("toml"))["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Summary: {project['description']}\n{needs}"
    )
    [(name, target)] = project["entry-points"]["vpnrs"].items()
    (info / "entry_points.txt").write_text(f"[vpnrs]\n{name} = {target}\n")
    (tmp_path / f"{MODULE}.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop(MODULE, None)


class OneSession:
    """The part of interfaces.Session that the pipeline reads."""

    id = "a"
    leases = (ip_address("10.0.0.2"), ip_address("fd00::2"))


def load(table: dict[str, object], tmp_path: Path) -> Plugins:
    configuration = from_data(
        {"role": "server", "addresses": {"ipv4": "10.0.0.0/24"}, "plugins": {"blockports": table}},
        tmp_path / "server.toml",
    )
    return load_plugins(configuration, dry_contexts(configuration))


def run(plugins: Plugins) -> tuple[Pipeline, Peer, DropCounts]:
    drops = DropCounts()
    for name in plugins.drop_reasons:
        drops.declare(*name.split("."))
    drops.close()
    stages = [StageSpec(entry.owner, entry.object) for entry in plugins.registry.all("packet_stages")]
    pipeline = Pipeline("server", stages, drops, lambda *failure: pytest.fail(f"{failure}"))
    return pipeline, pipeline.open(OneSession(), mtu=1400), drops  # type: ignore[arg-type]


@pytest.mark.usefixtures("installed")
def test_the_plugin_of_the_document_drops_what_it_says(tmp_path: Path) -> None:
    plugins = load(tomllib.loads(block("toml", 1))["plugins"]["blockports"], tmp_path)
    assert [(p.name, p.distribution) for p in plugins.loaded if not p.builtin] == [("blockports", "vpnrs-blockports")]
    pipeline, peer, drops = run(plugins)
    packets = [
        Packet.of(udp("10.0.0.2", "192.0.2.1", b"x", dport=53)),
        Packet.of(udp("10.0.0.2", "192.0.2.1", b"x", dport=445)),
        Packet.of(tcp("fd00::2", "2001:db8::1", b"x", dport=25)),
        super_tcp("10.0.0.2", "192.0.2.1", bytes(3000), 1000, dport=25),
        super_tcp("10.0.0.2", "192.0.2.1", bytes(3000), 1000, dport=80),
    ]
    pipeline.ingress(peer, packets, 0.0)
    assert pipeline.to_tun == [packets[0], packets[4]]
    assert drops.nonzero() == {"blockports.port": 5}  # a super-packet's segments count one by one


@pytest.mark.usefixtures("installed")
def test_the_plugin_of_the_document_lets_egress_pass(tmp_path: Path) -> None:
    pipeline, peer, drops = run(load({"ports": [25]}, tmp_path))
    packet = Packet.of(tcp("192.0.2.1", "10.0.0.2", b"x", dport=25))
    pipeline.egress([packet], 0.0)
    assert peer.queue.pull(10**6, 0.0) == [packet]
    assert not drops.nonzero()


@pytest.mark.usefixtures("installed")
def test_its_table_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[plugins.blockports\] unknown key port; did you mean ports\?"):
        load({"port": [25]}, tmp_path)


def test_the_document_lists_every_hook() -> None:
    listed = re.findall(r"^\| `(vpnrs_\w+)` \|", DOCUMENT, re.M)
    assert sorted(listed) == sorted(name for name in vars(hookspecs) if name.startswith("vpnrs_"))
