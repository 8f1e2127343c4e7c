"""Open files."""

from __future__ import annotations

import asyncio
import enum
from types import TracebackType
from typing import Coroutine, Iterable, Optional, TypeVar

from .connection import Connection
from .errors import ProtocolError, ServerError, TooLong
from .listing import MAX_LISTING, MAX_NAMES, Entry, read_entries, read_stats
from .metadata import read_metadata
from .wire import Dialect, Qid, Reader, T, u32, u64

# The maximum number of reads or writes that are in flight for a single file.
WINDOW = 8
# The default limit, in bytes, for the content of a file and for one delivery of a stream file.
MAX_FILE = 1 << 30

Self = TypeVar("Self", bound="OwnedFid")
Result = TypeVar("Result")


async def run_together(calls: Iterable[Coroutine[object, object, Result]]) -> list[Result]:
    """Runs calls concurrently and returns their results.

    If a call fails, cancels the other calls, waits for them to finish, and raises the exception.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class OpenMode(enum.IntFlag):
    """The mode for opening a file. TRUNCATE can be combined with WRITE or READ_WRITE.

    APPEND makes the server write at the end of the file, regardless of the offset. ``READ |
    APPEND`` makes reads of a parameter wait for the next value (see :meth:`Client.watch`).
    """

    READ = 0
    WRITE = 1
    READ_WRITE = 2
    TRUNCATE = 0x10
    APPEND = 0x80

    def linux_flags(self) -> int:
        """Returns the flags for Tlopen and Tlcreate."""
        truncate = 0o1000 if self & OpenMode.TRUNCATE else 0
        return int(self) & 3 | truncate | (0o2000 if self & OpenMode.APPEND else 0)


class OwnedFid:
    """A fid that is clunked in the background when it is closed or garbage-collected."""

    def __init__(self, connection: Connection, number: int, qid: Qid) -> None:
        self._connection = connection
        self._number = number
        self.qid = qid
        self._open = True
        self._loop = asyncio.get_running_loop()

    @property
    def number(self) -> int:
        """The fid's number in messages. Raises ValueError if the fid is closed."""
        if not self._open:
            raise ValueError("the fid is closed")
        return self._number

    def close(self) -> None:
        """Clunks the fid without waiting for the reply. Closing it again has no effect."""
        if self._open:
            self._open = False
            self._connection.clunk(self._number)

    def detach(self) -> int:
        """Transfers the number to the caller, which must free it. Marks this object as closed."""
        number = self.number
        self._open = False
        return number

    async def _call_freeing(self, kind: int) -> None:
        """Sends Tclunk or Tremove. Any reply frees the fid, even an error."""
        connection, number = self._connection, self.detach()

        def abandoned(reply: Optional[Reader]) -> None:
            # Without a reply, the fid may still exist on the server.
            if reply is None:
                connection.clunk(number)
            else:
                connection.release_fid(number)

        try:
            await connection.call(kind, u32(number), abandoned=abandoned)
        except asyncio.CancelledError:
            raise
        except BaseException:
            connection.release_fid(number)
            raise
        connection.release_fid(number)

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        """Clunks the fid if it has not been closed."""
        # The attribute does not exist if the constructor failed.
        if getattr(self, "_open", False) and not self._connection.is_closed():
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._connection.clunk, self._number)


