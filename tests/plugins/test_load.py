"""The loader: what is named is loaded, nothing else, and every failure says plugin, stage and cause."""

from __future__ import annotations

import re
import sys

import pytest

from tests.plugins.conftest import GOOD, Install, Load
from vpnrs_core.errors import ConfigError, PluginError, VpnrsError
from vpnrs_core.plugins.manager import call_each


def refusal(load: Load, *args: object, kind: type[VpnrsError] = PluginError, **kwargs: object) -> str:
    with pytest.raises(kind) as caught:
        load(*args, **kwargs)
    # The folder's name is the machine's, line numbers are the test's own.
    return str(caught.value)


def body(code: str) -> str:
    """A plugin class with these methods."""
    return "class Plugin:\n    def __init__(self, config, ctx):\n        self.ctx = ctx\n" + code


CHECK = "    @impl\n    def vpnrs_check(self, configuration):\n        return []\n"


def test_a_named_plugin_is_loaded_with_its_table(install: Install, load: Load) -> None:
    install("good", GOOD)
    plugins = load({"good": {"limit": 7}})
    assert [(p.name, p.builtin, p.version, p.summary, p.hooks) for p in plugins.loaded][1:] == [
        ("good", False, "1.2", "What good is for.", ("vpnrs_check",))
    ]
    ((owner, findings),) = call_each(plugins.manager, "vpnrs_check", configuration=None)
    assert (owner, findings[0].text) == ("good", "limit is 7")
    assert plugins.drop_reasons == {"good.too_late": ""}


def test_an_installed_plugin_that_nobody_names_is_not_imported(install: Install, load: Load) -> None:
    install("idle", "raise RuntimeError('must not be imported')")
    plugins = load()
    assert [plugin.name for plugin in plugins.loaded] == ["core"]
    assert "vpnrs_fake_idle" not in sys.modules


def test_p_name_loads_with_defaults(install: Install, load: Load) -> None:
    install("good", GOOD)
    assert load(enable=["good"]).loaded[1].plugin.config.limit == 5  # type: ignore[attr-defined]


def test_blocked_and_named_stops_the_start_without_an_import(install: Install, load: Load) -> None:
    install("good", GOOD)
    assert refusal(load, {"good": {}}, block=["good"]) == (
        "plugin good: choice: blocked by -p no:good, but named by [plugins.good] of server.toml; remove one of the two"
    )
    assert refusal(load, enable=["good"], block=["good"]) == (
        "plugin good: choice: blocked by -p no:good, but named by -p good; remove one of the two"
    )
    assert "vpnrs_fake_good" not in sys.modules


def test_blocking_what_nobody_names_changes_nothing(install: Install, load: Load) -> None:
    install("good", GOOD)
    assert [plugin.name for plugin in load({}, block=["good", "absent"]).loaded] == ["core"]


def test_the_core_is_neither_named_nor_blocked(load: Load) -> None:
    assert refusal(load, block=["core"]) == (
        "plugin core: choice: blocked by -p no:core, but it is the core itself; remove the option"
    )
    assert refusal(load, {"core": {}}) == (
        "plugin core: choice: named by [plugins.core] of server.toml, but it is the core itself and always loaded; "
        "remove it"
    )


def test_missing_names_the_nearest_and_the_command(install: Install, load: Load) -> None:
    install("rate_limit", GOOD)
    assert refusal(load, {"rate_limt": {}}) == (
        "plugin rate_limt: choice: named by [plugins.rate_limt] of server.toml, but not installed; "
        "did you mean rate_limit? Otherwise `pip install vpnrs-rate-limt`"
    )
    assert refusal(load, enable=["web_ui"]).endswith(
        "named by -p web_ui, but not installed; `pip install vpnrs-web-ui`"
    )


def test_incompatible_is_found_before_the_import(install: Install, load: Load) -> None:
    install("old", "raise RuntimeError('must not be imported')", requires="vpnrs-core>=7,<8")
    assert refusal(load, {"old": {}}) == (
        "plugin old: compatibility: vpnrs-old 1.2 is incompatible: it needs vpnrs-core <8,>=7, this is 0.1.0; "
        "install another version of it"
    )


