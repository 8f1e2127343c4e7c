"""The entries of directories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .errors import ProtocolError
from .metadata import FileType, Metadata, metadata_of
from .wire import Dialect, Reader, read_stat

# The maximum number of names, and the maximum number of bytes, in one directory listing.
MAX_NAMES = 1_000_000
MAX_LISTING = 256 << 20


@dataclass(frozen=True)
class Entry:
    """A directory entry. In 9P2000.L, ``metadata`` is None."""

    name: str
    type: FileType
    metadata: Optional[Metadata] = None


def read_stats(data: bytes, entries: list[Entry], dialect: Dialect) -> None:
    """Decodes the stat structures returned by reading a directory."""
    reader = Reader(data)
    while reader.left():
        metadata = metadata_of(read_stat(reader, dialect))
        _append(entries, Entry(metadata.name, metadata.type, metadata))


def read_entries(data: bytes, entries: list[Entry], offset: int) -> int:
    """Decodes the entries in an Rreaddir. Returns the offset for the next Treaddir."""
    types = {4: FileType.DIR, 8: FileType.FILE, 10: FileType.LINK}
    reader = Reader(data)
    while reader.left():
        qid, offset, kind = reader.qid(), reader.u64(), reader.u8()
        name = reader.string()
        # Some servers do not send the type.
        known = types.get(kind) or (FileType.DIR if qid.is_dir() else FileType.OTHER)
        _append(entries, Entry(name, known))
    return offset


def _append(entries: list[Entry], entry: Entry) -> None:
    if entry.name in (".", ".."):
        return
    if not entry.name or "/" in entry.name:
        raise ProtocolError(f"the directory has an entry with the invalid name {entry.name!r}")
    entries.append(entry)
