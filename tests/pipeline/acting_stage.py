"""Stages whose behaviour a test writes as a function: factories for both sides."""

from __future__ import annotations

from typing import Any


class Acting:
    """`act(direction, batch, out, now)` is `process`; further keyword arguments become methods."""

    def __init__(self, act: Any, methods: dict[str, Any], wake_at: Any) -> None:
        self.process = act
        self.wake_at = wake_at
        self.__dict__.update(methods)


class TunSide:
    def __init__(self, act: Any, name: str = "test", order: int = 100, **methods: Any) -> None:
        self.NAME, self.ORDER, self.act, self.methods = name, order, act, methods
        self.made: list[Acting] = []

    def tun(self, wake_at: Any) -> Acting:
        self.made.append(Acting(self.act, self.methods, wake_at))
        return self.made[-1]


class PeerSide:
    def __init__(self, act: Any, name: str = "test", order: int = 100, **methods: Any) -> None:
        self.NAME, self.ORDER, self.act, self.methods = name, order, act, methods
        self.made: dict[str, Acting] = {}

    def bind(self, session: Any, wake_at: Any) -> Acting:
        self.made[session.id] = Acting(self.act, self.methods, wake_at)
        return self.made[session.id]


class Watching:
    """An observer, tun-side."""

    def __init__(self, observe: Any, name: str = "watch", order: int = 50) -> None:
        self.NAME, self.ORDER, self.observe = name, order, observe

    def tun(self, wake_at: Any) -> Watching:
        return self


def forward_all(direction: Any, batch: Any, out: Any, now: float) -> None:
    for packet in batch:
        out.forward(packet)
