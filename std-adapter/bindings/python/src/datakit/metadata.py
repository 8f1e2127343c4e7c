"""The attributes of files."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional

from . import wire
from .connection import Connection
from .wire import Dialect, Qid, Reader, T, u32, u64


class FileType(enum.Enum):
    """A file type."""

    FILE = "file"
    DIR = "dir"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True)
class Metadata:
    """The attributes of a file.

    ``mode`` contains the permission bits, ``length`` is in bytes, and ``mtime`` is in seconds since
    1970. ``target`` is the target of a symbolic link in 9P2000.u, and None otherwise. ``name`` is
    empty in 9P2000.L.
    """

    type: FileType
    mode: int
    length: int
    mtime: float
    name: str
    qid: Qid
    target: Optional[str] = None


def metadata_of(stat: wire.Stat) -> Metadata:
    """Converts a stat structure."""
    if stat.mode & wire.DMDIR:
        kind = FileType.DIR
    elif stat.mode & wire.DMSYMLINK and stat.extension is not None:
        kind = FileType.LINK
    else:
        kind = FileType.FILE
    target = stat.extension if kind is FileType.LINK else None
    mode = stat.mode & 0o777
    return Metadata(kind, mode, stat.length, stat.mtime, stat.name, stat.qid, target)


def linux_metadata(reader: Reader) -> Metadata:
    """Decodes Rgetattr."""
    reader.u64()
    qid, mode = reader.qid(), reader.u32()
    reader.take(24)
    length = reader.u64()
    reader.take(32)
    mtime = reader.u64() + reader.u64() / 1e9
    types = {0o040000: FileType.DIR, 0o120000: FileType.LINK, 0o100000: FileType.FILE}
    kind = types.get(mode & 0o170000, FileType.OTHER)
    return Metadata(kind, mode & 0o7777, length, mtime, "", qid)


async def read_metadata(connection: Connection, fid: int) -> Metadata:
    """Reads the attributes with Tstat or Tgetattr."""
    if connection.dialect is Dialect.LINUX:
        return linux_metadata(await connection.call(T.GETATTR, u32(fid), u64(0x7FF)))
    reader = await connection.call(T.STAT, u32(fid))
    reader.u16()
    return metadata_of(wire.read_stat(reader, connection.dialect))
