"""The attacks by hand, as root: python -m tests.attack [NAME ...] [--engine qh3].

Namespaces only; nothing stays behind."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from tests.attack.cases import CASES, Case
from tests.attack.field import Field
from tests.netns.stranger import stranger
from vpnrs_core.testkit.tunnel import TunnelNet


async def attack(field: Field, case: Case) -> None:
    async with stranger(field.net, 1) as one:
        await case(field, one)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attack")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(case.__name__ for case in CASES))
    parser.add_argument("--engine", default="aioquic", help="the server's QUIC engine; qh3 is a plugin")
    args = parser.parse_args()
    names = args.names
    with TunnelNet(clients=2) as net:
        field = Field(net, args.engine)
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
    main()
