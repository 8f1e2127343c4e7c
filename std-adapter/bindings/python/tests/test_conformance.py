"""Runs the conformance table in all dialects."""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
import unittest
from typing import Any, Callable, Optional

from datakit import (
    Branch,
    Client,
    Commit,
    Database,
    Dialect,
    DirContent,
    DirValue,
    Error,
    FileContent,
    FileValue,
    LinkValue,
    NewFile,
    Transaction,
    Tree,
    Watch,
)
from server import Server

TABLE = pathlib.Path(__file__).resolve().parents[2] / "conformance.json"
# The maximum time in seconds that `next` waits for a value.
NEXT_TIMEOUT = 20
OFFERS = {
    Dialect.LEGACY: {"error_texts"},
    Dialect.UNIX: {"error_texts", "symlinks"},
    Dialect.LINUX: {"symlinks"},
}


def to_bytes(content: Any) -> bytes:
    """Decodes content from the table."""
    if isinstance(content, str):
        return content.encode()
    if "base64" in content:
        return base64.b64decode(content["base64"])
    text: str = content["repeat"]
    return text.encode() * int(content["times"])


def comparable(result: Any) -> Any:
    """Decodes the content in an expected result to bytes."""
    if isinstance(result, dict) and ({"base64", "repeat"} & result.keys()):
        return to_bytes(result)
    if isinstance(result, dict):
        return {k: to_bytes(v) if k in ("file", "exec") else v for k, v in result.items()}
    return result


