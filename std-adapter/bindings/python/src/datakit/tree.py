"""Read access to the files of a tree."""

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
    """The kind of an entry, as Git distinguishes them."""

    FILE = "file"
    EXEC = "exec"
    LINK = "link"
    DIR = "dir"


@dataclass(frozen=True)
class Stat:
    """The kind of an entry, and its size in bytes, which is 0 for directories."""

    kind: Kind
    size: int


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file, executable or not."""

    data: bytes


@dataclass(frozen=True)
class DirContent:
    """The names in a directory, sorted by their bytes."""

    names: list[str]


@dataclass(frozen=True)
class LinkContent:
    """The target of a symbolic link."""

    target: str


Content = Union[FileContent, DirContent, LinkContent]


class Tree:
    """The tree of a commit, of a transaction, or one that is found by its id.

    Paths are names separated by single slashes; "" is the root. Every call sends requests.
    Methods raise InvalidPath for other paths, DoesNotExist if nothing is at the path, and
    NotDirectory if a name in it other than the last is a file.
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
        """Reads an entry of any kind."""
        at = self._path(path)
        async with await at.walk() as fid:
            kind, metadata = await _kind_of(fid)
            if kind is Kind.DIR:
                return DirContent(await at.names_in())
            if kind is Kind.LINK:
                return LinkContent(await _target(fid, metadata))
            return FileContent(await _content(fid))

    async def read_file(self, path: str) -> bytes:
        """Reads a file, executable or not. Raises NotFile for directories and links."""
        async with await self._path(path).walk() as fid:
            kind, _ = await _kind_of(fid)
            if kind in (Kind.DIR, Kind.LINK):
                raise NotFile(f"{path}: it is a {kind.value}, not a file")
            return await _content(fid)

    async def read_dir(self, path: str) -> list[str]:
        """Returns the names in a directory, sorted by their bytes."""
        at = self._path(path)
        async with await at.walk() as fid:
            kind, _ = await _kind_of(fid)
        if kind is not Kind.DIR:
            raise NotDirectory(20, f"it is a {kind.value}, not a directory", path)
        return await at.names_in()

    async def read_link(self, path: str) -> str:
        """Reads the target of a link. Raises NotSymlink for everything else."""
        async with await self._path(path).walk() as fid:
            kind, metadata = await _kind_of(fid)
            if kind is not Kind.LINK:
                raise NotSymlink(f"{path}: it is a {kind.value}, not a symbolic link")
            return await _target(fid, metadata)

    async def stat(self, path: str) -> Optional[Stat]:
        """Returns the kind and the size, or None if nothing is at the path."""
        try:
            async with await self._path(path).walk() as fid:
                kind, metadata = await _kind_of(fid)
        except (DoesNotExist, NotDirectory):
            return None
        return Stat(kind, 0 if kind is Kind.DIR else metadata.length)

    async def exists(self, path: str) -> bool:
        """Tells whether anything is at the path."""
        return await self.stat(path) is not None

    async def exists_file(self, path: str) -> bool:
        """Tells whether anything but a directory is at the path."""
        stat = await self.stat(path)
        return stat is not None and stat.kind is not Kind.DIR

    async def exists_dir(self, path: str) -> bool:
        """Tells whether a directory is at the path."""
        stat = await self.stat(path)
        return stat is not None and stat.kind is Kind.DIR


async def _kind_of(fid: Fid) -> tuple[Kind, Metadata]:
    """Uses the mode, because qids of the original server do not mark links."""
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
