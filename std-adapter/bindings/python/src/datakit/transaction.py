"""Transactions, which change branches."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Iterable, Optional

from .commit import Change, Commit, parse_changes
from .errors import (
    AlreadyExists,
    DoesNotExist,
    Error,
    NotDirectory,
    ServerError,
    TransactionEnded,
)
from .file import OpenMode
from .names import parse_entry, parse_path
from .remote_path import RemotePath
from .tree import Tree
from .wire import Dialect, bytes_to_text

# The maximum number of attempts to find an unused name for a transaction's directory.
MAX_TRIES = 3


def unique_name() -> str:
    """Returns a random 63-bit number as a string. The number is very unlikely to be in use."""
    return str(secrets.randbits(63))


@dataclass(frozen=True)
class MergeResult:
    """The result of a merge.

    ``ours`` is the tree of the transaction before the merge, ``theirs`` is the tree of the merged
    commit, and ``base`` is the tree of their common ancestor. If there is no common ancestor,
    ``base`` is empty. The trees are valid until the next merge. ``conflicts`` lists the paths of
    the conflicting files. Each of these files describes its conflict and must be replaced or
    removed before the commit.
    """

    ours: Tree
    theirs: Tree
    base: Tree
    conflicts: list[str]


class Transaction:
    """Changes to a branch that are committed together or not at all.

    A transaction starts from the head of its branch. Committing the transaction merges it with
    later changes to the branch. Use ``async with``, which aborts the transaction unless it was
    committed::

        async with branch.transaction() as transaction:
            await transaction.create_file("hello", b"world")
            head = await transaction.commit("Say hello")

    After a commit or an abort, all methods except ``abort`` raise TransactionEnded.
    """

    def __init__(self, branch_dir: RemotePath) -> None:
        self._branch_dir = branch_dir
        self._dir: Optional[RemotePath] = None
        self._ended = False

    async def __aenter__(self) -> "Transaction":
        transactions = self._branch_dir.join("transactions")
        for tries in range(1, MAX_TRIES + 1):
            name = unique_name()
            try:
                await transactions.mkdir(name)
            except AlreadyExists:
                if tries == MAX_TRIES:
                    raise
            except asyncio.CancelledError:
                # The server may have created the transaction, which must not remain open.
                self._dir = transactions.join(name)
                self._abort_in_background()
                raise
            else:
                self._dir = transactions.join(name)
                break
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            # A cancelled task must not wait for the reply.
            self._abort_in_background()
        else:
            await self.abort()

    def _abort_in_background(self) -> None:
        task = asyncio.ensure_future(self.abort())
        _background.add(task)
        task.add_done_callback(_background.discard)

    def _check(self) -> None:
        if self._ended or self._dir is None:
            raise TransactionEnded("the transaction has ended, or was never started")

    def _file(self, name: str) -> RemotePath:
        self._check()
        assert self._dir is not None
        return self._dir.join(name)

    def _entry(self, path: str) -> tuple[RemotePath, str]:
        directory, name = parse_entry(path)
        return self._file("rw").join(*directory), name

    def _existing(self, path: str) -> RemotePath:
        directory, name = self._entry(path)
        return directory.join(name)

    @property
    def ended(self) -> bool:
        """True if the transaction has been committed or aborted."""
        return self._ended

    def tree(self) -> Tree:
        """Returns the current tree, which includes all changes made in the transaction."""
        return Tree(self._file("rw"), self._check)

    async def create_dir(self, path: str) -> None:
        """Creates a directory. A commit does not contain empty directories."""
        directory, name = self._entry(path)
        await directory.mkdir(name)

    async def make_dirs(self, path: str) -> None:
        """Creates a directory and any missing parents. Raises NotDirectory if one of them is a
        file.
        """
        names = parse_path(path)
        self._check()
        # Parents usually exist, so the search for the first missing directory starts at the end of
        # the path.
        missing: list[int] = []
        for end in range(len(names), 0, -1):
            here = "/".join(names[:end])
            try:
                await self.create_dir(here)
                break
            except AlreadyExists:
                if not await self.tree().exists_dir(here):
                    raise NotDirectory(20, "Is not a directory", here) from None
                break
            except DoesNotExist:
                missing.append(end)
        for end in reversed(missing):
            try:
                await self.create_dir("/".join(names[:end]))
            except AlreadyExists:
                # Another task created the directory in the meantime.
                pass

    async def create_file(self, path: str, content: bytes, executable: bool = False) -> None:
        """Creates a file, replacing any existing file or link. The parent directory must exist."""
        directory, name = self._entry(path)
        await self._remove_existing(directory, name)
        async with await directory.walk() as fid:
            async with await fid.create(name, permissions(executable), OpenMode.WRITE) as file:
                await file.write_all(content)
                await file.finish()

    async def create_symlink(self, path: str, target: str) -> None:
        """Creates a symbolic link, replacing any existing file or link.

        Raises Unsupported in 9P2000.
        """
        directory, name = self._entry(path)
        await self._remove_existing(directory, name)
        async with await directory.walk() as fid:
            await fid.symlink(name, target)

    async def _remove_existing(self, directory: RemotePath, name: str) -> None:
        """In 9P2000.L, removes an existing file.

        In this dialect, creating a file does not replace an existing file.
        """
        if directory.client.dialect is not Dialect.LINUX:
            return
        try:
            fid = await directory.join(name).walk_to_file()
        except DoesNotExist:
            return
        await fid.remove()

    async def replace_file(self, path: str, content: bytes) -> None:
        """Replaces the content of an existing file. An executable file remains executable."""
        await self._existing(path).replace(content)

    async def create_or_replace_file(self, path: str, content: bytes) -> None:
        """Replaces the content of a file, creating the file if it does not exist."""
        try:
            await self.replace_file(path, content)
        except DoesNotExist:
            await self.create_file(path, content)

    async def set_executable(self, path: str, executable: bool) -> None:
        """Sets whether a file is executable."""
        async with await self._existing(path).walk_to_file() as fid:
            await fid.set_mode(permissions(executable))

    async def truncate(self, path: str, length: int) -> None:
        """Truncates a file or extends it with zeros."""
        async with await self._existing(path).walk_to_file() as fid:
            await fid.set_length(length)

    async def remove(self, path: str) -> None:
        """Removes a file, a link, or a directory and its contents."""
        await self._existing(path).remove()

    async def parents(self) -> list[Commit]:
        """Reads the parents that the new commit will have."""
        file = self._file("parents")
        return [Commit(file.client, line) for line in (await file.read_text()).split()]

    async def set_parents(self, parents: Iterable[Commit]) -> None:
        """Sets the parents that the new commit will have. Changes no files."""
        lines = "".join(f"{parent.hash}\n" for parent in parents)
        await self._file("parents").replace(lines.encode())

    async def diff(self, old: Commit) -> list[Change]:
        """Reads the changes from ``old`` to the current tree."""
        return parse_changes(await self._file("diff").join(old.hash).read())

    async def merge(self, theirs: Commit) -> MergeResult:
        """Merges a commit and adds it to the parents. Conflicts do not raise an exception."""
        await self._file("merge").command(theirs.hash)
        ours, other, base = (
            Tree(self._file(name), self._check) for name in ("ours", "theirs", "base")
        )
        return MergeResult(ours, other, base, await self.conflicts())

    async def conflicts(self) -> list[str]:
        """Reads the paths that are still in conflict after the last merge."""
        try:
            data = await self._file("conflicts").read()
        except DoesNotExist:
            # The file does not exist until the first merge.
            return []
        return [line for line in bytes_to_text(data).split("\n") if line]

    async def set_author(self, author: str) -> None:
        """Sets the author of the commit, in the form ``NAME <EMAIL>``."""
        await self._file("author").replace(author.encode())

    async def commit(self, message: str) -> Commit:
        """Commits the changes, ends the transaction and returns the new head of the branch.

        Raises Conflict if the branch and the transaction both changed the same file, and
        OpenConflicts if a merge left conflicts that have not been resolved. After either error, the
        transaction remains open.
        """
        await self._file("msg").replace(message.encode())
        ctl = self._file("ctl")
        head = ""
        try:
            head = await ctl.command_with_reply("commit id")
        except ServerError as error:
            # The original server does not support the `id` argument.
            if not error.text.startswith("Unknown command "):
                raise
            await ctl.command("commit")
        self._ended = True
        if not head.strip():
            head = await self._branch_dir.join("head").read_text()
        return Commit(ctl.client, head)

    async def abort(self) -> None:
        """Ends the transaction without committing it. Does nothing if the transaction has already
        ended. Never fails.
        """
        if self._ended or self._dir is None:
            return
        self._ended = True
        try:
            await self._dir.join("ctl").command("close")
        except (Error, OSError):
            # If the connection is lost, the server aborts the transaction.
            pass


# The tasks that abort transactions. The event loop keeps only weak references to tasks, so this set
# keeps them alive.
_background: set["asyncio.Future[None]"] = set()


def permissions(executable: bool) -> int:
    """Returns the permission bits of a file."""
    return 0o755 if executable else 0o644