class File(OwnedFid):
    """An open file. Use the file with ``async with``, or call ``close``.

    ``unit`` is the maximum number of bytes that one request reads or writes.
    """

    def __init__(self, connection: Connection, number: int, qid: Qid, unit: int) -> None:
        super().__init__(connection, number, qid)
        self.unit = unit

    def __repr__(self) -> str:
        return f"File({self._number}, {self.qid})"

    async def read_at(self, offset: int, count: int, stream: bool = False) -> bytes:
        """Reads at most ``count`` bytes with a single request. Returns b"" at the end of the file.

        Set ``stream`` if the server may delay the reply until it has data.
        """
        return await self._connection.read(self.number, offset, min(count, self.unit), stream)

    async def write_at(self, offset: int, data: bytes) -> int:
        """Writes at most ``unit`` bytes with a single request. Returns the number of bytes
        written.
        """
        piece = data[: self.unit]
        fields = u32(self.number), u64(offset), u32(len(piece)), piece
        taken = (await self._connection.call(T.WRITE, *fields)).u32()
        if taken > len(piece):
            raise ProtocolError(f"the reply to a write of {len(piece)} bytes reports {taken} bytes")
        return taken

    async def read_range(self, start: int, end: int) -> bytes:
        """Reads the bytes from offset ``start`` up to offset ``end`` or the end of the file,
        whichever comes first.

        If the server knows the length of the file, up to 8 reads are in flight at the same time.
        More data may follow a short read, so only an empty read marks the end of the file.
        """
        pieces: list[bytes] = []
        at, known_end = start, -1
        while at < end:
            piece = await self.read_at(at, end - at)
            if not piece:
                break
            pieces.append(piece)
            at += len(piece)
            if known_end < 0 and len(piece) == self.unit and at < end:
                known_end = min(end, await self._reliable_length())
            while known_end - at > self.unit:
                ahead = await self._read_ahead(at, known_end)
                if not ahead:
                    break
                pieces.append(ahead)
                at += len(ahead)
        return b"".join(pieces)

    async def _read_ahead(self, start: int, end: int) -> bytes:
        """Sends multiple reads at the same time and returns the data up to and including the first
        short read.
        """
        offsets = range(start, min(end, start + self.unit * WINDOW), self.unit)
        results = await run_together(self.read_at(at, end - at) for at in offsets)
        for number, piece in enumerate(results):
            if len(piece) < self.unit:
                return b"".join(results[: number + 1])
        return b"".join(results)

    async def _reliable_length(self) -> int:
        """Returns the length, or 0 if the server generates the content for each read."""
        metadata = await read_metadata(self._connection, self.number)
        return metadata.length if metadata.qid.version else 0

    async def read_all(self, limit: int = MAX_FILE) -> bytes:
        """Reads the whole file. For a stream file, returns one delivery (see :class:`Deliveries`).

        Raises TooLong if there are more than ``limit`` bytes.
        """
        data = await self.read_range(0, limit + 1)
        if len(data) > limit:
            raise TooLong(f"the file has more than {limit} bytes; read it in parts")
        return data

    async def write_all(self, data: bytes, offset: int = 0) -> None:
        """Writes all of the data, with up to 8 writes in flight at the same time."""
        step = self.unit * WINDOW
        for start in range(0, len(data), step):
            starts = range(start, min(start + step, len(data)), self.unit)
            pieces = [(offset + at, data[at : at + self.unit]) for at in starts]
            if len(pieces) == 1:
                await self._write_piece(*pieces[0])
            else:
                await run_together(self._write_piece(at, piece) for at, piece in pieces)

    async def _write_piece(self, offset: int, piece: bytes) -> None:
        taken = await self.write_at(offset, piece)
        while taken < len(piece):
            more = await self.write_at(offset + taken, piece[taken:])
            if more == 0:
                raise ServerError(5, "the server accepts no more data")
            taken += more

    async def finish(self) -> None:
        """Closes the file and waits for the reply, which may report an error from an earlier
        write.
        """
        await self._call_freeing(T.CLUNK)

    async def entries(self) -> list[Entry]:
        """Lists the directory in the server's order, without `.` and `..`."""
        entries: list[Entry] = []
        offset, total = 0, 0
        linux = self._connection.dialect is Dialect.LINUX
        while True:
            if linux:
                fields = u32(self.number), u64(offset), u32(self.unit)
                data = (await self._connection.call(T.READDIR, *fields)).data()
                offset = read_entries(data, entries, offset)
            else:
                data = await self.read_at(offset, self.unit)
                offset += len(data)
                read_stats(data, entries, self._connection.dialect)
            if not data:
                return entries
            total += len(data)
            if len(entries) > MAX_NAMES or total > MAX_LISTING:
                limits = f"{MAX_NAMES} names or {MAX_LISTING} bytes"
                raise TooLong(f"the listing of the directory has more than {limits}")


class Deliveries:
    """An async iterator over the pieces of data, called deliveries, that a stream file sends.

    The deliveries of a parameter are its values.

    An empty read marks the end of a delivery. Two empty reads in a row mark the end of the stream.
    If a call to ``__anext__`` is cancelled, no data is lost: the next call continues with the same
    delivery.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._offset = 0
        self._empty = False
        self._parts: list[bytes] = []
        self._size = 0

    def __aiter__(self) -> "Deliveries":
        return self

    async def __anext__(self) -> bytes:
        while True:
            data = await self._file.read_at(self._offset, self._file.unit, stream=True)
            self._offset += len(data)
            if data:
                self._empty = False
                self._parts.append(data)
                self._size += len(data)
                if self._size > MAX_FILE:
                    raise TooLong(f"a delivery of the stream has more than {MAX_FILE} bytes")
            elif self._empty:
                raise StopAsyncIteration
            else:
                self._empty = True
                if self._parts:
                    delivery = b"".join(self._parts)
                    self._parts, self._size = [], 0
                    return delivery

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    async def __aenter__(self) -> "Deliveries":
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
