"""Tests transactions, watches, fetches and names beyond what the conformance table covers."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import tempfile
import unittest
from typing import Awaitable, Callable

from datakit import (
    Client,
    Commit,
    Conflict,
    Database,
    Dialect,
    DoesNotExist,
    Error,
    InvalidBranch,
    InvalidHash,
    InvalidPath,
    NewFile,
    OpenConflicts,
    ServerError,
    TransactionEnded,
)
from datakit.names import branch_of_file_name, branch_to_file_name, check_hash, parse_path
from server import Server


class Blocks(unittest.TestCase):
    def run_database(self, test: Callable[[Database], Awaitable[None]], *options: str) -> None:
        """Runs a test against a new server."""

        async def connected(address: str) -> None:
            async with await Database.connect(address, uname="ada") as database:
                await test(database)

        with Server(*options) as server:
            asyncio.run(asyncio.wait_for(connected(server.address), 60))

    def test_a_block_without_a_commit_aborts(self) -> None:
        async def test(database: Database) -> None:
            master = await database.branch("master")
            async with master.transaction() as transaction:
                await transaction.create_file("a", b"1")
            self.assertTrue(transaction.ended)
            self.assertIsNone(await master.head())
            with self.assertRaises(ZeroDivisionError):
                async with master.transaction() as transaction:
                    await transaction.create_file("a", b"1")
                    raise ZeroDivisionError
            self.assertTrue(transaction.ended)
            self.assertEqual(await database.client.entries("/branch/master/transactions"), [])
            with self.assertRaises(TransactionEnded):
                await transaction.commit("Too late")
            with self.assertRaises(TransactionEnded):
                await master.transaction().create_file("a", b"never started")

        self.run_database(test)

    def test_a_failed_commit_leaves_the_transaction_open(self) -> None:
        async def test(database: Database) -> None:
            master = await database.branch("master")
            async with master.transaction() as first, master.transaction() as second:
                await first.create_file("a", b"1")
                await second.create_file("a", b"2")
                await first.commit("First")
                with self.assertRaisesRegex(Conflict, "a"):
                    await second.commit("Second")
                self.assertFalse(second.ended)
                await second.replace_file("a", b"1")
                await second.commit("Second")

        self.run_database(test)

    def test_the_error_of_a_merge_names_the_conflicts(self) -> None:
        async def test(database: Database) -> None:
            one, two = await database.branch("one"), await database.branch("two")
            await one.commit_files("One", [NewFile("d/f", b"1")])
            commit = await two.commit_files("Two", [NewFile("d/f", b"2")])
            with self.assertRaisesRegex(OpenConflicts, f"{commit}: d/f"):
                await one.merge(commit, "Merge")

        self.run_database(test)

    def test_the_author_is_the_user_unless_the_transaction_sets_it(self) -> None:
        async def test(database: Database) -> None:
            master = await database.branch("master")
            await master.commit_files("First")
            async with master.transaction() as transaction:
                await transaction.set_author("Grace <grace@example.org>\n")
                await transaction.commit("Second")
            log = (await database.client.read("/branch/master/log")).decode().splitlines()
            authors = [line.split("\t")[3] for line in log]
            self.assertEqual(authors, ["Grace <grace@example.org>", "ada <ada@localhost>"])

        self.run_database(test)

    def test_the_reflog_returns_every_head(self) -> None:
        async def test(database: Database) -> None:
            master = await database.branch("master")
            async with master.reflog() as heads:
                commits = [await master.commit_files(f"Commit {n}") for n in range(3)]
                await master.remove()
                seen = [await heads.__anext__() for _ in range(4)]
            self.assertEqual(seen, [*commits, None])

        self.run_database(test)

    def test_many_watches_and_requests_share_a_connection(self) -> None:
        async def test(database: Database) -> None:
            master = await database.branch("master")
            watches = [master.watch_head() for _ in range(40)]
            for watch in watches:
                self.assertIsNone(await watch.__anext__())
            waiting = [asyncio.ensure_future(watch.__anext__()) for watch in watches]
            await asyncio.sleep(0)
            commit = await master.commit_files("First", [NewFile("a", b"x" * 1_000_000)])
            self.assertEqual(await asyncio.gather(*waiting), [commit] * 40)
            for watch in watches:
                watch.close()

        self.run_database(test)

    def test_a_branch_is_fetched(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            environment = {
                **os.environ,
                "GIT_AUTHOR_NAME": "a",
                "GIT_AUTHOR_EMAIL": "a@b",
                "GIT_COMMITTER_NAME": "a",
                "GIT_COMMITTER_EMAIL": "a@b",
            }

            def git(*arguments: str) -> str:
                command = ["git", "-C", directory, *arguments]
                return subprocess.check_output(command, text=True, env=environment).strip()

            git("init", "--quiet", "--initial-branch=main")
            pathlib.Path(directory, "file").write_text("content")
            git("add", "file")
            git("commit", "--quiet", "--message=First")

            async def test(database: Database) -> None:
                fetched = await database.fetch(directory, "main")
                self.assertEqual(fetched.hash, git("rev-parse", "main"))
                self.assertEqual(await fetched.tree().read_file("file"), b"content")
                self.assertEqual(await database.client.entries("/remotes"), [])
                with self.assertRaises(Error):
                    await database.fetch(directory, "nope")
                self.assertEqual(await database.client.entries("/remotes"), [])

            self.run_database(test)

    def test_a_failed_fetch_reports_the_whole_reason(self) -> None:
        async def test(address: str, dialect: Dialect) -> None:
            async with await Client.connect(address, dialect=dialect) as client:
                database = Database(client)
                with self.assertRaises(ServerError) as caught:
                    await database.fetch("/nonexistent/repository", "main")
                # An error reply truncates the text, and has no text in 9P2000.L.
                text = str(caught.exception)
                start = "error: cannot fetch /nonexistent/repository: fatal: "
                self.assertTrue(text.startswith(start), text)
                self.assertTrue(text.endswith("and the repository exists."), text)
                # The server ignores an empty command.
                for branch in ("", " ", "a..b"):
                    with self.assertRaises(InvalidBranch):
                        await asyncio.wait_for(database.fetch("/nonexistent", branch), 20)
                self.assertEqual(await client.entries("/remotes"), [])

        with Server() as server:
            for dialect in Dialect:
                with self.subTest(dialect.value):
                    asyncio.run(asyncio.wait_for(test(server.address, dialect), 60))


class Names(unittest.TestCase):
    def test_paths(self) -> None:
        self.assertEqual(parse_path(""), [])
        self.assertEqual(parse_path("a/b c/é"), ["a", "b c", "é"])
        for wrong in ("/", "/a", "a/", "a//b", ".", "a/..", "a\0b"):
            with self.assertRaises(InvalidPath):
                parse_path(wrong)

    def test_branch_names(self) -> None:
        for name in ("master", "a/b", "50%", "a%2Fb", "é+#@", "x" * 250):
            self.assertEqual(branch_of_file_name(branch_to_file_name(name)), name)
        self.assertEqual(branch_to_file_name("a/b%"), "a%2Fb%25")
        for wrong in [
            "",
            "-a",
            "HEAD",
            "a b",
            "a..b",
            "a@{b",
            "a.",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a/.b",
        ] + ["a.lock", "a.lock/b", "a~", "a^", "a:", "a?", "a*", "a[", "a\\", "a\x7f", "x" * 251]:
            with self.assertRaises(InvalidBranch, msg=wrong):
                branch_to_file_name(wrong)

    def test_hashes(self) -> None:
        digits = "0123456789" * 4
        self.assertEqual(check_hash(f"{digits}\n"), digits)
        for wrong in ("", "hello", digits[1:], digits + "0", "A" * 40, "g" * 40):
            with self.assertRaises(InvalidHash):
                check_hash(wrong)

    def test_errors_are_subclasses_of_python_exceptions(self) -> None:
        error = DoesNotExist(2, "No such file or directory", "a/b")
        self.assertIsInstance(error, FileNotFoundError)
        self.assertEqual(str(error), "a/b: No such file or directory")
        self.assertEqual(error.errno, 2)
        self.assertIsInstance(InvalidHash(22, "x"), ValueError)

    def test_commits_are_compared_by_their_hash(self) -> None:
        class NoClient:
            pass

        client = NoClient()
        one, same = (Commit(client, "a" * 40) for _ in range(2))  # type: ignore[arg-type]
        self.assertEqual({one}, {same})
        self.assertNotEqual(one, Commit(client, "b" * 40))  # type: ignore[arg-type]


if __name__ == "__main__":
    unittest.main()
