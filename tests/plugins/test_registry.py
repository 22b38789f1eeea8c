"""What was registered is found by name; names that are taken or unknown are errors that say what exists."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from vpnrs_core.config.load import from_data
from vpnrs_core.errors import ConfigError, PluginError
from vpnrs_core.hookspecs import PROJECT, impl
from vpnrs_core.interfaces import ControlRequest
from vpnrs_core.plugins.manager import build_manager, hook_names
from vpnrs_core.plugins.registry import KINDS, Registry
from vpnrs_core.plugins.selection import select


def named(name: str, **attributes: object) -> Any:
    return type("Thing", (), {"NAME": name, **attributes})()


def registered(**plugins: dict[str, list[Any]]) -> Registry:
    """`registered(owner={kind: [objects]})`."""
    manager = build_manager()
    for owner, kinds in plugins.items():
        methods: dict[str, Any] = {}
        for kind, objects in kinds.items():

            def hook(self: object, objects: list[Any] = objects) -> list[Any]:
                return objects

            methods[f"vpnrs_register_{kind}"] = impl(hook)
        manager.register(type(owner, (), methods)(), owner)
    registry = Registry()
    registry.collect(manager)
    return registry


def test_every_registration_hook_has_a_kind() -> None:
    assert {f"{PROJECT}_register_{kind}" for kind in KINDS} == {n for n in hook_names() if "_register_" in n}


def test_an_object_is_found_by_kind_and_name_with_its_owner() -> None:
    store = named("shared")
    registry = registered(redis={"stores": [store]})
    entry = registry.get("stores", "shared", "server.toml: store")
    assert (entry.owner, entry.object, registry.objects("stores")) == ("redis", store, {"shared": store})
    assert [e.name for e in registry.all("services")] == []


def test_an_unknown_name_lists_what_exists() -> None:
    registry = registered(core={"stores": [named("memory")]}, redis={"stores": [named("redis")]})
    with pytest.raises(ConfigError) as caught:
        registry.get("stores", "memry", "server.toml: store")
    assert str(caught.value) == (
        "server.toml: store: there is no store 'memry'; did you mean memory? known are: memory, redis; "
        "or add the table [plugins.NAME] of the plugin that has it"
    )
    with pytest.raises(ConfigError, match="no plugin that registers one is loaded"):
        registry.get("authenticators", "token", "server.toml: [auth] methods")


def test_a_name_registered_twice_is_refused() -> None:
    with pytest.raises(PluginError) as caught:
        registered(core={"stores": [named("memory")]}, other={"stores": [named("x"), named("memory"), named("x")]})
    assert str(caught.value).splitlines() == [
        "plugin other: hook: vpnrs_register_stores: store 'memory' is registered by core already; taken are: memory, x",
        "plugin other: hook: vpnrs_register_stores: store 'x' is registered twice by it; taken are: memory, x",
    ]


def test_one_alpn_has_one_session_protocol() -> None:
    with pytest.raises(PluginError) as caught:
        registered(
            core={"session_protocols": [named("vpnrs", ALPNS=("vpnrs/1",))]},
            masque={"session_protocols": [named("connect-ip", ALPNS=("h3", "vpnrs/1"))]},
        )
    assert str(caught.value) == (
        "plugin masque: hook: session protocol 'connect-ip' claims ALPN 'vpnrs/1', which 'vpnrs' of core claims "
        "already; load only one of the two"
    )


def test_control_requests_live_under_their_plugins_name() -> None:
    async def handler(request: Any) -> pydantic.BaseModel:
        return pydantic.BaseModel()

    request = ControlRequest("list", pydantic.BaseModel, handler, reads_only=True)
    registry = registered(a={"control": [request]}, b={"control": [request]})
    assert list(registry.objects("control")) == ["a.list", "b.list"]


def test_selection_takes_what_the_configuration_names() -> None:
    pool, token, quic = named("pool"), named("token"), named("quic")
    registry = registered(
        core={
            "transports": [quic],
            "link_schedulers": [named("single")],
            "stores": [named("memory")],
            "address_allocators": [pool],
        },
        auth={"authenticators": [named("mtls"), token]},
    )
    server = select(from_data({"role": "server", "auth": {"methods": ["token"]}}), registry)
    assert (server.transport, server.allocator, server.authenticators) == (quic, pool, [token])
    client = select(from_data({"role": "client", "ca": "system"}), registry)
    assert (client.allocator, client.authenticators) == (None, [token])
    with pytest.raises(
        ConfigError, match=r"^configuration: \[auth\] methods: there is no authentication method 'oidc'"
    ):
        select(from_data({"role": "server", "auth": {"methods": ["token", "oidc"]}}), registry)
