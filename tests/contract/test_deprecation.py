"""What is deprecated works, and says what to use instead, wherever a plugin is started or tested."""

from __future__ import annotations

import pluggy
import pytest

from tests.cli.conftest import Vpnrs, vpnrs
from tests.plugins.conftest import Install, Load, install, load
from vpnrs_core import hookspecs, interfaces
from vpnrs_core.hookspecs import Deprecated, spec
from vpnrs_core.plugins.manager import hook_names
from vpnrs_core.testkit.load import load as load_kit

__all__ = ["install", "load", "vpnrs"]

OLD = "since 0.2, goes with 0.4: implement vpnrs_register_packet_stages instead"
CODE = """
    class Plugin:
        def __init__(self, config, ctx): ...

        @impl
        def vpnrs_register_filters(self):
            return []
"""


@pytest.fixture
def deprecated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract with one hook more, a deprecated one."""

    def vpnrs_register_filters() -> None:
        """What stages were called."""

    marked = spec(warn_on_impl=Deprecated(f"vpnrs_register_filters is deprecated {OLD}"))(vpnrs_register_filters)
    monkeypatch.setattr(hookspecs, "vpnrs_register_filters", marked, raising=False)


@pytest.mark.usefixtures("deprecated")
def test_a_deprecated_hook_works_and_is_told_with_its_line(install: Install, load: Load) -> None:
    install("aged", CODE)
    plugins = load({"aged": {}})
    assert plugins.loaded[1].hooks == ("vpnrs_register_filters",)
    assert plugins.warnings == (f"plugin aged: vpnrs_register_filters is deprecated {OLD} (vpnrs_fake_aged.py line 8)",)


@pytest.mark.usefixtures("deprecated")
def test_check_and_plugins_check_tell_it(install: Install, vpnrs: Vpnrs) -> None:
    install("aged", CODE)
    vpnrs("init", "pair")
    ran = vpnrs("check", "pair/server.toml", "-p", "aged")
    assert ran.code == 0
    assert f"warning: plugin aged: vpnrs_register_filters is deprecated {OLD}" in ran.out
    ran = vpnrs("plugins", "check", "--no-tests", "aged")
    assert ran.code == 0
    assert OLD in ran.out


@pytest.mark.usefixtures("deprecated")
def test_the_plugins_own_tests_are_warned(install: Install) -> None:
    install("aged", CODE)
    with pytest.warns(FutureWarning, match="instead"):
        load_kit("aged")


def test_a_renamed_interface_is_its_successor_and_is_told(
    install: Install, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "RENAMED", {"Bundle": ("Lease", "since 0.2, goes with 0.4")})
    install(
        "aged",
        "from vpnrs_core.interfaces import Bundle\n"
        "class Plugin:\n    def __init__(self, config, ctx): ...\n"
        "    @impl\n    def vpnrs_check(self, configuration):\n        return []\n",
    )
    (line,) = load({"aged": {}}).warnings
    assert line.startswith(
        "plugin aged: vpnrs_core.interfaces.Bundle is deprecated since 0.2, goes with 0.4: use Lease instead ("
    )
    with pytest.warns(Deprecated):
        assert interfaces.Bundle is interfaces.Lease  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from vpnrs_core.interfaces import Never  # type: ignore[attr-defined]  # noqa: F401


def test_other_warnings_of_a_plugin_stay_warnings(install: Install, load: Load) -> None:
    install(
        "aged",
        "import warnings\nwarnings.warn('of its own')\n"
        "class Plugin:\n    def __init__(self, config, ctx): ...\n"
        "    @impl\n    def vpnrs_check(self, configuration):\n        return []\n",
    )
    with pytest.warns(UserWarning, match="of its own"):
        assert load({"aged": {}}).warnings == ()


def test_nothing_of_the_contract_is_deprecated_without_a_successor() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in hook_names():
        found = getattr(manager.hook, name).spec.warn_on_impl
        assert found is None or (isinstance(found, Deprecated) and "instead" in str(found))
    assert all(hasattr(interfaces, new) for new, _ in interfaces.RENAMED.values())
