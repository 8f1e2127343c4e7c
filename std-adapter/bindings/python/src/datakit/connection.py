"""A connection, which assigns tags to requests and delivers each reply to its caller.

The connection collects the requests of all tasks until the next iteration of the event loop and
then writes them together. Replies may arrive in any order. If a caller is cancelled, the connection
sends Tflush for its request. The tag remains in use until Rflush arrives. If the cancelled request
created a fid, the fid is clunked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Callable, Optional, cast

from . import wire
from .errors import ConnectionLost, Error, ProtocolError, Unsupported, server_error
from .number_pool import NumberPool
from .wire import Dialect, Reader, T

# Callers wait while more than this many bytes are queued for writing.
MAX_BACKLOG = 1 << 20
# The number of additional tags for stream reads, Tclunk and Tflush. These requests do not count
# towards `max_requests`.
BACKGROUND_TAGS = 32768
# The maximum time in seconds for sending the last requests before the connection is aborted.
CLOSE_TIMEOUT = 1.0


@dataclass
class Request:
    """A request in flight."""

    kind: int
    reply: Optional["asyncio.Future[Reader]"]
    # If no caller is waiting for the reply, this is called with the reply. It is called with None
    # if the request failed or was flushed.
    abandoned: Optional[Callable[[Optional[Reader]], None]] = None
    flushing: bool = False


class Connection(asyncio.Protocol):
    """The asyncio protocol for one transport."""

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
                self._abort(f"a reply has {size} bytes; the size must be from 7 to {self.msize}")
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
            self._abort(f"a reply of type {kind} has the tag {tag}, but no request has this tag")
            return
        if request.flushing:
            # The tag remains in use until Rflush arrives.
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
        """Returns the body of a reply, or raises an exception if the reply is an error."""
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

        If the caller is cancelled, the request is flushed. In that case, ``abandoned`` is called
        with the reply, or with None if the reply is an error or the request has no reply.
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
        """Sends Tread and returns the data from the reply.

        A stream read can wait for days, so it does not count towards ``max_requests``. If such
        reads counted, reading many streams would block all other requests.
        """
        tag = self._take_stream_tag() if stream else await self._reserve()
        message = wire.read_frame(tag, fid, offset, count)
        data = (await self._exchange(tag, T.READ, message, None)).data()
        if len(data) > count:
            raise ProtocolError(f"the reply to a read of {count} bytes has {len(data)} bytes")
        return data

    def _take_stream_tag(self) -> int:
        self._check_connected()
        number = self._background_tags.take_now()
        if number is None:
            raise Unsupported(f"no more streams can be read: {BACKGROUND_TAGS} tags are in use")
        return self._max_requests + number

    async def _reserve(self) -> int:
        """Returns a free tag. Waits while the output queue is full or all tags are in use."""
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
            raise Unsupported(f"the request has {size} bytes; the msize is {self.msize}")
        reply: "asyncio.Future[Reader]" = asyncio.get_running_loop().create_future()
        self._requests[tag] = Request(kind, reply, abandoned)
        self._write(message)
        try:
            return await reply
        except asyncio.CancelledError:
            if not reply.cancelled():
                # The reply arrived in the same iteration of the event loop as the cancellation.
                failed = reply.exception() is not None
                if abandoned is not None:
                    abandoned(None if failed else reply.result())
            elif self._lost is None:
                self._flush(tag)
            raise

    def send_in_background(
        self, kind: int, *fields: bytes, done: Callable[[Optional[Reader]], None]
    ) -> bool:
        """Sends a request and calls ``done`` with the reply, or with None if the reply is an error.

        Returns False if all tags are in use or the connection has been lost.
        """
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

        def flushed(_: Optional[Reader]) -> None:
            left = self._requests.pop(tag, None)
            self._free_tag(tag)
            if left is not None and left.abandoned is not None:
                left.abandoned(None)

        # If no tag is free for Tflush, the request remains in flight until its reply arrives.
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
        """Returns an unused fid. Waits while all fids are in use."""
        self._check_connected()
        return await self._fids.take()

    def release_fid(self, fid: int) -> None:
        """Makes a fid available again. The fid must not exist on the server."""
        self._fids.give_back(fid)

    def clunk(self, fid: int) -> None:
        """Clunks a fid in the background. Any reply frees the fid, even an error."""
        # If no tag is free, the fid remains in use in the client and on the server.
        self.send_in_background(T.CLUNK, wire.u32(fid), done=lambda _: self._fids.give_back(fid))

    # ---- Negotiation and closing

    async def negotiate(self, offers: "list[Dialect]") -> None:
        """Negotiates the dialect and the maximum message size."""
        for offer in offers:
            fields = wire.u32(self.msize), wire.string(offer.value)
            message = wire.frame(T.VERSION, wire.NOTAG, *fields)
            reply = await self._exchange(wire.NOTAG, T.VERSION, message, None)
            msize, version = reply.u32(), reply.string()
            if version == "unknown":
                continue
            if not 256 <= msize <= self.msize:
                raise ProtocolError(
                    f"the server's msize is {msize}; it must be from 256 to {self.msize}"
                )
            self.msize = msize
            try:
                self.dialect = Dialect(version)
            except ValueError:
                raise ProtocolError(f"the server chose the unknown version {version!r}") from None
            if self.dialect not in offers:
                raise Unsupported(f"the server chose {version}, which the client did not offer")
            return
        names = ", ".join(offer.value for offer in offers)
        raise Unsupported(f"the server supports none of {names}")

    async def close(self) -> None:
        """Sends the queued requests and closes the connection."""
        if self._transport is not None:
            self._write_output()
            self._fail(ConnectionLost("connection lost: this client closed it"))
            self._transport.close()
            _, pending = await asyncio.wait([self._closed], timeout=CLOSE_TIMEOUT)
            if pending:
                self._transport.abort()
                await self._closed

    def is_closed(self) -> bool:
        """Returns whether the connection has been closed or lost."""
        return self._lost is not None

    def _abort(self, reason: str) -> None:
        self._fail(ConnectionLost(f"connection lost: {reason}"))
        if self._transport is not None:
            self._transport.abort()

    def _check_connected(self) -> None:
        if self._lost is not None:
            raise self._lost_again()

    def _lost_again(self) -> ConnectionLost:
        """Returns a new exception for each caller, because raising an exception changes its
        traceback.
        """
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
