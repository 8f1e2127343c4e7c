"""Encoding and decoding of 9P messages in the three dialects."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Optional

from .errors import ProtocolError, Unsupported

NOTAG = 0xFFFF
NOFID = 0xFFFF_FFFF
NONUNAME = 0xFFFF_FFFF
HEADER = 7
# The maximum number of bytes in a read or write message, not counting the data. The header of
# Twrite has 23 bytes: size, type, tag, fid, offset and count. The header of Rread is shorter.
IO_HEADER = 24
MAX_WALK_NAMES = 16

DMDIR = 0x8000_0000
DMSYMLINK = 0x0200_0000
QID_DIR = 0x80
QID_SYMLINK = 0x02


class Dialect(str, enum.Enum):
    """A version of the protocol."""

    LEGACY = "9P2000"
    UNIX = "9P2000.u"
    LINUX = "9P2000.L"


class T(enum.IntEnum):
    """The types of requests. The type of a reply is the type of its request plus 1."""

    LOPEN = 12
    LCREATE = 14
    SYMLINK = 16
    READLINK = 22
    GETATTR = 24
    SETATTR = 26
    READDIR = 40
    MKDIR = 72
    RENAMEAT = 74
    VERSION = 100
    ATTACH = 104
    FLUSH = 108
    WALK = 110
    OPEN = 112
    CREATE = 114
    READ = 116
    WRITE = 118
    CLUNK = 120
    REMOVE = 122
    STAT = 124
    WSTAT = 126


RLERROR = 7
RERROR = 107

_u16 = struct.Struct("<H")
_u32 = struct.Struct("<I")
_u64 = struct.Struct("<Q")
header = struct.Struct("<IBH")
_qid = struct.Struct("<BIQ")
_read = struct.Struct("<IBHIQI")


@dataclass(frozen=True)
class Qid:
    """The server's identifier for a file: the type bits, the version and a unique number."""

    kind: int
    version: int
    path: int

    def is_dir(self) -> bool:
        """Returns whether the file is a directory."""
        return self.kind & QID_DIR != 0


def text_to_bytes(text: str) -> bytes:
    """Encodes a string as UTF-8. Inverse of :func:`bytes_to_text`."""
    return text.encode("utf-8", "surrogateescape")


def bytes_to_text(data: bytes) -> str:
    """Decodes UTF-8. Bytes that are not valid UTF-8 become surrogates, as in os.fsdecode."""
    return data.decode("utf-8", "surrogateescape")


def u8(value: int) -> bytes:
    return bytes((value,))


def u16(value: int) -> bytes:
    return _u16.pack(value)


def u32(value: int) -> bytes:
    return _u32.pack(value)


def u64(value: int) -> bytes:
    return _u64.pack(value)


def string(text: str) -> bytes:
    """Encodes a string preceded by its 16-bit length."""
    data = text_to_bytes(text)
    if len(data) > 0xFFFF:
        raise Unsupported(f"a string has {len(data)} bytes; 9P allows at most 65535")
    if b"\0" in data:
        raise Unsupported(f"the string {text!r} contains a NUL byte, which 9P does not allow")
    return _u16.pack(len(data)) + data


def frame(kind: int, tag: int, *fields: bytes) -> bytes:
    """Returns a complete message."""
    body = b"".join(fields)
    return header.pack(HEADER + len(body), kind, tag) + body


def read_frame(tag: int, fid: int, offset: int, count: int) -> bytes:
    """Returns a complete Tread. This function is optimized because Tread is the most frequent
    message.
    """
    return _read.pack(23, T.READ, tag, fid, offset, count)


class Reader:
    """Decodes the body of a reply. Every method raises ProtocolError if the body is too short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def _fixed(self, layout: struct.Struct) -> int:
        try:
            (value,) = layout.unpack_from(self._body, self._at)
        except struct.error:
            raise ProtocolError("malformed reply: it ends in the middle of a number") from None
        self._at += layout.size
        return int(value)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return self._fixed(_u16)

    def u32(self) -> int:
        return self._fixed(_u32)

    def u64(self) -> int:
        return self._fixed(_u64)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._body):
            left = len(self._body) - self._at
            raise ProtocolError(f"malformed reply: a field has {count} bytes, but {left} are left")
        data = self._body[self._at : end]
        self._at = end
        return data

    def string(self) -> str:
        return bytes_to_text(self.take(self.u16()))

    def data(self) -> bytes:
        """Decodes bytes preceded by their 32-bit length."""
        return self.take(self.u32())

    def qid(self) -> Qid:
        try:
            kind, version, path = _qid.unpack_from(self._body, self._at)
        except struct.error:
            raise ProtocolError("malformed reply: it ends in the middle of a qid") from None
        self._at += _qid.size
        return Qid(kind, version, path)

    def left(self) -> int:
        """Returns the number of bytes that have not been decoded."""
        return len(self._body) - self._at

    def end(self) -> None:
        """Raises ProtocolError if any bytes are left."""
        if self.left():
            raise ProtocolError(f"malformed reply: {self.left()} unexpected bytes at the end")


@dataclass(frozen=True)
class Stat:
    """A 9P2000 or 9P2000.u stat structure. ``extension`` is None in 9P2000."""

    qid: Qid
    mode: int
    atime: int
    mtime: int
    length: int
    name: str
    uid: str
    gid: str
    extension: Optional[str]


def read_stat(reader: Reader, dialect: Dialect) -> Stat:
    """Decodes one stat structure and its 16-bit size."""
    inner = Reader(reader.take(reader.u16()))
    inner.take(6)
    qid = inner.qid()
    mode, atime, mtime = inner.u32(), inner.u32(), inner.u32()
    length = inner.u64()
    name, uid, gid, _muid = inner.string(), inner.string(), inner.string(), inner.string()
    extension = None
    if dialect is Dialect.UNIX:
        extension = inner.string()
        inner.take(12)
    inner.end()
    return Stat(qid, mode, atime, mtime, length, name, uid, gid, extension)


def wstat_body(
    dialect: Dialect,
    mode: int = 0xFFFF_FFFF,
    length: int = 0xFFFF_FFFF_FFFF_FFFF,
    name: str = "",
) -> bytes:
    """Encodes the stat structure for Twstat.

    The server leaves a field unchanged if all of its bits are set or it is an empty string.
    """
    empty = b"\0\0"
    fields = [
        b"\xff" * 6,
        b"\xff" * 13,
        u32(mode),
        b"\xff" * 8,
        u64(length),
        string(name),
        empty,
        empty,
        empty,
    ]
    if dialect is Dialect.UNIX:
        fields += [empty, b"\xff" * 12]
    stat = b"".join(fields)
    return u16(len(stat) + 2) + u16(len(stat)) + stat
