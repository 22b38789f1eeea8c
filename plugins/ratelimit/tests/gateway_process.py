"""One gateway in a process of its own, on a store that it shares: commands in, answers out, a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from ratelimit_world import Gateway
from shared_store import SharedStore


class Commands:
    """What a line may ask, `open` first."""

    def __init__(self) -> None:
        self._gateway = Gateway()

    async def open(self, path: str, ahead: float, config: dict[str, Any]) -> None:
        """`ahead`: as on another host, whose monotonic clock has nothing to do with ours."""
        store = SharedStore(Path(path), time.monotonic)
        self._gateway = Gateway(time.monotonic, store, ahead=ahead, **config)

    async def attempt(self, credential: str, good: bool = False) -> list[object]:
        """→ [code or None, retry_after or None]."""
        answer = await self._gateway.attempt(credential, good=good)
        code = getattr(answer, "code", None)
        return [code.value if code else None, getattr(answer, "retry_after", None)]

    async def fail(self, times: int, prefix: str) -> int:
        """So many attempts, each with another credential → how many blocks of all they began."""
        for number in range(times):
            await self._gateway.attempt(f"{prefix}{number}")
        return int(self._gateway.samples().get("blocks_begun:global", 0))

    async def unblock(self, who: str) -> int:
        return int((await self._gateway.ask("unblock", who=who))["lifted"])


def main() -> None:
    commands = Commands()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(asyncio.run(getattr(commands, name)(*arguments))), flush=True)


if __name__ == "__main__":
    main()
