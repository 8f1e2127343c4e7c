"""Watches that return the heads of a branch or the values at a path."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Awaitable, Callable, Deque, Generic, NamedTuple, Optional, TypeVar, Union

from .client import Client
from .errors import ProtocolError
from .file import Deliveries
from .remote_path import RemotePath
from .tree import Tree

Value = TypeVar("Value")


class FileValue(NamedTuple):
    """The value of a watched path if it is a file."""

    data: bytes
    executable: bool


class LinkValue(NamedTuple):
    """The value of a watched path if it is a symbolic link."""

    target: str


class DirValue(NamedTuple):
    """The value of a watched path if it is a directory: the directory's tree at the time of the
    change.
    """

    tree: Tree


PathValue = Union[FileValue, LinkValue, DirValue]


class Watch(Generic[Value]):
    """An async iterator of values. Use the watch with ``async with``::

        async with branch.watch_head() as heads:
            async for head in heads:
                print(head)

    The watch is opened by ``async with`` or by the first call to ``__anext__``. If the server ends
    the stream, the watch ends. It does not reconnect. If a call to ``__anext__`` is cancelled, for
    example by a timeout, no value is lost: the next call returns it.
    """

    def __init__(self, path: RemotePath, parse: Callable[[str], Awaitable[Value]]) -> None:
        self._path = path
        self._parse = parse
        self._deliveries: Optional[Deliveries] = None
        self._lines: Deque[str] = deque()

    async def _open(self) -> Deliveries:
        if self._deliveries is None:
            async with await self._path.walk() as fid:
                self._deliveries = Deliveries(await fid.open())
        return self._deliveries

    def __aiter__(self) -> "Watch[Value]":
        return self

    async def __anext__(self) -> Value:
        deliveries = await self._open()
        while not self._lines:
            delivery = await deliveries.__anext__()
            self._lines += delivery.decode("utf-8", "replace").splitlines()
        value = await self._parse(self._lines[0])
        self._lines.popleft()
        return value

    def close(self) -> None:
        """Ends the watch. Closing it again has no effect."""
        if self._deliveries is not None:
            self._deliveries.close()

    async def __aenter__(self) -> "Watch[Value]":
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


async def read_value(client: Client, line: str) -> Optional[PathValue]:
    """Reads the object whose id is in a line read from `tree.live`. Returns None for an empty
    line.
    """
    id = line.strip()
    if not id:
        return None
    at = RemotePath(client, ["trees", id])
    if id.startswith("D-"):
        return DirValue(Tree(at))
    if id.startswith(("F-", "X-")):
        return FileValue(await at.read(), executable=id.startswith("X-"))
    if id.startswith("L-"):
        return LinkValue((await at.read()).decode("utf-8", "surrogateescape"))
    raise ProtocolError(f"a line of tree.live is not an id: {id!r}")
