"""Commits."""

from __future__ import annotations

from dataclasses import dataclass

from .client import Client
from .errors import ProtocolError
from .names import check_hash
from .remote_path import RemotePath
from .tree import Tree
from .wire import bytes_to_text


@dataclass(frozen=True)
class Change:
    """A file that differs between two trees.

    ``sign`` is `+` if the file was added, `-` if it was removed, and `*` if it was updated.
    """

    sign: str
    path: str

    def __str__(self) -> str:
        return f"{self.sign} {self.path}"


class Commit:
    """A handle to a commit. Commits are immutable. Two handles compare equal if their hashes are
    equal.

    ``hash`` consists of 40 hex digits. Creating a handle sends no request. Use
    :meth:`Database.commit` to check that the commit exists.
    """

    def __init__(self, client: Client, hash: str) -> None:
        self.hash = check_hash(hash)
        self._dir = RemotePath(client, ["snapshots", self.hash])

    def tree(self) -> Tree:
        """Returns the tree of the commit."""
        return Tree(self._dir.join("ro"))

    async def message(self) -> str:
        """Reads the message. Bytes that are not valid UTF-8 are replaced with U+FFFD."""
        text = await self._dir.join("msg").read_text()
        # The server appends a newline to the message.
        return text[:-1] if text.endswith("\n") else text

    async def parents(self) -> "list[Commit]":
        """Reads the parents in the order in which the commit stores them."""
        text = await self._dir.join("parents").read_text()
        return [Commit(self._dir.client, line) for line in text.split()]

    async def diff(self, old: "Commit") -> list[Change]:
        """Reads the changes from ``old`` to this commit, sorted by path."""
        return parse_changes(await self._dir.join("diff", old.hash).read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Commit) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __str__(self) -> str:
        return self.hash

    def __repr__(self) -> str:
        return f"Commit({self.hash})"


def parse_changes(data: bytes) -> list[Change]:
    """Parses lines of the form `+ PATH`, `- PATH` or `* PATH`."""
    changes = []
    for line in filter(None, bytes_to_text(data).split("\n")):
        if line[:2] not in ("+ ", "- ", "* "):
            raise ProtocolError(f"a line of a diff has an invalid sign: {line!r}")
        changes.append(Change(line[0], line[2:]))
    return changes
