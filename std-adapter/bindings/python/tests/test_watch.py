"""Tests watches of parameters and of stream files."""

from __future__ import annotations

import asyncio
import os
import struct
import unittest

from datakit import Client, Dialect, PermissionDenied
from server import SETTINGS, SettingsServer
from test_hostile import message, text, well_behaved, with_server

OPEN_KINDS = {Dialect.LEGACY: 112, Dialect.UNIX: 112, Dialect.LINUX: 12}
# The mode byte of Topen and the flags of Tlopen that open a file for reading with the append flag.
FOLLOW = {Dialect.LEGACY: 0x80, Dialect.UNIX: 0x80, Dialect.LINUX: 0o2000}


class Parameters(unittest.TestCase):
    @unittest.skipUnless(os.path.exists(SETTINGS), f"{SETTINGS} has not been built")
    def test_a_watch_of_a_parameter_returns_every_value(self) -> None:
        async def test(address: str, dialect: Dialect) -> None:
            async with await Client.connect(address, dialect=dialect) as client:
                await client.write("/params/pool/most", b"10")
                async with await client.watch("/params/pool/most") as values:
                    self.assertEqual(await values.__anext__(), b"10\n")
                    for value in (b"20", b"30"):
                        await client.write("/params/pool/most", value)
                        self.assertEqual(await values.__anext__(), value + b"\n")
                self.assertEqual(await client.read("/params/pool/most"), b"30\n")

        with SettingsServer() as server:
            for dialect in Dialect:
                with self.subTest(dialect.value):
                    asyncio.run(asyncio.wait_for(test(server.address, dialect), 60))


class Opening(unittest.TestCase):
    """Tests how a watch opens its file."""

    def modes(self, dialect: Dialect, refused: int) -> "tuple[list[int], list[bytes]]":
        """Watches a file on a server that refuses ``refused`` requests to open a file.

        Returns the modes of these requests and the deliveries.
        """
        modes: list[int] = []
        reads = [b"one", b"", b""]

        def answer(kind: int, tag: int, body: bytes) -> bytes:
            if kind == 100:
                return message(101, tag, struct.pack("<I", 8192) + text(dialect.value))
            if kind == OPEN_KINDS[dialect]:
                modes.append(int.from_bytes(body[4:], "little"))
                if len(modes) > refused:
                    return message(kind + 1, tag, b"\0" * 17)
                if dialect is Dialect.LINUX:
                    return message(7, tag, struct.pack("<I", 1))
                number = struct.pack("<I", 1) if dialect is Dialect.UNIX else b""
                return message(107, tag, text("Operation not permitted") + number)
            if kind == 116:
                data = reads.pop(0)
                return message(117, tag, struct.pack("<I", len(data)) + data)
            return well_behaved(kind, tag, body)

        deliveries: list[bytes] = []

        async def test(address: str) -> None:
            async with await Client.connect(address, dialect=dialect) as client:
                async with await client.watch("/f") as watch:
                    async for delivery in watch:
                        deliveries.append(delivery)

        asyncio.run(asyncio.wait_for(with_server(answer, test), 20))
        return modes, deliveries

    def test_a_watch_sets_the_append_flag(self) -> None:
        for dialect in Dialect:
            with self.subTest(dialect.value):
                self.assertEqual(self.modes(dialect, 0), ([FOLLOW[dialect]], [b"one"]))

    def test_a_watch_works_if_the_server_refuses_the_append_flag(self) -> None:
        for dialect in Dialect:
            with self.subTest(dialect.value):
                self.assertEqual(self.modes(dialect, 1), ([FOLLOW[dialect], 0], [b"one"]))

    def test_a_watch_fails_if_the_server_refuses_both_modes(self) -> None:
        for dialect in Dialect:
            with self.subTest(dialect.value), self.assertRaises(PermissionDenied):
                self.modes(dialect, 2)


if __name__ == "__main__":
    unittest.main()