def test_two_distributions_of_one_name_are_refused(install: Install, load: Load) -> None:
    install("good", GOOD)
    install("good", distribution="other-good")
    text = refusal(load, {"good": {}})
    assert text.startswith("plugin good: choice: offered by ")
    assert "other-good" in text
    assert "vpnrs-good" in text
    assert text.endswith("uninstall all but one")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero (vpnrs_fake_bad.py line 4)"),
        (
            "import vpnrs_absent_module",
            "ModuleNotFoundError: No module named 'vpnrs_absent_module' (vpnrs_fake_bad.py line 4)",
        ),
        ("def f(:\n    pass", "SyntaxError: invalid syntax (vpnrs_fake_bad.py line 4)"),
        ("raise SystemExit(3)", "SystemExit: 3 (vpnrs_fake_bad.py line 4)"),
        ("Other = 1", "AttributeError: module 'vpnrs_fake_bad' has no attribute 'Plugin'"),
    ],
)
def test_broken_at_import(install: Install, load: Load, code: str, cause: str) -> None:
    install("bad", code)
    assert refusal(load, {"bad": {}}).startswith(f"plugin bad: import: {cause}")


def test_a_module_that_is_gone_is_broken_at_import(install: Install, load: Load) -> None:
    install("bad")
    assert refusal(load, {"bad": {}}).startswith(
        "plugin bad: import: ModuleNotFoundError: No module named 'vpnrs_fake_bad'"
    )


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("Plugin = 3", "the entry point names 3, not a class; name the class that implements the hooks"),
        ("class Plugin:\n    pass", "Plugin implements no hook; mark its hooks with @impl of vpnrs_core.hookspecs"),
        (body(CHECK) + "    Config = dict", "Plugin.Config is not a pydantic model"),
        (
            "class Plugin:\n    def __init__(self, config):\n        pass\n" + CHECK,
            "Plugin.__init__ (line 5) is called with (config, ctx), but takes (config); take these two",
        ),
        (body(CHECK) + "    DROP_REASONS = 'late'", "Plugin.DROP_REASONS is not a sequence of names"),
        (body(CHECK) + "    EVENTS = [int]", "Plugin.EVENTS holds <class 'int'>, which is no type of event"),
        (
            body("    @impl\n    def vpnrs_register_store(self):\n        return []"),
            "Plugin.vpnrs_register_store (line 7) is marked as hook vpnrs_register_store, which does not exist; "
            "did you mean vpnrs_register_stores?",
        ),
        (
            body("    @impl(wrapper=True)\n    def vpnrs_check(self, configuration):\n        return (yield)"),
            "Plugin.vpnrs_check (line 7) is a hook wrapper, which could hide or change what other plugins do; "
            "make it a plain hook",
        ),
        (
            body("    @impl(hookwrapper=True)\n    def vpnrs_check(self, configuration):\n        yield"),
            "Plugin.vpnrs_check (line 7) is a hook wrapper, which could hide or change what other plugins do; "
            "make it a plain hook",
        ),
        (
            body("    def vpnrs_check(self, configuration):\n        return []"),
            "Plugin.vpnrs_check looks like a hook, but is not marked; put @impl above it",
        ),
        (
            body("    @impl\n    async def vpnrs_check(self, configuration):\n        return []"),
            "Plugin.vpnrs_check (line 7) is async; hooks are synchronous, async work belongs to the objects that they "
            "return",
        ),
    ],
)
def test_a_class_that_breaks_the_contract(install: Install, load: Load, code: str, cause: str) -> None:
    install("bad", code)
    assert refusal(load, {"bad": {}}) == f"plugin bad: inspection: {cause}"


