"""Commits files to a branch, reads them and watches a file for changes.

    datakit serve &
    python examples/tour.py tcp://127.0.0.1:5640
"""

from __future__ import annotations

import asyncio
import sys

from datakit import Database


async def main(address: str) -> None:
    async with await Database.connect(address) as database:
        master = await database.branch("master")

        # A transaction is aborted at the end of the block unless it was committed.
        async with master.transaction() as transaction:
            await transaction.make_dirs("etc/app")
            await transaction.create_or_replace_file("etc/app/level", b"debug\n")
            head = await transaction.commit("Set the log level")
        print(await head.message(), await head.tree().read_dir("etc/app"))

        # A watch first returns the current value.
        async with master.watch_path("etc/app/level") as values:
            print(await values.__anext__())
            async with master.transaction() as transaction:
                await transaction.replace_file("etc/app/level", b"info\n")
                newer = await transaction.commit("Change the log level")
            print(await values.__anext__())

        print(*await newer.diff(head))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5640"))
