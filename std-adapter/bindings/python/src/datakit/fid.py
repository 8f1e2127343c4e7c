"""Fids, which refer to files on the server."""

from __future__ import annotations

import asyncio
from typing import Optional, Sequence

from . import wire
from .errors import DoesNotExist, NotDirectory, ProtocolError, Unsupported, server_error
from .file import File, OpenMode, OwnedFid
from .metadata import FileType, Metadata, read_metadata
from .wire import Dialect, Qid, Reader, T, u8, u32, u64


class Fid(OwnedFid):
    """A fid that refers to a file or directory on the server and is not open.

    If the file is renamed, the fid still refers to it. Use a fid with ``async with``, or call
    ``close``.
    """

    def __repr__(self) -> str:
        return f"Fid({self._number}, {self.qid})"

    def is_dir(self) -> bool:
        """Returns whether the fid refers to a directory."""
        return self.qid.is_dir()

    async def walk(self, names: Sequence[str]) -> "Fid":
        """Returns a fid for a file in this directory or its subdirectories. Sends one request for
        every 16 names.
        """
        fid = await self._walk_new(names[: wire.MAX_WALK_NAMES])
        try:
            for at in range(wire.MAX_WALK_NAMES, len(names), wire.MAX_WALK_NAMES):
                await fid._walk_on(names[at : at + wire.MAX_WALK_NAMES])
        except BaseException:
            fid.close()
            raise
        return fid

    async def _walk_new(self, names: Sequence[str]) -> "Fid":
        connection = self._connection
        newfid = await connection.take_fid()
        body = _walk_body(self.number, newfid, names)

        def abandoned(reply: Optional[Reader]) -> None:
            if reply is not None and _walked_all(reply, names):
                connection.clunk(newfid)
            else:
                connection.release_fid(newfid)

        try:
            reply = await connection.call(T.WALK, body, abandoned=abandoned)
            qid = _last_qid(reply, names, self.qid)
        except asyncio.CancelledError:
            # `abandoned` clunks or releases the fid.
            raise
        except BaseException:
            connection.release_fid(newfid)
            raise
        return Fid(connection, newfid, qid)

    async def _walk_on(self, names: Sequence[str]) -> None:
        """Makes this fid refer to a file in its directory or subdirectories. If a name does not
        exist, the fid is left unchanged.
        """
        body = _walk_body(self.number, self.number, names)
        self.qid = _last_qid(await self._connection.call(T.WALK, body), names, self.qid)

    async def stat(self) -> Metadata:
        """Reads the attributes of the file."""
        return await read_metadata(self._connection, self.number)

    async def open(self, mode: OpenMode = OpenMode.READ) -> "File":
        """Opens the file. The returned file owns the fid, so this object must not be used again."""
        connection = self._connection
        if connection.dialect is Dialect.LINUX:
            fields = u32(self.number), u32(mode.linux_flags())
            return self._opened(await connection.call(T.LOPEN, *fields))
        fields = u32(self.number), u8(int(mode))
        return self._opened(await connection.call(T.OPEN, *fields))

    async def create(self, name: str, permissions: int, mode: OpenMode) -> "File":
        """Creates a file in this directory and opens it.

        The returned file owns the fid, so this object must not be used again.
        """
        connection = self._connection
        if connection.dialect is Dialect.LINUX:
            flags = mode.linux_flags() | 0o100
            fields = (u32(self.number), wire.string(name), u32(flags), u32(permissions), u32(0))
            return self._opened(await connection.call(T.LCREATE, *fields))
        return self._opened(await self._tcreate(name, permissions & 0o777, int(mode), ""))

    def _opened(self, reader: Reader) -> "File":
        qid, iounit = reader.qid(), reader.u32()
        connection = self._connection
        largest = connection.msize - wire.IO_HEADER
        unit = min(iounit, largest) if iounit else largest
        return File(connection, self.detach(), qid, unit)

    async def _tcreate(self, name: str, perm: int, mode: int, extension: str) -> Reader:
        fields = [u32(self.number), wire.string(name), u32(perm), u8(mode)]
        if self._connection.dialect is Dialect.UNIX:
            fields.append(wire.string(extension))
        return await self._connection.call(T.CREATE, *fields)

    async def mkdir(self, name: str, permissions: int = 0o755) -> None:
        """Creates a directory in this directory."""
        connection = self._connection
        if connection.dialect is Dialect.LINUX:
            fields = (u32(self.number), wire.string(name), u32(permissions), u32(0))
            await connection.call(T.MKDIR, *fields)
            return
        # Tcreate makes its fid refer to the new directory, so it is sent with a copy of this fid.
        async with await self.walk(()) as copy:
            await copy._tcreate(name, wire.DMDIR | permissions & 0o777, 0, "")

    async def symlink(self, name: str, target: str) -> None:
        """Creates a symbolic link in this directory. Raises Unsupported in 9P2000."""
        connection = self._connection
        if connection.dialect is Dialect.LEGACY:
            raise Unsupported("9P2000 has no symbolic links")
        if connection.dialect is Dialect.LINUX:
            fields = (u32(self.number), wire.string(name), wire.string(target), u32(0))
            await connection.call(T.SYMLINK, *fields)
            return
        async with await self.walk(()) as copy:
            await copy._tcreate(name, wire.DMSYMLINK | 0o777, 0, target)

    async def read_link(self) -> str:
        """Reads the target of a symbolic link."""
        connection = self._connection
        if connection.dialect is Dialect.LINUX:
            return (await connection.call(T.READLINK, u32(self.number))).string()
        metadata = await self.stat()
        if metadata.type is not FileType.LINK or metadata.target is None:
            raise server_error(22)
        return metadata.target

    async def remove(self) -> None:
        """Removes the file. The fid is closed even if the server does not remove the file."""
        await self._call_freeing(T.REMOVE)

    async def set_length(self, length: int) -> None:
        """Truncates the file or extends it with zeros."""
        if self._connection.dialect is Dialect.LINUX:
            await self._setattr(valid=0x8, size=length)
        else:
            await self._wstat(length=length)

    async def set_mode(self, mode: int) -> None:
        """Sets the permission bits of the file."""
        if self._connection.dialect is Dialect.LINUX:
            await self._setattr(valid=0x1, mode=mode & 0o7777)
        else:
            # Twstat must not change the directory bit.
            await self._wstat(mode=(wire.DMDIR if self.is_dir() else 0) | mode & 0o777)

    async def set_name(self, name: str) -> None:
        """Renames the file within its directory. Raises Unsupported in 9P2000.L."""
        if self._connection.dialect is Dialect.LINUX:
            raise Unsupported("9P2000.L does not support set_name; use rename_at")
        await self._wstat(name=name)

    async def rename_at(self, name: str, directory: "Fid", new_name: str) -> None:
        """Moves a file or directory out of this directory. Raises Unsupported in dialects other
        than 9P2000.L.
        """
        if self._connection.dialect is not Dialect.LINUX:
            raise Unsupported("only 9P2000.L supports rename_at")
        old = u32(self.number), wire.string(name)
        new = u32(directory.number), wire.string(new_name)
        await self._connection.call(T.RENAMEAT, *old, *new)

    async def _setattr(self, valid: int, mode: int = 0, size: int = 0) -> None:
        fields = u32(self.number), u32(valid), u32(mode), u32(0), u32(0), u64(size), bytes(32)
        await self._connection.call(T.SETATTR, *fields)

    async def _wstat(
        self, mode: int = 0xFFFF_FFFF, length: int = 0xFFFF_FFFF_FFFF_FFFF, name: str = ""
    ) -> None:
        body = wire.wstat_body(self._connection.dialect, mode, length, name)
        await self._connection.call(T.WSTAT, u32(self.number), body)


def _walk_body(fid: int, newfid: int, names: Sequence[str]) -> bytes:
    head = u32(fid) + u32(newfid) + wire.u16(len(names))
    return head + b"".join(map(wire.string, names))


def _walked_all(reply: Reader, names: Sequence[str]) -> bool:
    return reply.u16() == len(names)


def _last_qid(reply: Reader, names: Sequence[str], start: Qid) -> Qid:
    """Returns the qid of the last name, or raises an error if a name is missing."""
    count = reply.u16()
    if count > len(names):
        raise ProtocolError(f"the reply to a walk of {len(names)} names has {count} qids")
    qid = start
    for _ in range(count):
        qid = reply.qid()
    if count < len(names):
        if qid.is_dir():
            raise DoesNotExist(2, "No such file or directory")
        raise NotDirectory(20, "Is not a directory")
    return qid