def test_a_wrong_table_is_the_users_error(install: Install, load: Load) -> None:
    install("good", GOOD)
    assert refusal(load, {"good": {"limt": 1, "limit": "many"}}, kind=ConfigError).splitlines() == [
        "server.toml: [plugins.good] limit: should be a valid integer, unable to parse string as an integer. How many.",
        "server.toml: [plugins.good] unknown key limt; did you mean limit?",
    ]


def test_a_plugin_without_config_takes_no_keys(install: Install, load: Load) -> None:
    install("bare", body(CHECK))
    load({"bare": {}})
    assert refusal(load, {"bare": {"x": 1}}, kind=ConfigError) == (
        "server.toml: [plugins.bare] unknown key x; none is known here"
    )


def test_one_that_exits_at_construction_is_named(install: Install, load: Load) -> None:
    install("bad", "import sys\nclass Plugin:\n    def __init__(self, config, ctx):\n        sys.exit()\n" + CHECK)
    assert refusal(load, {"bad": {}}) == "plugin bad: construction: SystemExit (vpnrs_fake_bad.py line 7)"


def test_broken_at_construction(install: Install, load: Load) -> None:
    install("bad", "class Plugin:\n    def __init__(self, config, ctx):\n        raise KeyError('x')\n" + CHECK)
    assert refusal(load, {"bad": {}}) == "plugin bad: construction: KeyError: 'x' (vpnrs_fake_bad.py line 6)"


def test_a_config_error_of_a_plugin_stays_one(install: Install, load: Load) -> None:
    install(
        "bad",
        "from vpnrs_core.errors import ConfigError\nclass Plugin:\n    def __init__(self, config, ctx):\n"
        "        raise ConfigError('tokens: no such file; run `vpnrs token new`')\n" + CHECK,
    )
    assert refusal(load, {"bad": {}}, kind=ConfigError) == (
        "plugin bad: construction: tokens: no such file; run `vpnrs token new`"
    )


def test_broken_at_registration(install: Install, load: Load) -> None:
    install("bad", body("    @impl\n    def vpnrs_check(self, configuration, more):\n        return []"))
    text = refusal(load, {"bad": {}})
    assert text.startswith("plugin bad: registration: PluginValidationError: ")
    assert "'more'" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("returned", "cause"),
    [
        ("1 / 0", "vpnrs_register_stores raised ZeroDivisionError: division by zero (vpnrs_fake_bad.py line 9)"),
        ("3", "vpnrs_register_stores returned 3, not a list"),
        # Forgotten `return`: a filter that was meant to be there would be missing without a word.
        ("None", "vpnrs_register_stores returned None, not a list; is a `return` missing? Nothing to register is []"),
        ("exit(3)", "vpnrs_register_stores raised SystemExit: 3 (vpnrs_fake_bad.py line 9)"),
        ("[3]", "vpnrs_register_stores returned 3, which is not an object with a NAME"),
        (
            "(1 / 0 for _ in 'x')",
            "vpnrs_register_stores raised ZeroDivisionError: division by zero (vpnrs_fake_bad.py line 9)",
        ),
        (
            "[type('S', (), {'NAME': 'memory'})]",
            "vpnrs_register_stores: store 'memory' is registered by core already; taken are: memory",
        ),
    ],
)
def test_a_registration_hook_that_fails(install: Install, load: Load, returned: str, cause: str) -> None:
    install("bad", body(f"    @impl\n    def vpnrs_register_stores(self):\n        return {returned}"))
    assert refusal(load, {"bad": {}}) == f"plugin bad: hook: {cause}"


def test_every_failure_is_told_in_one_start(install: Install, load: Load) -> None:
    install("good", GOOD)
    install("broken", "import vpnrs_absent_module")
    install("old", GOOD, requires="vpnrs-core>=7")
    text = refusal(load, {"good": {"limt": 1}, "broken": {}, "old": {}, "absent": {}})
    assert sorted(re.match(r"[^:]+: [^:]+", line)[0] for line in text.splitlines()) == [  # type: ignore[index]
        "plugin absent: choice",
        "plugin broken: import",
        "plugin old: compatibility",
        "server.toml: [plugins.good] unknown key limt; did you mean limit?",
    ]
