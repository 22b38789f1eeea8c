"""Writes what plugin authors read: docs/howto/*.md from the scaffold and the interfaces, docs/reference/*.md from the
specifications. Called by generate.py."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vpnrs_core import errors, events, hookspecs, interfaces
from vpnrs_core.hookspecs import HOOK_API
from vpnrs_core.plugins.kinds import BY_WORD, Kind
from vpnrs_core.plugins.manager import hook_names
from vpnrs_core.plugins.public import PUBLIC
from vpnrs_core.scaffold.render import CHOOSE, project
from vpnrs_core.testkit import plugin as kit
from vpnrs_core.testkit import suites

NOTE = "<!-- Written by docs/generate.py. Change the docstrings, the templates or docs/authors.py, not this file. -->\n"
# Kind → the interfaces that it implements, and the file of the template that shows it.
SHOWN: Mapping[str, tuple[tuple[str, ...], str]] = {
    "stage": (
        ("StageFactory", "PeerStageFactory", "TunStageFactory", "Stage", "PeerStage", "TunStage", "Observer", "Out"),
        "stage.py",
    ),
    "authenticator": (("Authenticator", "ServerHalf", "ClientHalf"), "authenticator.py"),
    "admission": (("AdmissionCheck", "Attempt"), "admission.py"),
    "allocator": (("AddressAllocator", "Lease"), "allocator.py"),
    "transport": (("Transport", "Listener", "Connection", "Streams", "ConnectionEvents"), "transport.py"),
    "engine": (("QuicEngine", "EngineConnection", "QuicSettings"), "engine.py"),
    "protocol": (("SessionProtocol", "Gate", "OpenedLink", "ClientLink", "GrantListener"), "protocol.py"),
    "codec": (("PacketCodec", "Codec", "WrapperCodec", "Wrapper", "CodecOut"), "codec.py"),
    "scheduler": (("LinkScheduler", "Link"), "scheduler.py"),
    "service": (("Service", "Context"), "service.py"),
    "store": (("Store", "Value"), "store.py"),
    "grant": (("GrantContributor", "Contribution", "Rate"), "grant.py"),
    "command": (("ControlRequest",), "command.py"),
}
TITLES: Mapping[str, str] = {
    "admission": "admission check",
    "allocator": "address allocator",
    "engine": "QUIC engine",
    "protocol": "session protocol",
    "scheduler": "link scheduler",
    "grant": "grant contributor",
}
# Kind → what its first author would have liked to know.
ADVICE: Mapping[str, str] = {
    "stage": "Begin peer-side (`bind`): a stage of one session forgets with it. Tun-side (`tun`) is for what "
    "translates addresses. Ask `packet.header_length` before you look behind it: fragments lack ports. A super-packet "
    "is judged once for all its segments; `packet.slice` and `packet.split` cut it where that is not enough.",
    "authenticator": "Allocate nothing in `begin`: whoever is refused gives nothing back. What is signed must hold "
    "`channel`, or an answer can be relayed. Let `identify` return all of the credential or None; by a name alone, "
    "anyone could lock anyone out. `provision` makes `vpnrs init --auth` work, and gives the suite its credentials.",
    "admission": "`attempt` holds no credential, only a keyed fingerprint of it. Keep what you count in `ctx.store`: "
    "then several servers count together. Refuse with INTERNAL when the store is not there.",
    "allocator": "`release` comes once for each `acquire`, on every path, and may come late: free only what is the "
    "session's own. `reserve` comes before the first `acquire`.",
    "transport": "Without datagrams say so in LACKS, and payloads go on a stream. `dial` returns once the server's "
    "identity has been verified, not before: a credential follows at once. `closed` is the last event, once. "
    "To hold it against the whole contract, `vpnrs plugins check` needs a table for each side: the server's keys with "
    "`--set`, the client's with `--client-set`.",
    "engine": "An engine has no clock and no socket; the driver calls `transmit` and `timer` after every change. Test "
    "all four pairs with the built-in one, as the suite does.",
    "protocol": "Close every link that `gate.open` returned, once, also when you are cancelled. A refusal's detail is "
    "for the server's log and never goes over the wire. What a stranger sends ends its connection, not the server.",
    "codec": "Return None for what you do not take, never an empty list. `decode` sees what anyone may send: bound "
    "what it may become, and drop instead of raising.",
    "scheduler": "It is called for every batch, and nothing else runs meanwhile. Yield each packet for at least one of "
    "the links that you were given.",
    "service": "Let CancelledError through. Block in a thread (`asyncio.to_thread`), never in the loop; come back with "
    "`ctx.from_thread`.",
    "store": "Compare versions for equality only. `watch` yields None when something was missed. Nothing on the packet "
    "path waits for a store, so it may be slow; it may not be wrong.",
    "grant": "You see who has authenticated, which no admission check does. Rates belong here: the core paces and "
    "polices them by segment, where a stage that drops super-packets would hit whole bursts.",
    "command": "The handler runs in the instance, the group in the user's process: the request's model is all that "
    "they share. Import the core in the group's file only, so that `vpnrs --help` stays quick.",
}


def howto(kind: Kind) -> str:
    protocols, file = SHOWN[kind.word]
    made = project(f"my_{kind.word}", kind.word)
    package = f"vpnrs_my_{kind.word}"
    suite = getattr(suites, kind.suite)
    title = TITLES.get(kind.word, kind.word)
    article = "an" if title[0] in "aeiou" else "a"
    choose = CHOOSE.get(kind.word, "It runs as soon as the plugin is on.").format(name=made.name)
    return "\n".join(
        [
            f"{NOTE}\n# How to write {article} {title}\n",
            f"It {kind.what}. Begin with one that works, and change it:\n",
            f"```sh\nvpnrs plugins new my_{kind.word} --kind {kind.word}\n```\n",
            f"{textwrap.fill(ADVICE[kind.word], 120)}\n",
            f"## Registered by `vpnrs_register_{kind.registry}`\n",
            f"{doc(getattr(hookspecs, f'vpnrs_register_{kind.registry}'))}\n",
            f"{choose}\n",
            f"## What `new` writes into {file}\n",
            f'```python title="{package}/{file}"\n{made.files[f"{package}/{file}"]}```\n',
            "## What it owes\n",
            *(entry(name, getattr(interfaces, name), 3) for name in protocols),
            f"## What `{kind.suite}` holds it to\n",
            f"{doc(suite)}\n",
            *(f"- {promise}" for promise in promises(suite)),
            "",
        ]
    )


def promises(suite: type) -> Iterator[str]:
    """The names of its tests, as sentences."""
    for name in dict.fromkeys(name for cls in suite.__mro__ for name in vars(cls) if name.startswith("test_")):
        yield name.removeprefix("test_").replace("_", " ")


def hooks() -> str:
    lines = inspect.getsource(hookspecs).splitlines()
    ordered = sorted(hook_names(), key=lambda name: next(n for n, line in enumerate(lines) if f"def {name}(" in line))
    parts = [NOTE, f"# Hooks\n\nVersion {HOOK_API} of the contract.\n\n{doc(hookspecs)}\n"]
    for name in ordered:
        function = getattr(hookspecs, name)
        parts.append(f"## `{name}`\n\n```python\n{signature(name, function)}\n```\n\n{doc(function)}\n")
    return "\n".join(parts)


def reference() -> str:
    """Everything in vpnrs_core.interfaces, then events and errors."""
    parts = [NOTE, "# Interfaces\n\nEverything here is imported from `vpnrs_core.interfaces`.\n"]
    parts += [entry(name, getattr(interfaces, name), 2) for name in sorted(interfaces.__all__)]
    for module, title in ((events, "Events"), (errors, "Errors")):
        parts.append(f"## {title}\n\n{doc(module)}\n")
        own = [(n, v) for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__]
        parts += [entry(name, value, 3) for name, value in own]
    return "\n".join(parts)


def testkit() -> str:
    parts = [NOTE, '# Test kit\n\n`pytest_plugins = ["vpnrs_core.testkit"]` in conftest.py; the extra is `testkit`.\n']
    parts.append("## Fixtures\n")
    for name, value in vars(kit).items():
        function = getattr(value, "__wrapped__", None) or getattr(value, "_fixture_function", None)
        if function is not None and inspect.isfunction(function) and not name.startswith(("pytest_", "_")):
            parts.append(f"### `{name}`\n\n{doc(function)}\n")
    parts.append(f"## Contract suites\n\n{doc(suites)}\n")
    for name in suites.__all__:
        suite = getattr(suites, name)
        parts += [f"### `{name}`\n\n{doc(suite)}\n", *(f"- {promise}" for promise in promises(suite)), ""]
    return "\n".join(parts)


def public() -> str:
    rows = "\n".join(f"| `{module}` | {what} |" for module, what in PUBLIC.items())
    return f"{NOTE}\n# Public names\n\n{PUBLIC_TEXT}\n\n| module | what |\n|---|---|\n{rows}\n"


PUBLIC_TEXT = """A plugin may import these modules of the core. What they hold changes as
[the changelog of the contract](../hook-changelog.md) says, and no other way. `vpnrs plugins check` warns of imports of
anything else, which may change with any release."""


def entry(name: str, value: Any, level: int) -> str:
    head = f"{'#' * level} `{name}`\n\n"
    if inspect.isfunction(value):
        return f"{head}```python\n{signature(name, value)}\n```\n\n{doc(value)}\n"
    if not inspect.isclass(value):
        return f"{head}`{str(value).replace('typing.', '').replace('|', 'or')}`\n"
    if issubclass(value, enum.Enum):
        return f"{head}{doc(value)}\n\n" + ", ".join(f"`{member.name}`" for member in value) + "\n"
    return f"{head}{doc(value)}\n\n{members(value)}"


def members(value: type) -> str:
    fields = {each.name: each for each in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    lines = []
    for name, annotation in inspect.get_annotations(value).items():
        if not name.startswith("_"):
            text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
            optional = name in fields and (
                fields[name].default is not dataclasses.MISSING
                or fields[name].default_factory is not dataclasses.MISSING
            )
            lines.append(f"`{name}: {text}`" + (" (may be left out)" if optional else ""))
    for name, part in vars(value).items():
        function = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        shown = (
            f"{name} -> {inspect.signature(function).return_annotation}"
            if isinstance(part, property)
            else signature(name, function)
        )
        text = doc(function)
        lines.append(f"`{shown}`" + (f": {' '.join(text.split())}" if text else ""))
    return "\n".join(f"- {line}" for line in lines) + ("\n" if lines else "")


def signature(name: str, function: Callable[..., Any]) -> str:
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    return f"{kind}{name}{inspect.signature(function)}".replace("'", "")


def doc(thing: Any) -> str:
    found = inspect.cleandoc(thing.__doc__ or "").replace("PYTEST_DONT_REWRITE", "").strip()
    # What dataclasses write for who writes nothing.
    return "" if inspect.isclass(thing) and found.startswith(f"{thing.__name__}(") else found


FILES: Mapping[str, Callable[[], str]] = {
    "reference/hooks.md": hooks,
    "reference/interfaces.md": reference,
    "reference/testkit.md": testkit,
    "reference/public.md": public,
    **{f"howto/{word}.md": (lambda kind=kind: howto(kind)) for word, kind in BY_WORD.items()},
}
