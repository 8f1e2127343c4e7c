"""Read access to the files in a tree."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Callable, Optional, Union

from .errors import DoesNotExist, NotDirectory, NotFile, NotSymlink
from .fid import Fid
from .metadata import FileType, Metadata
from .names import parse_path
from .remote_path import RemotePath


class Kind(enum.Enum):
    """The kind of an entry in a Git tree."""

    FILE = "file"
    EXEC = "exec"
    LINK = "link"
    DIR = "dir"


@dataclass(frozen=True)
class Stat:
    """The kind of a tree entry and its size in bytes, which is 0 for directories."""

    kind: Kind
    size: int


@dataclass(frozen=True)
class FileContent:
    """The content of a file. The file may be executable."""

    data: bytes


@dataclass(frozen=True)
class DirContent:
    """The names in a directory in byte order."""

    names: list[str]


@dataclass(frozen=True)
class LinkContent:
    """The target of a symbolic link."""

    target: str


Content = Union[FileContent, DirContent, LinkContent]


class Tree:
    """The tree of a commit, the tree of a transaction, or the tree with a given id.

    A path consists of names separated by single slashes. The empty path "" is the root. Every call
    sends requests. Methods raise InvalidPath if the path is invalid, DoesNotExist if it does not
    exist, and NotDirectory if one of its parents is a file.
    """

    def __init__(self, root: RemotePath, check: Optional[Callable[[], None]] = None) -> None:
        self._root = root
        self._check = check

    def __repr__(self) -> str:
        return f"Tree({self._root})"

    def _path(self, path: str) -> RemotePath:
        if self._check is not None:
            self._check()
        return self._root.join(*parse_path(path))

    async def read(self, path: str) -> Content:
        """Reads a tree entry of any kind."""
        at = self._path(path)
        async with await at.walk() as fid:
            kind, metadata = await _kind_of(fid)
            if kind is Kind.DIR:
                return DirContent(await at.names_in())
            if kind is Kind.LINK:
                return LinkContent(await _target(fid, metadata))
            return FileContent(await _content(fid))

    async def read_file(self, path: str) -> bytes:
        """Reads a file. The file may be executable. Raises NotFile for directories and links."""
        async with await self._path(path).walk() as fid:
            kind, _ = await _kind_of(fid)
            if kind in (Kind.DIR, Kind.LINK):
                raise NotFile(f"{path or '/'}: the kind of the entry is {kind.value}, not file")
            return await _content(fid)

    async def read_dir(self, path: str) -> list[str]:
        """Returns the names in a directory in byte order."""
        at = self._path(path)
        async with await at.walk() as fid:
            kind, _ = await _kind_of(fid)
        if kind is not Kind.DIR:
            raise NotDirectory(20, f"the kind of the entry is {kind.value}, not dir", path)
        return await at.names_in()

    async def read_link(self, path: str) -> str:
        """Reads the target of a link. Raises NotSymlink for files and directories."""
        async with await self._path(path).walk() as fid:
            kind, metadata = await _kind_of(fid)
            if kind is not Kind.LINK:
                raise NotSymlink(f"{path or '/'}: the kind of the entry is {kind.value}, not link")
            return await _target(fid, metadata)

    async def stat(self, path: str) -> Optional[Stat]:
        """Returns the kind and size of a tree entry, or None if the path does not exist."""
        try:
            async with await self._path(path).walk() as fid:
                kind, metadata = await _kind_of(fid)
        except (DoesNotExist, NotDirectory):
            return None
        return Stat(kind, 0 if kind is Kind.DIR else metadata.length)

    async def exists(self, path: str) -> bool:
        """Returns whether the path exists."""
        return await self.stat(path) is not None

    async def exists_file(self, path: str) -> bool:
        """Returns whether the path exists and is a file or a link."""
        stat = await self.stat(path)
        return stat is not None and stat.kind is not Kind.DIR

    async def exists_dir(self, path: str) -> bool:
        """Returns whether the path exists and is a directory."""
        stat = await self.stat(path)
        return stat is not None and stat.kind is Kind.DIR


async def _kind_of(fid: Fid) -> tuple[Kind, Metadata]:
    """Returns the kind and attributes of a tree entry.

    Uses the mode, because the original server's qids do not identify links.
    """
    metadata = await fid.stat()
    if metadata.type is FileType.DIR:
        return Kind.DIR, metadata
    if metadata.type is FileType.LINK:
        return Kind.LINK, metadata
    return (Kind.EXEC if metadata.mode & 0o100 else Kind.FILE), metadata


async def _content(fid: Fid) -> bytes:
    async with await fid.open() as file:
        return await file.read_all()


async def _target(fid: Fid, metadata: Metadata) -> str:
    if metadata.target is not None:
        return metadata.target
    return await fid.read_link()
