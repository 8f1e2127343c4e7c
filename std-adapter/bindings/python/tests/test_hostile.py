"""Tests the client against servers that violate the protocol."""

from __future__ import annotations

import asyncio
import struct
import unittest
from random import Random
from typing import Awaitable, Callable

from datakit import Client, ConnectionLost, Dialect, Error, ProtocolError, Unsupported

Answer = Callable[[int, int, bytes], bytes]


def message(kind: int, tag: int, body: bytes) -> bytes:
    return struct.pack("<IBH", 7 + len(body), kind, tag) + body


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode())) + value.encode()


def well_behaved(kind: int, tag: int, body: bytes) -> bytes:
    """Returns a valid reply to Tversion, Tattach, Twalk, Topen or Tclunk. All names exist."""
    qid = b"\0" * 13
    if kind == 100:
        return message(101, tag, struct.pack("<I", 8192) + text("9P2000.u"))
    if kind == 104:
        return message(105, tag, b"\x80" + b"\0" * 12)
    if kind == 110:
        (count,) = struct.unpack_from("<H", body, 8)
        return message(111, tag, struct.pack("<H", count) + qid * count)
    if kind == 112:
        return message(113, tag, qid + b"\0" * 4)
    return message(kind + 1, tag, b"")


async def with_server(answer: Answer, test: Callable[[str], Awaitable[None]]) -> None:
    """Runs a server that replies to each request with the result of calling `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size, kind, tag = struct.unpack("<IBH", await reader.readexactly(7))
                body = await reader.readexactly(size - 7)
                writer.write(answer(kind, tag, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await test(f"tcp://127.0.0.1:{port}")
    finally:
        server.close()


class Hostile(unittest.TestCase):
    def read_with(self, answer: Answer, error: type[Exception], pattern: str) -> None:
        """Reads a file from a server and checks that the read raises an error."""

        async def test(address: str) -> None:
            async with await Client.connect(address) as client:
                with self.assertRaisesRegex(error, pattern):
                    await client.read("/f")

        asyncio.run(asyncio.wait_for(with_server(answer, test), 20))

    def connect_to(self, answer: Answer, error: type[Exception], pattern: str) -> None:
        async def test(address: str) -> None:
            with self.assertRaisesRegex(error, pattern):
                await Client.connect(address, dialect=Dialect.UNIX)

        asyncio.run(asyncio.wait_for(with_server(answer, test), 20))

    def on_read(self, reply: Callable[[int, bytes], bytes]) -> Answer:
        def answer(kind: int, tag: int, body: bytes) -> bytes:
            return reply(tag, body) if kind == 116 else well_behaved(kind, tag, body)

        return answer

    def test_a_frame_longer_than_the_msize_ends_the_connection(self) -> None:
        answer = self.on_read(lambda tag, body: struct.pack("<IBH", 8193, 117, tag))
        self.read_with(answer, ConnectionLost, "8193 bytes; the size must be from 7 to 8192")

    def test_a_frame_shorter_than_a_header_ends_the_connection(self) -> None:
        answer = self.on_read(lambda tag, body: struct.pack("<IBH", 6, 117, tag))
        self.read_with(answer, ConnectionLost, "6 bytes")

    def test_an_unknown_tag_ends_the_connection(self) -> None:
        answer = self.on_read(lambda tag, body: message(117, tag + 1, b"\0" * 4))
        self.read_with(answer, ConnectionLost, "the tag")

    def test_a_second_reply_ends_the_connection(self) -> None:
        reply = b"\x01\0\0\0x"
        answer = self.on_read(lambda tag, body: message(117, tag, reply) * 2)
        self.read_with(answer, ConnectionLost, "the tag")

    def test_a_reply_of_another_type_fails_the_call(self) -> None:
        answer = self.on_read(lambda tag, body: message(119, tag, b"\0" * 4))
        self.read_with(answer, ProtocolError, "of type 116 has the type 119")

    def test_more_data_than_requested_fails_the_call(self) -> None:
        data = struct.pack("<I", 8180) + b"x" * 8180
        answer = self.on_read(lambda tag, body: message(117, tag, data))
        self.read_with(answer, ProtocolError, "has 8180 bytes")

    def test_a_count_beyond_the_frame_fails_the_call(self) -> None:
        data = struct.pack("<I", 1000) + b"x"
        answer = self.on_read(lambda tag, body: message(117, tag, data))
        self.read_with(answer, ProtocolError, "a field has 1000 bytes, but 1 are left")

    def test_an_error_without_a_text_fails_the_call(self) -> None:
        answer = self.on_read(lambda tag, body: message(107, tag, b""))
        self.read_with(answer, ProtocolError, "malformed")

    def test_more_qids_than_names_fail_the_walk(self) -> None:
        def answer(kind: int, tag: int, body: bytes) -> bytes:
            if kind == 110:
                return message(111, tag, struct.pack("<H", 3) + b"\0" * 39)
            return well_behaved(kind, tag, body)

        self.read_with(answer, ProtocolError, "walk of 1 names has 3 qids")

    def test_a_wrong_msize_is_refused(self) -> None:
        for msize in (0, 255, 1 << 31):
            body = struct.pack("<I", msize) + text("9P2000.u")

            def answer(kind: int, tag: int, _: bytes) -> bytes:
                return message(101, tag, body)

            self.connect_to(answer, ProtocolError, str(msize))

    def test_an_unknown_version_is_refused(self) -> None:
        unknown = struct.pack("<I", 8192) + text("unknown")
        self.connect_to(lambda kind, tag, _: message(101, tag, unknown), Unsupported, "none of")
        other = struct.pack("<I", 8192) + text("9P2000.x")
        self.connect_to(lambda kind, tag, _: message(101, tag, other), ProtocolError, "9P2000.x")

    def test_a_server_that_does_not_speak_9p_is_refused(self) -> None:
        answer: Answer = lambda kind, tag, _: b"HTTP/1.1 400 Bad Request\r\n\r\n"
        self.connect_to(answer, ConnectionLost, "the size must be")

    def test_a_listing_with_a_slash_in_a_name_fails(self) -> None:
        stat = b"\0" * 39 + text("a/b") + text("") * 3 + text("") + b"\0" * 12
        data = struct.pack("<H", len(stat)) + stat

        def answer(kind: int, tag: int, body: bytes) -> bytes:
            if kind == 110:
                return message(111, tag, b"\x01\0\x80" + b"\0" * 12)
            if kind == 116:
                return message(117, tag, struct.pack("<I", len(data)) + data)
            return well_behaved(kind, tag, body)

        async def test(address: str) -> None:
            async with await Client.connect(address) as client:
                with self.assertRaisesRegex(ProtocolError, "a/b"):
                    await client.entries("/d")

        asyncio.run(asyncio.wait_for(with_server(answer, test), 20))

    def test_random_bodies_raise_only_errors_of_the_package(self) -> None:
        async def run(seed: int) -> None:
            random = Random(seed)
            answers = 0

            def answer(kind: int, tag: int, body: bytes) -> bytes:
                nonlocal answers
                answers += 1
                if answers > 30:
                    # The size of this frame is invalid, so the client closes the connection.
                    return b"\0" * 7
                if kind == 100:
                    version = list(Dialect)[seed % 3].value
                    return message(101, tag, struct.pack("<I", 8192) + text(version))
                if kind == 104 or random.random() < 0.5:
                    return well_behaved(kind, tag, body)
                reply = random.choice((kind + 1, kind + 1, 107, 7))
                return message(reply, tag, random.randbytes(random.randrange(80)))

            async def test(address: str) -> None:
                async with await Client.connect(address) as client:
                    for call in (client.read, client.stat, client.list, client.read_link):
                        try:
                            await call("/a/b")
                        except Error:
                            pass

            await with_server(answer, test)

        for seed in range(200):
            with self.subTest(seed):
                asyncio.run(asyncio.wait_for(run(seed), 20))


if __name__ == "__main__":
    unittest.main()
