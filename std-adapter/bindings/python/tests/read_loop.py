"""Reads a small file 1000 times, with 32 reads in flight, and prints the number of reads per
second.
"""

from __future__ import annotations

import asyncio
import time

from datakit import Client
from server import Server

READS = 1000
AT_A_TIME = 32


async def main() -> None:
    with Server("--scratch") as server:
        async with await Client.connect(server.address) as client:
            await client.write("/small", b"hello, world\n")
            left = iter(range(READS))

            async def read() -> None:
                for _ in left:
                    assert await client.read("/small") == b"hello, world\n"

            begin = time.perf_counter()
            await asyncio.gather(*(read() for _ in range(AT_A_TIME)))
            seconds = time.perf_counter() - begin
    print(f"python: {READS} pipelined reads: {READS / seconds:.0f}/s")


if __name__ == "__main__":
    asyncio.run(main())
