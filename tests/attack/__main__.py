"""The attacks by hand, as root: python -m tests.attack [NAME ...]. Namespaces only; nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from tests.attack.cases import CASES, Case
from tests.attack.field import Field
from tests.netns.stranger import stranger
from vpnrs_core.testkit.tunnel import TunnelNet


async def attack(field: Field, case: Case) -> None:
    async with stranger(field.net, 1) as one:
        await case(field, one)


def main(names: list[str]) -> None:
    with TunnelNet(clients=2) as net:
        field = Field(net)
        for case in CASES:
            if not names or case.__name__ in names:
                began, before = time.monotonic(), field.transfer.bytes
                asyncio.run(attack(field, case))
                field.is_well()
                took = time.monotonic() - began
                speed = (field.transfer.bytes - before) / took / 1e6
                print(f"{case.__name__:55} {took:5.1f} s, the file meanwhile at {speed:4.1f} MB/s", flush=True)
        field.transfer.finish()
        status = field.status()
        print(f"the file arrived intact: {field.transfer.bytes / 1e6:.1f} MB")
        print("dropped:", json.dumps(status["drops"]))
        print("door:", json.dumps(status["server"]["door"]))
        print(net.vpnrs("ratelimit", "status", "--instance", "server"))
        field.is_clean()
        net.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
