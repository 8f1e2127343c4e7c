"""A connection: it assigns tags to requests and passes replies back to the callers.

Requests of all tasks are collected until the event loop runs its next turn, and are then written
together. Replies may arrive in any order. A cancelled request is flushed: its tag stays in use
until the server has answered the Tflush, and what its reply would have created is given up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Callable, Optional, cast

from . import wire
from .errors import ConnectionLost, Error, ProtocolError, Unsupported, server_error
from .number_pool import NumberPool
from .wire import Dialect, Reader, T

# The number of bytes that may wait to be written before callers wait as well.
MAX_BACKLOG = 1 << 20
# How many tags are kept for reads of streams, and for Tclunk and Tflush, for which nobody waits.
BACKGROUND_TAGS = 32768
# How many seconds a server may take to accept the last requests.
CLOSE_TIMEOUT = 1.0


@dataclass
class Request:
    """A request in flight."""

    kind: int
    reply: Optional["asyncio.Future[Reader]"]
    # Called with the reply, or with None if there is none, when nobody waits for it.
    abandoned: Optional[Callable[[Optional[Reader]], None]] = None
    flushing: bool = False


class Connection(asyncio.Protocol):
    """The protocol object of one transport."""

    def __init__(self, msize: int, max_requests: int, max_fids: int) -> None:
        self.dialect = Dialect.LEGACY
        self.msize = msize
        self._tags = NumberPool(max_requests)
        self._background_tags = NumberPool(BACKGROUND_TAGS)
        self._max_requests = max_requests
        self._fids = NumberPool(max_fids)
        self._requests: dict[int, Request] = {}
        self._input = bytearray()
        self._output: list[bytes] = []
        self._output_size = 0
        self._transport: Optional[asyncio.Transport] = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.get_running_loop().create_future()
        self._lost: Optional[ConnectionLost] = None

    # ---- Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_BACKLOG)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._fail(ConnectionLost(f"connection lost: {exc or 'the server closed it'}"))
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        buffer = self._input
        buffer += data
        start, end = 0, len(buffer)
        while end - start >= wire.HEADER:
            size, kind, tag = wire.header.unpack_from(buffer, start)
            if not wire.HEADER <= size <= self.msize:
                self._abort(f"a reply has {size} bytes; allowed are 7 to {self.msize}")
                return
            if end - start < size:
                break
            self._receive(kind, tag, bytes(buffer[start + wire.HEADER : start + size]))
            if self._lost is not None:
                return
            start += size
        if start:
            del buffer[:start]

    def _receive(self, kind: int, tag: int, body: bytes) -> None:
        request = self._requests.pop(tag, None)
        if request is None:
            self._abort(f"a reply of type {kind} has the tag {tag}, which no request has")
            return
        if request.flushing:
            # The tag stays in use until Rflush arrives.
            self._requests[tag] = Request(request.kind, None, None, flushing=True)
        else:
            self._free_tag(tag)
        reply = request.reply
        if reply is not None and not reply.done():
            try:
                reply.set_result(self._check(request.kind, kind, body))
            except Error as error:
                reply.set_exception(error)
        elif request.abandoned is not None:
            try:
                decoded = self._check(request.kind, kind, body)
            except Error:
                request.abandoned(None)
            else:
                request.abandoned(decoded)

    def _check(self, request: int, kind: int, body: bytes) -> Reader:
        """Returns the body of a reply, or raises the error that it carries."""
        reader = Reader(body)
        if kind == request + 1:
            return reader
        if kind == wire.RLERROR:
            raise server_error(reader.u32())
        if kind == wire.RERROR:
            text = reader.string()
            raise server_error(reader.u32() if self.dialect is Dialect.UNIX else 0, text)
        raise ProtocolError(f"the reply to a request of type {request} has the type {kind}")

    # ---- Sending

    async def call(
        self,
        kind: int,
        *fields: bytes,
        abandoned: Optional[Callable[[Optional[Reader]], None]] = None,
    ) -> Reader:
        """Sends a request and returns the body of its reply.

        If the caller is cancelled, the request is flushed. ``abandoned`` is then called with the
        reply, or with None if there is none or an error.
        """
        try:
            tag = await self._reserve()
        except asyncio.CancelledError:
            if abandoned is not None:
                abandoned(None)
            raise
        message = wire.frame(kind, tag, *fields)
        return await self._exchange(tag, kind, message, abandoned)

    async def read(self, fid: int, offset: int, count: int, stream: bool = False) -> bytes:
        """Sends Tread.

        A read of a stream may wait for days. It does not count as one of the requests in flight,
        so that many streams leave room for other requests.
        """
        tag = self._take_stream_tag() if stream else await self._reserve()
        message = wire.read_frame(tag, fid, offset, count)
        data = (await self._exchange(tag, T.READ, message, None)).data()
        if len(data) > count:
            raise ProtocolError(f"{len(data)} bytes came for a read of {count}")
        return data

    def _take_stream_tag(self) -> int:
        self._check_connected()
        number = self._background_tags.take_now()
        if number is None:
            raise Unsupported(f"{BACKGROUND_TAGS} streams are read already")
        return self._max_requests + number

    async def _reserve(self) -> int:
        """Waits for a tag and for room in the output."""
        while not self._writable.is_set() or self._output_size > MAX_BACKLOG:
            self._check_connected()
            if self._writable.is_set():
                await asyncio.sleep(0)
            else:
                await self._writable.wait()
        self._check_connected()
        tag = await self._tags.take()
        if self._lost is not None:
            self._tags.give_back(tag)
            raise self._lost_again()
        return tag

    async def _exchange(
        self,
        tag: int,
        kind: int,
        message: bytes,
        abandoned: Optional[Callable[[Optional[Reader]], None]],
    ) -> Reader:
        if len(message) > self.msize:
            self._free_tag(tag)
            size = len(message)
            raise Unsupported(f"the request has {size} bytes; the connection allows {self.msize}")
        reply: "asyncio.Future[Reader]" = asyncio.get_running_loop().create_future()
        self._requests[tag] = Request(kind, reply, abandoned)
        self._write(message)
        try:
            return await reply
        except asyncio.CancelledError:
            if not reply.cancelled():
                # The reply arrived in the turn of the event loop that cancelled the caller.
                failed = reply.exception() is not None
                if abandoned is not None:
                    abandoned(None if failed else reply.result())
            elif self._lost is None:
                self._flush(tag)
            raise

    def send_in_background(
        self, kind: int, *fields: bytes, done: Callable[[Optional[Reader]], None]
    ) -> bool:
        """Sends a request for whose reply nobody waits. Returns False if all tags are in use."""
        number = self._background_tags.take_now()
        if number is None or self._lost is not None:
            return False
        tag = self._max_requests + number
        self._requests[tag] = Request(kind, None, done)
        self._write(wire.frame(kind, tag, *fields))
        return True

    def _flush(self, tag: int) -> None:
        request = self._requests.get(tag)
        if request is None:
            return

        # If there is no tag for a Tflush, the request goes on until its reply arrives.
        def flushed(_: Optional[Reader]) -> None:
            left = self._requests.pop(tag, None)
            self._free_tag(tag)
            if left is not None and left.abandoned is not None:
                left.abandoned(None)

        if self.send_in_background(T.FLUSH, wire.u16(tag), done=flushed):
            request.flushing = True

    def _free_tag(self, tag: int) -> None:
        if tag == wire.NOTAG:
            return
        if tag < self._max_requests:
            self._tags.give_back(tag)
        else:
            self._background_tags.give_back(tag - self._max_requests)

    def _write(self, message: bytes) -> None:
        if not self._output:
            asyncio.get_running_loop().call_soon(self._write_output)
        self._output.append(message)
        self._output_size += len(message)

    def _write_output(self) -> None:
        messages, self._output, self._output_size = self._output, [], 0
        if self._transport is not None and self._lost is None:
            self._transport.write(b"".join(messages))

    # ---- Fids

    async def take_fid(self) -> int:
        """Waits for an unused fid."""
        self._check_connected()
        return await self._fids.take()

    def release_fid(self, fid: int) -> None:
        """Makes a fid that the server does not know available again."""
        self._fids.give_back(fid)

    def clunk(self, fid: int) -> None:
        """Clunks a fid in the background. Whatever the reply, the fid is free afterwards."""
        # If no tag is left, the fid stays in use on both sides.
        self.send_in_background(T.CLUNK, wire.u32(fid), done=lambda _: self._fids.give_back(fid))

    # ---- Version, end

    async def negotiate(self, offers: "list[Dialect]") -> None:
        """Agrees on a dialect and on the maximum length of messages."""
        for offer in offers:
            fields = wire.u32(self.msize), wire.string(offer.value)
            message = wire.frame(T.VERSION, wire.NOTAG, *fields)
            reply = await self._exchange(wire.NOTAG, T.VERSION, message, None)
            msize, version = reply.u32(), reply.string()
            if version == "unknown":
                continue
            if not 256 <= msize <= self.msize:
                raise ProtocolError(
                    f"the server's msize is {msize}; allowed are 256 to {self.msize}"
                )
            self.msize = msize
            try:
                self.dialect = Dialect(version)
            except ValueError:
                raise ProtocolError(f"the server answered the version {version!r}") from None
            if self.dialect not in offers:
                raise Unsupported(f"the server offers {version}, which was not asked for")
            return
        names = ", ".join(offer.value for offer in offers)
        raise Unsupported(f"the server speaks none of {names}")

    async def close(self) -> None:
        """Writes what is queued and closes the connection."""
        if self._transport is not None:
            self._write_output()
            self._fail(ConnectionLost("connection lost: it was closed by this program"))
            self._transport.close()
            _, pending = await asyncio.wait([self._closed], timeout=CLOSE_TIMEOUT)
            if pending:
                self._transport.abort()
                await self._closed

    def is_closed(self) -> bool:
        """Tells whether the connection has ended."""
        return self._lost is not None

    def _abort(self, reason: str) -> None:
        self._fail(ConnectionLost(f"connection lost: {reason}"))
        if self._transport is not None:
            self._transport.abort()

    def _check_connected(self) -> None:
        if self._lost is not None:
            raise self._lost_again()

    def _lost_again(self) -> ConnectionLost:
        """Each caller gets an exception of its own, because raising one changes its traceback."""
        return ConnectionLost(*self._lost.args) if self._lost else ConnectionLost()

    def _fail(self, error: ConnectionLost) -> None:
        if self._lost is not None:
            return
        self._lost = error
        self._writable.set()
        self._input.clear()
        requests, self._requests = self._requests, {}
        for request in requests.values():
            if request.reply is not None and not request.reply.done():
                request.reply.set_exception(self._lost_again())
        self._tags.fail(self._lost_again())
        self._fids.fail(self._lost_again())