class Runner:
    """Executes the steps of one test case on one connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.bound: dict[str, Any] = {}
        self.transactions: dict[str, Transaction] = {}
        self.watches: dict[str, Watch[Any]] = {}

    def resolve(self, value: Any) -> Any:
        """Replaces `$NAME` with the result that was bound to NAME."""
        if isinstance(value, str) and value.startswith("$"):
            return self.bound[value[1:]]
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return value

    async def step(self, step: dict[str, Any]) -> None:
        """Executes a step and compares its result with the expected result."""
        arguments = {key: self.resolve(value) for key, value in step.items()}
        kind: Optional[str] = None
        result: Any = None
        try:
            result = await self.execute(arguments)
        except Error as error:
            kind = error.kind
            if "error" not in step:
                raise
        if kind != step.get("error"):
            raise AssertionError(f"{step}: the error is {kind}, the result is {result!r}")
        if "bind" in step:
            self.bound[step["bind"]] = result
        if "expect" in step:
            expected = comparable(arguments["expect"])
            if isinstance(result, bytes) and isinstance(expected, str):
                expected = expected.encode()
            if result != expected:
                raise AssertionError(f"{step}: the result is {str(result)[:2000]!r}")

    async def execute(self, a: dict[str, Any]) -> Any:
        """Executes the operation of a step."""
        operation: Callable[[dict[str, Any]], Any] = getattr(self, "op_" + a["op"])
        return await operation(a)

    async def branch(self, a: dict[str, Any]) -> Branch:
        return await self.database.branch(a["branch"])

    def commit(self, hash: str) -> Commit:
        return Commit(self.database.client, hash)

    def tree(self, a: dict[str, Any]) -> Tree:
        if "commit" in a:
            return self.commit(a["commit"]).tree()
        if "tree" in a:
            return self.database.tree(a["tree"])
        if "side" in a:
            tree: Tree = getattr(self.bound["merge of " + a["transaction"]], a["side"])
            return tree
        return self.transactions[a["transaction"]].tree()

    # ---- Branches and commits

    async def op_branches(self, a: dict[str, Any]) -> Any:
        return await self.database.branches()

    async def op_branch(self, a: dict[str, Any]) -> Any:
        await self.branch(a)

    async def op_remove_branch(self, a: dict[str, Any]) -> Any:
        await self.database.remove_branch(a["branch"])

    async def op_head(self, a: dict[str, Any]) -> Any:
        head = await (await self.branch(a)).head()
        return head and head.hash

    async def op_fast_forward(self, a: dict[str, Any]) -> Any:
        await (await self.branch(a)).fast_forward(self.commit(a["commit"]))

    async def op_commit_files(self, a: dict[str, Any]) -> Any:
        files = [
            NewFile(file["path"], to_bytes(file["content"]), file.get("executable", False))
            for file in a["files"]
        ]
        branch = await self.branch(a)
        return (await branch.commit_files(a["message"], files, a.get("remove", []))).hash

    async def op_merge_branch(self, a: dict[str, Any]) -> Any:
        branch = await self.branch(a)
        return (await branch.merge(self.commit(a["commit"]), a["message"])).hash

    async def op_commit(self, a: dict[str, Any]) -> Any:
        return (await self.database.commit(a["hash"])).hash

    async def op_message(self, a: dict[str, Any]) -> Any:
        return await self.commit(a["commit"]).message()

    async def op_parents(self, a: dict[str, Any]) -> Any:
        return [parent.hash for parent in await self.commit(a["commit"]).parents()]

    async def op_diff(self, a: dict[str, Any]) -> Any:
        old = self.commit(a["old"])
        if "transaction" in a:
            changes = await self.transactions[a["transaction"]].diff(old)
        else:
            changes = await self.commit(a["new"]).diff(old)
        return sorted(map(str, changes))

    # ---- Transactions

    async def op_begin(self, a: dict[str, Any]) -> Any:
        transaction = (await self.branch(a)).transaction()
        self.transactions[a["as"]] = await transaction.__aenter__()

    async def op_end_commit(self, a: dict[str, Any]) -> Any:
        return (await self.transactions[a["transaction"]].commit(a["message"])).hash

    async def op_abort(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].abort()

    async def op_create_dir(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].create_dir(a["path"])

    async def op_make_dirs(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].make_dirs(a["path"])

    async def op_create_file(self, a: dict[str, Any]) -> Any:
        content, executable = to_bytes(a["content"]), a.get("executable", False)
        await self.transactions[a["transaction"]].create_file(a["path"], content, executable)

    async def op_create_files(self, a: dict[str, Any]) -> Any:
        transaction, content = self.transactions[a["transaction"]], to_bytes(a["content"])
        paths = [f"{a['prefix']}{number}" for number in range(a["count"])]
        await asyncio.gather(*(transaction.create_file(path, content) for path in paths))

    async def op_create_symlink(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].create_symlink(a["path"], a["target"])

    async def op_replace_file(self, a: dict[str, Any]) -> Any:
        transaction = self.transactions[a["transaction"]]
        await transaction.replace_file(a["path"], to_bytes(a["content"]))

    async def op_create_or_replace_file(self, a: dict[str, Any]) -> Any:
        transaction = self.transactions[a["transaction"]]
        await transaction.create_or_replace_file(a["path"], to_bytes(a["content"]))

    async def op_set_executable(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].set_executable(a["path"], a["executable"])

    async def op_truncate(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].truncate(a["path"], a["length"])

    async def op_remove(self, a: dict[str, Any]) -> Any:
        await self.transactions[a["transaction"]].remove(a["path"])

    async def op_transaction_parents(self, a: dict[str, Any]) -> Any:
        parents = await self.transactions[a["transaction"]].parents()
        return [parent.hash for parent in parents]

    async def op_set_parents(self, a: dict[str, Any]) -> Any:
        parents = [self.commit(hash) for hash in a["parents"]]
        await self.transactions[a["transaction"]].set_parents(parents)

    async def op_merge(self, a: dict[str, Any]) -> Any:
        merged = await self.transactions[a["transaction"]].merge(self.commit(a["commit"]))
        self.bound["merge of " + a["transaction"]] = merged
        return sorted(merged.conflicts)

    async def op_conflicts(self, a: dict[str, Any]) -> Any:
        return sorted(await self.transactions[a["transaction"]].conflicts())

    # ---- Trees

    async def op_read(self, a: dict[str, Any]) -> Any:
        content = await self.tree(a).read(a["path"])
        if isinstance(content, FileContent):
            return {"file": content.data}
        if isinstance(content, DirContent):
            return {"dir": content.names}
        return {"link": content.target}

    async def op_read_file(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).read_file(a["path"])

    async def op_read_dir(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).read_dir(a["path"])

    async def op_count_dir(self, a: dict[str, Any]) -> Any:
        return len(await self.tree(a).read_dir(a["path"]))

    async def op_read_link(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).read_link(a["path"])

    async def op_stat(self, a: dict[str, Any]) -> Any:
        stat = await self.tree(a).stat(a["path"])
        return stat and {"kind": stat.kind.value, "size": stat.size}

    async def op_exists(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).exists(a["path"])

    async def op_exists_file(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).exists_file(a["path"])

    async def op_exists_dir(self, a: dict[str, Any]) -> Any:
        return await self.tree(a).exists_dir(a["path"])

    # ---- Watches

    async def op_watch_head(self, a: dict[str, Any]) -> Any:
        self.watches[a["as"]] = await (await self.branch(a)).watch_head().__aenter__()

    async def op_watch_path(self, a: dict[str, Any]) -> Any:
        watch = (await self.branch(a)).watch_path(a["path"])
        self.watches[a["as"]] = await watch.__aenter__()

    async def op_next(self, a: dict[str, Any]) -> Any:
        value = await asyncio.wait_for(self.watches[a["watch"]].__anext__(), NEXT_TIMEOUT)
        if isinstance(value, Commit):
            return value.hash
        if isinstance(value, FileValue):
            return {"exec" if value.executable else "file": value.data}
        if isinstance(value, LinkValue):
            return {"link": value.target}
        if isinstance(value, DirValue):
            return {"dir": await value.tree.read_dir("")}
        return value

    async def op_close_watch(self, a: dict[str, Any]) -> Any:
        self.watches[a["watch"]].close()


async def run_case(case: dict[str, Any], dialect: Dialect) -> None:
    """Runs a test case against a new server."""
    with Server() as server:
        async with await Client.connect(server.address, dialect=dialect) as client:
            assert client.dialect is dialect
            runner = Runner(Database(client))
            for step in case["steps"]:
                await runner.step(step)


class Conformance(unittest.TestCase):
    def run_table(self, dialect: Dialect) -> None:
        table = json.loads(TABLE.read_text(encoding="utf-8"))
        self.assertEqual(table["version"], 1)
        ran = 0
        for case in table["cases"]:
            if set(case.get("needs", [])) <= OFFERS[dialect]:
                ran += 1
                with self.subTest(case["name"]):
                    asyncio.run(run_case(case, dialect))
        self.assertGreater(ran, 30)

    def test_9p2000(self) -> None:
        self.run_table(Dialect.LEGACY)

    def test_9p2000_u(self) -> None:
        self.run_table(Dialect.UNIX)

    def test_9p2000_l(self) -> None:
        self.run_table(Dialect.LINUX)


if __name__ == "__main__":
    unittest.main()
