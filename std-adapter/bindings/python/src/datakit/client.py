"""A 9P client."""

from __future__ import annotations

import asyncio
import os
import socket
from types import TracebackType
from typing import Optional, Union

from . import wire
from .address import Address, Tcp, parse_address
from .connection import BACKGROUND_TAGS, Connection
from .errors import (
    AlreadyExists,
    ConnectionLost,
    DoesNotExist,
    InvalidPath,
    IsDirectory,
    NotDirectory,
    ServerError,
    server_error,
)
from .fid import Fid
from .file import MAX_FILE, Deliveries, File, OpenMode, run_together
from .listing import Entry
from .metadata import Metadata
from .wire import Dialect, Reader, T, u32

# The dialects that the client offers to the server, in this order. 9P2000.u comes first because its
# errors have both a number and a message.
DIALECTS = (Dialect.UNIX, Dialect.LINUX, Dialect.LEGACY)
# A message of this size has room for 128 KiB of data.
DEFAULT_MSIZE = (128 << 10) + wire.IO_HEADER
MIN_MSIZE = 256
# The maximum number of entries for which a 9P2000.L directory listing reads attributes
# concurrently.
LISTING_CONCURRENCY = 32


def split_names(path: str) -> list[str]:
    """Splits a path at slashes, omitting empty names and `.`."""
    return [name for name in path.split("/") if name not in ("", ".")]


def split_last(path: str) -> tuple[list[str], str]:
    """Splits a path into the names of its parent directories and its last name."""
    names = split_names(path)
    if not names or names[-1] == "..":
        raise InvalidPath(f"{path!r}: the path must end in a name, for example etc/hosts")
    return names[:-1], names[-1]


