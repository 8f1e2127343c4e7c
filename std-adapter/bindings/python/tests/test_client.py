"""Tests the 9P client against the scratch tree of a real server, in all dialects."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, Awaitable, Callable

from datakit import (
    AlreadyExists,
    Client,
    ConnectionLost,
    Database,
    Dialect,
    DoesNotExist,
    Error,
    FileType,
    InvalidPath,
    IsDirectory,
    NotDirectory,
    OpenMode,
    ServerError,
    TooLong,
    Unsupported,
    parse_address,
)
from server import Server


class Scratch(unittest.TestCase):
    """Starts one server for all tests."""

    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server("--scratch")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()

    def run_client(self, test: Callable[[Client], Awaitable[None]], **options: Any) -> None:
        """Runs a test once in each dialect, each time with a new connection."""

        async def connected(dialect: Dialect) -> None:
            options["dialect"] = dialect
            async with await Client.connect(self.server.address, **options) as client:
                await test(client)

        for dialect in Dialect:
            with self.subTest(dialect.value):
                asyncio.run(asyncio.wait_for(connected(dialect), 60))

    def test_files_and_directories(self) -> None:
        async def test(client: Client) -> None:
            top = f"/files{client.dialect.value}"
            await client.mkdir(top)
            await client.mkdir(f"{top}/d é")
            await client.write(f"{top}/d é/f", b"one")
            await client.write(f"{top}/d é/f", b"2")
            self.assertEqual(await client.read(f"{top}/d é/f"), b"2")
            stat = await client.stat(f"{top}/d é/f")
            self.assertEqual((stat.type, stat.length), (FileType.FILE, 1))
            self.assertEqual([name for name, _ in await client.list(top)], ["d é"])
            self.assertIs((await client.list(top))[0][1].type, FileType.DIR)
            await client.rename(f"{top}/d é/f", f"{top}/d é/g")
            self.assertEqual([e.name for e in await client.entries(f"{top}/d é")], ["g"])
            async with await client.walk(f"{top}/d é/g") as fid:
                await fid.set_mode(0o755)
                await fid.set_length(3)
                self.assertEqual((await fid.stat()).mode, 0o755)
            self.assertEqual(await client.read(f"{top}/d é/g"), b"2\0\0")
            await client.remove(f"{top}/d é/g")
            await client.remove(f"{top}/d é")

        self.run_client(test)

    def test_errors_are_typed(self) -> None:
        async def test(client: Client) -> None:
            file = f"/errors{client.dialect.value}"
            await client.write(file, b"x")
            with self.assertRaises(DoesNotExist) as caught:
                await client.read("/nope/x")
            self.assertIn("nope/x: No such file", str(caught.exception))
            with self.assertRaises(FileNotFoundError):
                await client.stat("/nope")
            with self.assertRaises(NotDirectory):
                await client.read(f"{file}/below")
            with self.assertRaises(NotDirectory):
                await client.entries(file)
            with self.assertRaises(IsDirectory):
                await client.read("/")
            with self.assertRaises(AlreadyExists):
                await client.mkdir(file)
            with self.assertRaises(InvalidPath):
                await client.mkdir("/..")
            with self.assertRaises(TooLong):
                await client.read(file, limit=0)
            with self.assertRaisesRegex(Unsupported, "NUL"):
                await client.walk("/a\0b")

        self.run_client(test)

    def test_links(self) -> None:
        async def test(client: Client) -> None:
            link = f"/link{client.dialect.value}"
            if client.dialect is Dialect.LEGACY:
                with self.assertRaises(Unsupported):
                    await client.symlink(link, "target")
                return
            await client.symlink(link, "to/é")
            self.assertEqual(await client.read_link(link), "to/é")
            self.assertIs((await client.stat(link)).type, FileType.LINK)

        self.run_client(test)

    def test_names_that_are_not_utf8_are_kept(self) -> None:
        async def test(client: Client) -> None:
            name = b"\xff\xfe".decode("utf-8", "surrogateescape") + client.dialect.value
            try:
                await client.write(f"/{name}", b"x")
            except ServerError:
                # The server may refuse such names.
                return
            self.assertIn(name, [entry.name for entry in await client.entries("/")])

        self.run_client(test)

    def test_large_files_and_directories_with_small_messages(self) -> None:
        async def test(client: Client) -> None:
            self.assertLessEqual(client.msize, 512)
            top = f"/small{client.dialect.value}"
            await client.mkdir(top)
            data = bytes(range(256)) * 64
            await client.write(f"{top}/large", data)
            self.assertEqual(await client.read(f"{top}/large"), data)
            async with await client.open(f"{top}/large") as file:
                self.assertEqual(await file.read_range(1000, 3000), data[1000:3000])
            names = [f"file {number}" for number in range(100)]
            await asyncio.gather(*(client.write(f"{top}/{name}", b"") for name in names))
            listed = {entry.name for entry in await client.entries(top)}
            self.assertEqual(listed, {"large", *names})

        self.run_client(test, msize=512)

    def test_paths_deeper_than_one_walk(self) -> None:
        async def test(client: Client) -> None:
            path = f"/deep{client.dialect.value}"
            await client.mkdir(path)
            for number in range(40):
                path += f"/{number}"
                await client.mkdir(path)
            await client.write(f"{path}/file", b"deep")
            self.assertEqual(await client.read(f"{path}/file"), b"deep")
            with self.assertRaises(DoesNotExist):
                await client.read(f"{path}/nope")
            with self.assertRaises(NotDirectory):
                await client.read(f"{path}/file/nope")

        self.run_client(test)

    def test_callers_wait_for_tags_and_fids(self) -> None:
        async def test(client: Client) -> None:
            file = f"/wait{client.dialect.value}"
            await client.write(file, b"x")
            reads = await asyncio.gather(*(client.read(file) for _ in range(200)))
            self.assertEqual(reads, [b"x"] * 200)

        self.run_client(test, max_requests=2, max_fids=3)

    def test_no_fid_leaks(self) -> None:
        async def test(client: Client) -> None:
            name = f"leak{client.dialect.value}"
            for _ in range(50):
                await client.write(f"/{name}", b"x")
                await client.remove(f"/{name}")
                for wrong in ("/nope/x", "/nope"):
                    with self.assertRaises(DoesNotExist):
                        await client.read(wrong)
                with self.assertRaises(Error):
                    await client.mkdir("/debug-nope/x")

        self.run_client(test, max_fids=4)

    def test_files_are_opened_in_every_mode(self) -> None:
        async def test(client: Client) -> None:
            path = f"/modes{client.dialect.value}"
            mode = OpenMode.READ_WRITE
            async with await client.create(path, 0o644, mode) as file:
                await file.write_all(b"hello")
                self.assertEqual(await file.read_all(), b"hello")
                await file.finish()
            async with await client.open(path, OpenMode.WRITE | OpenMode.TRUNCATE) as file:
                await file.write_all(b"x")
            self.assertEqual(await client.read(path), b"x")

        self.run_client(test)

    def test_a_garbage_collected_fid_is_clunked(self) -> None:
        async def test(client: Client) -> None:
            for _ in range(20):
                await client.walk("/")
                # The event loop sends the Tclunk that the garbage collector queued.
                await asyncio.sleep(0)
            await client.stat("/")

        self.run_client(test, max_fids=4)


class Cancelling(unittest.TestCase):
    def test_cancelled_reads_of_streams_are_flushed(self) -> None:
        async def test(address: str) -> None:
            async with await Client.connect(address, max_fids=8) as client:
                database = Database(client)
                master = await database.branch("master")
                # The loop has more iterations than there are fids.
                for _ in range(50):
                    async with master.watch_head() as heads:
                        self.assertIsNone(await heads.__anext__())
                        with self.assertRaises(asyncio.TimeoutError):
                            await asyncio.wait_for(heads.__anext__(), 0.005)
                commit = await master.commit_files("First")
                self.assertEqual(await master.head(), commit)

        with Server() as server:
            asyncio.run(asyncio.wait_for(test(server.address), 60))

    def test_a_watch_continues_after_a_timeout(self) -> None:
        async def test(address: str) -> None:
            async with await Database.connect(address) as database:
                master = await database.branch("master")
                async with master.watch_head() as heads:
                    self.assertIsNone(await heads.__anext__())
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(heads.__anext__(), 0.01)
                    commit = await master.commit_files("First")
                    self.assertEqual(await heads.__anext__(), commit)

        with Server() as server:
            asyncio.run(asyncio.wait_for(test(server.address), 60))

    def test_cancelled_requests_free_their_tags_and_fids(self) -> None:
        async def test(address: str) -> None:
            async with await Client.connect(address, max_fids=16, max_requests=4) as client:
                await client.write("/f", b"x" * 100_000)
                await client.mkdir("/d")
                for turns in range(200):
                    tasks = [
                        asyncio.ensure_future(client.read("/f")),
                        asyncio.ensure_future(client.write("/g", b"y")),
                        asyncio.ensure_future(client.list("/")),
                        asyncio.ensure_future(client.mkdir("/d")),
                    ]
                    for _ in range(turns % 40):
                        await asyncio.sleep(0)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                # All fids and tags are available again.
                reads = await asyncio.gather(*(client.read("/f") for _ in range(50)))
                self.assertEqual(reads, [b"x" * 100_000] * 50)
                files = [await client.walk("/f") for _ in range(15)]
                for file in files:
                    file.close()

        with Server("--scratch") as server:
            asyncio.run(asyncio.wait_for(test(server.address), 60))

    def test_a_transaction_of_a_cancelled_task_is_aborted(self) -> None:
        async def test(address: str) -> None:
            async with await Database.connect(address) as database:
                master = await database.branch("master")
                started = asyncio.Event()

                async def work() -> None:
                    async with master.transaction() as transaction:
                        await transaction.create_file("a", b"1")
                        started.set()
                        await asyncio.Event().wait()

                task = asyncio.ensure_future(work())
                await started.wait()
                entries = await database.client.entries("/branch/master/transactions")
                self.assertEqual(len(entries), 1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                while await database.client.entries("/branch/master/transactions"):
                    await asyncio.sleep(0.01)

        with Server() as server:
            asyncio.run(asyncio.wait_for(test(server.address), 60))


class Connecting(unittest.TestCase):
    def test_addresses(self) -> None:
        self.assertEqual(str(parse_address("host")), "tcp://host:5640")
        self.assertEqual(str(parse_address("tcp:host:1")), "tcp://host:1")
        self.assertEqual(str(parse_address("tcp://[::1]:2")), "tcp://[::1]:2")
        self.assertEqual(str(parse_address("::1")), "tcp://[::1]:5640")
        self.assertEqual(str(parse_address("./socket")), "unix://./socket")
        for wrong in ("", "host:x", "host:0", "host:65536", "http://x", "[::1"):
            with self.assertRaises(ValueError):
                parse_address(wrong)

    def test_a_refused_connection_names_the_address(self) -> None:
        with self.assertRaisesRegex(ConnectionLost, "tcp://127.0.0.1:1: "):
            asyncio.run(Client.connect("tcp://127.0.0.1:1"))

    def test_options_are_checked(self) -> None:
        for options in ({"msize": 10}, {"max_requests": 0}, {"max_fids": 1}):
            with self.assertRaises(ValueError):
                asyncio.run(Client.connect("localhost", **options))  # type: ignore[arg-type]

    def test_all_calls_fail_after_the_server_is_killed(self) -> None:
        async def test(server: Server) -> None:
            client = await Client.connect(server.address)
            stream = await client.watch("/branch")
            stream.close()
            master = await Database(client).branch("master")
            watch = master.watch_head()
            self.assertIsNone(await watch.__anext__())
            waiting = asyncio.ensure_future(watch.__anext__())
            await asyncio.sleep(0)
            server.stop()
            with self.assertRaises(ConnectionLost):
                await waiting
            with self.assertRaises(ConnectionLost):
                await client.read("/branch/master/head")
            await client.close()

        with Server() as server:
            asyncio.run(asyncio.wait_for(test(server), 60))


if __name__ == "__main__":
    unittest.main()
