"""Access to the branches, commits and trees in a database."""

from __future__ import annotations

from types import TracebackType
from typing import Iterable, NamedTuple, Optional, Union

from .address import Address
from .client import Client
from .commit import Commit
from .errors import Error, InvalidPath, OpenConflicts
from .names import branch_of_file_name, branch_to_file_name, check_branch, check_hash, parse_path
from .remote_path import RemotePath
from .transaction import Transaction, unique_name
from .tree import Tree
from .watch import PathValue, Watch, read_value


class NewFile(NamedTuple):
    """A file that :meth:`Branch.commit_files` creates or replaces."""

    path: str
    content: bytes
    executable: bool = False


class Database:
    """A database on a server.

    All handles returned by a database use the database's connection. Use the database with ``async
    with``, or call ``close``::

        async with await Database.connect("localhost") as database:
            master = await database.branch("master")
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    async def connect(
        cls, address: Union[str, Address] = "localhost", *, uname: Optional[str] = None
    ) -> "Database":
        """Connects to a server. ``uname`` is the author of commits.

        Raises the same exceptions as :meth:`Client.connect`.
        """
        return cls(await Client.connect(address, uname=uname))

    async def close(self) -> None:
        """Closes the connection. Closing the connection aborts open transactions."""
        await self.client.close()

    async def __aenter__(self) -> "Database":
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    def _entry(self, *names: str) -> RemotePath:
        return RemotePath(self.client, names)

    async def branches(self) -> list[str]:
        """Returns the branch names in byte order.

        A branch without commits is listed only on the connection that created it.
        """
        names = await self._entry("branch").names_in()
        branches = [branch_of_file_name(name) for name in names]
        return sorted(branches, key=lambda name: name.encode("utf-8", "surrogateescape"))

    async def branch(self, name: str) -> "Branch":
        """Returns a handle to a branch. If the branch does not exist, its first commit creates it.

        Raises InvalidBranch if the name is not a valid Git branch name.
        """
        branch = Branch(self.client, name)
        await self._entry("branch").mkdir(branch.file_name)
        return branch

    async def remove_branch(self, name: str) -> None:
        """Removes a branch. Raises DoesNotExist if there is no branch with this name."""
        await Branch(self.client, name).remove()

    async def commit(self, hash: str) -> Commit:
        """Returns the commit with the given hash.

        Raises InvalidHash if ``hash`` is not a valid hash, and DoesNotExist if there is no such
        commit.
        """
        digits = check_hash(hash)
        await self._entry("commits", digits).read()
        return Commit(self.client, digits)

    def tree(self, id: str) -> Tree:
        """Returns the tree with an id such as ``D-HASH`` without sending a request.

        The root of the tree is a directory if the id has the form ``D-HASH``, a file if it has the
        form ``F-HASH`` or ``X-HASH``, and a link if it has the form ``L-HASH``.
        """
        names = parse_path(id)
        if len(names) != 1:
            raise InvalidPath(f"{id!r}: the id of a tree must have the form D-HASH")
        return Tree(self._entry("trees", id))

    async def fetch(self, url: str, branch: str) -> Commit:
        """Makes the server fetch a branch from another repository. Returns the head of that branch.

        Does not change any branch of this database. Raises InvalidBranch if the name is not a valid
        Git branch name, and ServerError with Git's reason if the server cannot fetch the branch.
        """
        # The server ignores an empty command, so `head` would never contain a hash.
        check_branch(branch)
        remotes, name = self._entry("remotes"), unique_name()
        remote = remotes.join(name)
        await remotes.mkdir(name)
        try:
            await remote.join("url").replace(url.encode())
            await remote.join("fetch").explained_command(branch)
            return Commit(self.client, await remote.join("head").read_text())
        finally:
            try:
                await remote.remove()
            except Error:
                # The original server does not remove remotes.
                pass


class Branch:
    """A branch, which may not have any commits yet. :meth:`Database.branch` returns it."""

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.file_name = branch_to_file_name(name)
        self._dir = RemotePath(client, ["branch", self.file_name])

    def __repr__(self) -> str:
        return f"Branch({self.name!r})"

    async def head(self) -> Optional[Commit]:
        """Returns the head, or None if the branch has no commits."""
        return self._head(await self._dir.join("head").read_text())

    def _head(self, line: str) -> Optional[Commit]:
        return Commit(self._dir.client, line) if line.strip() else None

    async def remove(self) -> None:
        """Removes the branch. Its commits remain available as long as they are reachable from
        another branch.
        """
        await self._dir.remove()

    async def fast_forward(self, commit: Commit) -> None:
        """Moves the branch to a commit.

        Raises NotFastForward if the branch's head is not an ancestor of the commit.
        """
        await self._dir.join("fast-forward").command(commit.hash)

    def transaction(self) -> Transaction:
        """Returns a new transaction. ``async with`` starts it."""
        return Transaction(self._dir)

    async def commit_files(
        self, message: str, files: Iterable[NewFile] = (), remove: Iterable[str] = ()
    ) -> Commit:
        """Makes a single commit that first removes paths and then creates or replaces files.

        Returns the new head.
        """
        async with self.transaction() as transaction:
            for path in remove:
                await transaction.remove(path)
            for file in files:
                await transaction.make_dirs("/".join(file.path.split("/")[:-1]))
                await transaction.create_file(file.path, file.content, file.executable)
            return await transaction.commit(message)

    async def merge(self, commit: Commit, message: str) -> Commit:
        """Merges a commit into the branch and returns the new head.

        If there are conflicts, commits nothing and raises OpenConflicts.
        """
        async with self.transaction() as transaction:
            conflicts = (await transaction.merge(commit)).conflicts
            if conflicts:
                listed = ", ".join(conflicts[:10]) + (", ..." if len(conflicts) > 10 else "")
                raise OpenConflicts(16, f"conflicts with {commit.hash}: {listed}")
            return await transaction.commit(message)

    def watch_head(self) -> Watch[Optional[Commit]]:
        """Watches the head. The watch returns the current head and then each new head.

        A head is None if the branch has no commits. If the head changes multiple times between two
        reads of the watch, the watch returns only the latest head.
        """
        return Watch(self._dir.join("head.live"), self._head_of_line)

    def reflog(self) -> Watch[Optional[Commit]]:
        """Watches all subsequent changes of the head without skipping any.

        A head is None if the branch was removed.
        """
        return Watch(self._dir.join("reflog"), self._head_of_line)

    async def _head_of_line(self, line: str) -> Optional[Commit]:
        return self._head(line)

    def watch_path(self, path: str) -> Watch[Optional[PathValue]]:
        """Watches a path. The watch returns the current value and then each new value.

        A value is None if the path does not exist.
        """
        nodes = [f"{name}.node" for name in parse_path(path)]
        live = self._dir.join("watch", *nodes, "tree.live")
        return Watch(live, lambda line: read_value(self._dir.client, line))