class Client:
    """A connection to a server, attached to a root directory.

    Any number of tasks may use a client at the same time, and their requests are pipelined. If a
    task is cancelled, the client cancels its request with Tflush. If the connection is lost, all
    calls raise ConnectionLost. The client does not reconnect.
    """

    def __init__(self, connection: Connection, root: Fid, address: str) -> None:
        self._connection = connection
        self._root = root
        self.address = address

    @classmethod
    async def connect(
        cls,
        address: Union[str, Address] = "localhost",
        *,
        dialect: Optional[Dialect] = None,
        msize: int = DEFAULT_MSIZE,
        uname: Optional[str] = None,
        aname: str = "/",
        timeout: float = 10.0,
        max_requests: int = 32,
        max_fids: int = 65536,
    ) -> "Client":
        """Connects to a server, negotiates a dialect and attaches to the root.

        ``dialect`` is the only dialect that the client offers. By default, it offers 9P2000.u,
        9P2000.L and 9P2000. ``msize`` is the maximum message size in bytes. ``uname`` is the user
        name. It defaults to the value of the ``USER`` environment variable, or to ``nobody``.
        ``timeout`` is the maximum duration of this call in seconds.

        A call waits while ``max_requests`` requests are in flight or ``max_fids`` fids are in use.
        Reads of stream files do not count as requests in flight. By default, a DataKit server
        refuses a request that would have to wait if 63 other requests on the connection are already
        waiting.

        Raises ConnectionLost if the client cannot connect in time, Unsupported if the server
        supports none of the dialects, ServerError if the server refuses to attach, and ValueError
        if an argument is invalid.
        """
        target = parse_address(address) if isinstance(address, str) else address
        if not MIN_MSIZE <= msize <= 1 << 30:
            raise ValueError(f"msize is {msize}; it must be from {MIN_MSIZE} to {1 << 30}")
        if not 1 <= max_requests < wire.NOTAG - BACKGROUND_TAGS:
            limit = wire.NOTAG - BACKGROUND_TAGS - 1
            raise ValueError(f"max_requests is {max_requests}; it must be from 1 to {limit}")
        if not 2 <= max_fids < wire.NOFID:
            raise ValueError(f"max_fids is {max_fids}; it must be from 2 to {wire.NOFID - 1}")
        connection = Connection(msize, max_requests, max_fids)
        try:
            return await asyncio.wait_for(
                cls._establish(connection, target, dialect, uname, aname), timeout
            )
        except asyncio.TimeoutError:
            await connection.close()
            raise ConnectionLost(f"{target}: could not connect within {timeout} s") from None
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def _establish(
        cls,
        connection: Connection,
        target: Address,
        dialect: Optional[Dialect],
        uname: Optional[str],
        aname: str,
    ) -> "Client":
        loop = asyncio.get_running_loop()
        try:
            if isinstance(target, Tcp):
                transport, _ = await loop.create_connection(
                    lambda: connection, target.host, target.port
                )
                enable_keep_alive(transport.get_extra_info("socket"))
            else:
                await loop.create_unix_connection(lambda: connection, target.path)
        except OSError as error:
            raise ConnectionLost(f"{target}: {error.strerror or error}") from error
        await connection.negotiate([dialect] if dialect else list(DIALECTS))
        return cls(connection, await attach(connection, uname, aname), str(target))

    @property
    def dialect(self) -> Dialect:
        """The negotiated dialect."""
        return self._connection.dialect

    @property
    def msize(self) -> int:
        """The maximum message size in bytes."""
        return self._connection.msize

    @property
    def closed(self) -> bool:
        """True if the connection has been closed or lost."""
        return self._connection.is_closed()

    async def close(self) -> None:
        """Closes the connection. Calls waiting for a reply raise ConnectionLost."""
        await self._connection.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Client({self.address}, {self.dialect.value})"

    # ---- Files

    async def walk(self, path: str) -> Fid:
        """Returns a fid for the file at a path. Ignores empty names and `.` in the path."""
        return await self.walk_names(split_names(path))

    async def walk_names(self, names: list[str]) -> Fid:
        """Returns a fid for the file at a path given as a list of names."""
        try:
            return await self._root.walk(names)
        except ServerError as error:
            error.path = "/".join(names)
            raise

    async def open(self, path: str, mode: OpenMode = OpenMode.READ) -> File:
        """Opens a file or a directory."""
        async with await self.walk(path) as fid:
            return await fid.open(mode)

    async def create(
        self, path: str, permissions: int = 0o666, mode: OpenMode = OpenMode.WRITE
    ) -> File:
        """Creates a file and opens it."""
        directory, name = split_last(path)
        async with await self.walk_names(directory) as fid:
            return await fid.create(name, permissions, mode)

    async def read(self, path: str, limit: int = MAX_FILE) -> bytes:
        """Reads a whole file. For a stream file, returns one delivery (see :meth:`watch`).

        Raises TooLong if there are more than ``limit`` bytes.
        """
        async with await self._walk_to_file(path) as fid:
            async with await fid.open() as file:
                return await file.read_all(limit)

    async def write(self, path: str, data: bytes) -> None:
        """Replaces the content of a file, creating it if it does not exist."""
        async with await self.open_to_write(path) as file:
            await file.write_all(data)
            await file.finish()

    async def open_to_write(self, path: str) -> File:
        """Opens a file for writing and truncates it, creating it if it does not exist."""
        try:
            fid = await self._walk_to_file(path)
        except DoesNotExist:
            try:
                return await self.create(path, 0o666, OpenMode.WRITE | OpenMode.TRUNCATE)
            except AlreadyExists:
                # Another task or client created the file in the meantime.
                fid = await self._walk_to_file(path)
        async with fid:
            try:
                return await fid.open(OpenMode.WRITE | OpenMode.TRUNCATE)
            except ServerError:
                # Some control files cannot be truncated.
                return await fid.open(OpenMode.WRITE)

    async def _walk_to_file(self, path: str) -> Fid:
        fid = await self.walk(path)
        if fid.is_dir():
            fid.close()
            raise IsDirectory(21, "Is a directory", path)
        return fid

    async def stat(self, path: str) -> Metadata:
        """Reads the attributes of a file."""
        async with await self.walk(path) as fid:
            return await fid.stat()

    async def entries(self, path: str) -> list[Entry]:
        """Lists a directory. In 9P2000.L, the entries do not have attributes."""
        async with await self.walk(path) as fid:
            if not fid.is_dir():
                raise NotDirectory(20, "Is not a directory", path)
            async with await fid.open() as file:
                return await file.entries()

    async def list(self, path: str) -> "list[tuple[str, Metadata]]":
        """Lists a directory along with the attributes of its entries.

        Omits files that are removed during the call.
        """
        entries = await self.entries(path)
        listing: "list[tuple[str, Metadata]]" = []
        for start in range(0, len(entries), LISTING_CONCURRENCY):
            part = entries[start : start + LISTING_CONCURRENCY]
            found = await run_together(self._attributes(path, entry) for entry in part)
            listing += [(entry.name, at) for entry, at in zip(part, found) if at is not None]
        return listing

    async def _attributes(self, path: str, entry: Entry) -> Optional[Metadata]:
        if entry.metadata is not None:
            return entry.metadata
        try:
            async with await self.walk_names([*split_names(path), entry.name]) as fid:
                return await fid.stat()
        except DoesNotExist:
            return None

    async def mkdir(self, path: str, permissions: int = 0o755) -> None:
        """Creates a directory."""
        directory, name = split_last(path)
        async with await self.walk_names(directory) as fid:
            await fid.mkdir(name, permissions)

    async def symlink(self, path: str, target: str) -> None:
        """Creates a symbolic link at ``path``."""
        directory, name = split_last(path)
        async with await self.walk_names(directory) as fid:
            await fid.symlink(name, target)

    async def read_link(self, path: str) -> str:
        """Reads the target of a symbolic link."""
        async with await self.walk(path) as fid:
            return await fid.read_link()

    async def remove(self, path: str) -> None:
        """Removes a file, a link or an empty directory."""
        fid = await self.walk(path)
        await fid.remove()

    async def rename(self, old: str, new: str) -> None:
        """Renames a file. Only 9P2000.L can move a file to another directory."""
        (old_dir, old_name), (new_dir, new_name) = split_last(old), split_last(new)
        if self.dialect is Dialect.LINUX:
            async with await self.walk_names(old_dir) as source:
                async with await self.walk_names(new_dir) as target:
                    await source.rename_at(old_name, target, new_name)
            return
        if old_dir != new_dir:
            raise server_error(18, "", old)
        async with await self.walk(old) as fid:
            await fid.set_name(new_name)

    async def watch(self, path: str) -> Deliveries:
        """Opens a stream file or a parameter. Use the result with ``async with`` and ``async for``.

        The deliveries of a parameter are its current value and each value that is set afterwards.
        """
        async with await self.walk(path) as fid:
            try:
                # The append flag makes reads of a parameter wait for the next value.
                return Deliveries(await fid.open(OpenMode.READ | OpenMode.APPEND))
            except ServerError:
                # A server that supports the flag only for writes may refuse to open the file.
                return Deliveries(await fid.open())


async def attach(connection: Connection, uname: Optional[str], aname: str) -> Fid:
    """Sends Tattach and returns the root fid."""
    name, number = uname, wire.NONUNAME
    if name is None:
        name = os.environ.get("USER") or "nobody"
        number = os.getuid() if hasattr(os, "getuid") else wire.NONUNAME
    fid = await connection.take_fid()
    fields = [u32(fid), u32(wire.NOFID), wire.string(name), wire.string(aname)]
    if connection.dialect is not Dialect.LEGACY:
        fields.append(u32(number))

    def abandoned(reply: Optional[Reader]) -> None:
        if reply is not None:
            connection.clunk(fid)

    reply = await connection.call(T.ATTACH, *fields, abandoned=abandoned)
    return Fid(connection, fid, reply.qid())


def enable_keep_alive(tcp: socket.socket) -> None:
    """Enables keep-alive probes.

    A stream may send no data for days, so without these probes the client could not detect that the
    server is down.
    """
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):
            tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
