"""The plugin in the loader: named, `auto` prefers its engine; not named, nothing changes."""

from importlib.metadata import entry_points

import pytest
from vpnrs_qh3 import private
from vpnrs_qh3.engine import Qh3Engine
from vpnrs_qh3.plugin import Plugin

from vpnrs_core.config.load import from_data
from vpnrs_core.errors import PluginError
from vpnrs_core.plugins.dry_context import DryContext
from vpnrs_core.plugins.load import load_plugins


def chosen(enable=(), **tables):
    """The engine that the transport takes, by name."""
    configuration = from_data({"role": "client", "ca": "system", **tables})
    plugins = load_plugins(configuration, lambda name: DryContext(name, configuration), enable=enable)
    return plugins.registry.get("transports", "quic", "").object._engine().NAME


def test_the_entry_points_name_the_plugin_and_the_engine():
    assert [point.load() for point in entry_points(group="vpnrs", name="qh3")] == [Plugin]
    assert [point.load() for point in entry_points(group="vpnrs.engines", name="qh3")] == [Qh3Engine]


def test_installed_but_not_named_it_changes_nothing():
    assert chosen() == "aioquic"


def test_named_it_is_preferred():
    assert chosen(plugins={"qh3": {}}) == "qh3"
    assert chosen(enable=["qh3"]) == "qh3"


def test_the_configuration_may_still_choose():
    assert chosen(plugins={"qh3": {}}, quic={"engine": "aioquic"}) == "aioquic"


def test_a_qh3_of_another_version_stops_the_start(monkeypatch):
    monkeypatch.setattr(private, "version", lambda name: "2.9.0")
    private.check.cache_clear()
    try:
        with pytest.raises(PluginError, match=r"qh3.*2\.9\.0"):
            chosen(plugins={"qh3": {}})
    finally:
        private.check.cache_clear()
