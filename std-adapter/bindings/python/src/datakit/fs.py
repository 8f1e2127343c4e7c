"""A file system for fsspec, with URLs such as ``datakit://localhost/branch/master/ro/data.csv``.

The path in a URL is a path in the server's tree. The server presents a branch's files in the
read-only directory ``branch/NAME/ro``. This file system can write these files, too: each call that
writes makes a commit, and all writes inside ``with fs.transaction`` make one commit per branch.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
from typing import Any, Awaitable, Optional, Union

from fsspec.asyn import AsyncFileSystem, sync, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.transaction import Transaction
from fsspec.utils import stringify_path

from .address import DEFAULT_PORT, Tcp, parse_address
from .client import Client
from .database import Database, NewFile
from .errors import AlreadyExists, DoesNotExist, IsDirectory, NotDirectory, ServerError
from .fs_changes import Changes, split_branch_path
from .fs_file import DatakitFile, entry_info
from .metadata import FileType
from .names import branch_to_file_name

PREFIX = "datakit://"
ENOTEMPTY = 39
# The number of bytes to read between two calls to the progress callback.
STEP = 1 << 20

# The changes collected by the current call, or None if the call does not collect changes.
_call_changes: contextvars.ContextVar[Optional[dict[str, Changes]]] = contextvars.ContextVar(
    "datakit_call_changes", default=None
)


class DatakitTransaction(Transaction):
    """Collects writes and makes one commit per branch at its end."""

    def complete(self, commit: bool = True) -> None:
        fs: DatakitFileSystem = self.fs
        try:
            # Adds the content of each written file to the changes of its branch.
            super().complete(commit)
            if commit:
                sync(fs.loop, fs._commit_changes, fs._changes)
        finally:
            fs._changes.clear()


class DatakitFileSystem(AsyncFileSystem):
    """The files on a DataKit server or any other 9P server.

    ``host`` and ``port`` are the host and port from the URL. ``address`` replaces them. The address
    may have any form that :func:`datakit.parse_address` accepts. ``uname`` is the author of
    commits. ``message`` is the message of all commits. By default, the message summarizes the
    changes. If the connection has been lost, the next call reconnects.
    """

    protocol = "datakit"
    root_marker = "/"
    transaction_type = DatakitTransaction

    def __init__(
        self,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        address: Optional[str] = None,
        uname: Optional[str] = None,
        message: Optional[str] = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.address = parse_address(address) if address else Tcp(host, int(port))
        self.uname = uname
        self.message = message
        self._connecting: Optional["asyncio.Task[Client]"] = None
        self._changes: dict[str, Changes] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(item) for item in path]
        text: str = stringify_path(path)
        if text.startswith(PREFIX):
            _, _, text = text[len(PREFIX) :].partition("/")
        return "/" + text.strip("/")

    def unstrip_protocol(self, name: str) -> str:
        """Returns the URL of a path."""
        if isinstance(self.address, Tcp):
            return f"{PREFIX}{str(self.address)[len('tcp://') :]}{self._strip_protocol(name)}"
        return f"{PREFIX}{self._strip_protocol(name)}"

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Union[str, int]]:
        if not path.startswith(PREFIX):
            return {}
        authority, _, _ = path[len(PREFIX) :].partition("/")
        if not authority:
            return {}
        address = parse_address("tcp://" + authority)
        assert isinstance(address, Tcp)
        return {"host": address.host, "port": address.port}

    # ---- Connection

    async def _client(self) -> Client:
        """Returns the client shared by all callers. Connects if there is no usable client."""
        task = self._connecting
        if task is None or (task.done() and not is_usable(task)):
            task = asyncio.ensure_future(Client.connect(self.address, uname=self.uname))
            self._connecting = task
        return await asyncio.shield(task)

    async def _close(self) -> None:
        """Closes the connection. Closing the connection aborts open transactions."""
        task, self._connecting = self._connecting, None
        if task is not None:
            await (await task).close()

    close = sync_wrapper(_close)

    # ---- Reading

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        try:
            metadata = await (await self._client()).stat(path)
        except NotDirectory as error:
            # A parent of the path is a file, so nothing exists at the path.
            raise DoesNotExist(2, "No such file or directory", path) from error
        return entry_info(path, metadata)

    async def _ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        path = self._strip_protocol(path)
        client = await self._client()
        try:
            listing = await client.list(path)
        except NotDirectory:
            info = await self._info(path)
            return [info if detail else path]
        start = path.rstrip("/")
        infos = [entry_info(f"{start}/{name}", metadata) for name, metadata in listing]
        infos.sort(key=lambda info: str(info["name"]))
        return infos if detail else [info["name"] for info in infos]

    async def _cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **options: Any
    ) -> bytes:
        path = self._strip_protocol(path)
        client = await self._client()
        if start is None and end is None:
            return await client.read(path)
        if (start or 0) < 0 or end is None or end < 0:
            size = (await client.stat(path)).length
            start, end, _ = slice(start, end).indices(size)
        async with await client.open(path) as file:
            return await file.read_range(start or 0, end)

    async def _get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **options: Any
    ) -> None:
        rpath = self._strip_protocol(rpath)
        client = await self._client()
        metadata = await client.stat(rpath)
        if metadata.type is FileType.DIR:
            os.makedirs(lpath, exist_ok=True)
            return
        callback.set_size(metadata.length)
        async with await client.open(rpath) as file:
            with open(lpath, "wb") as local:
                at = 0
                while True:
                    data = await file.read_range(at, at + STEP)
                    if not data:
                        return
                    local.write(data)
                    at += len(data)
                    callback.relative_update(len(data))

    async def _modified(self, path: str) -> Any:
        from datetime import datetime, timezone

        return datetime.fromtimestamp((await self._info(path))["mtime"], timezone.utc)

    modified = sync_wrapper(_modified)

    # ---- Writing

    async def _pipe_file(
        self, path: str, value: Any, mode: str = "overwrite", **options: Any
    ) -> None:
        await self._write(self._strip_protocol(path), bytes(value), exclusive=mode == "create")

    async def _put_file(
        self,
        lpath: Any,
        rpath: str,
        mode: str = "overwrite",
        callback: Any = DEFAULT_CALLBACK,
        **options: Any,
    ) -> None:
        if os.path.isdir(lpath):
            await self._makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as local:
            data = local.read()
        callback.set_size(len(data))
        executable = os.access(lpath, os.X_OK)
        await self._write(self._strip_protocol(rpath), data, mode == "create", executable)
        callback.relative_update(len(data))

    async def _cp_file(self, path1: str, path2: str, **options: Any) -> None:
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        client = await self._client()
        metadata = await client.stat(source)
        if metadata.type is FileType.DIR:
            await self._makedirs(target, exist_ok=True)
            return
        executable = metadata.mode & 0o100 != 0
        await self._write(target, await client.read(source), executable=executable)

    async def _write(
        self, path: str, data: bytes, exclusive: bool = False, executable: bool = False
    ) -> None:
        """Writes a file. A file in a branch is committed now or at the end of a transaction."""
        if exclusive:
            await self._check_absent(path)
        branch_path = split_branch_path(path)
        if branch_path is not None:
            branch, name = branch_path
            await self._change(branch, [NewFile(name, data, executable)], [])
            return
        client = await self._client()
        await self._make_parents(path)
        await client.write(path, data)
        if executable:
            async with await client.walk(path) as fid:
                await fid.set_mode(0o755)

    async def _check_absent(self, path: str) -> None:
        branch_path = split_branch_path(path)
        staged = self._changes.get(branch_path[0]) if branch_path else None
        if await self._exists(path) or (branch_path and staged and branch_path[1] in staged.files):
            raise AlreadyExists(17, "Already exists", path)

    async def _make_parents(self, path: str) -> None:
        parent = self._parent(path)
        if not await self._exists(parent):
            await self._makedirs(parent, exist_ok=True)

    async def _change(self, branch: str, files: list[NewFile], remove: list[str]) -> None:
        """Commits changes to a branch.

        In a transaction, or in a call that writes many files, only adds them to the pending
        changes.
        """
        pending = self._changes if self._intrans else _call_changes.get()
        if pending is None:
            await self._commit(branch, Changes({file.path: file for file in files}, remove))
            return
        changes = pending.setdefault(branch, Changes())
        for path in remove:
            at = f"/branch/{branch_to_file_name(branch)}/ro/{path}"
            if not changes.remove(path, exists=await self._exists(at)):
                raise DoesNotExist(2, "No such file or directory", at)
        for file in files:
            changes.write(file)

    async def _commit(self, name: str, changes: Changes) -> None:
        branch = await Database(await self._client()).branch(name)
        message = self.message or changes.message()
        await branch.commit_files(message, changes.files.values(), changes.removed)

    async def _commit_changes(self, pending: dict[str, Changes]) -> None:
        for branch, changes in list(pending.items()):
            if changes.files or changes.removed:
                await self._commit(branch, changes)

    async def _in_one_commit(self, call: Awaitable[Any]) -> Any:
        """Runs a call that writes many files and then makes one commit per branch."""
        if self._intrans or _call_changes.get() is not None:
            return await call
        pending: dict[str, Changes] = {}
        token = _call_changes.set(pending)
        try:
            result = await call
        finally:
            _call_changes.reset(token)
        await self._commit_changes(pending)
        return result

    async def _put(self, *args: Any, **options: Any) -> Any:
        return await self._in_one_commit(super()._put(*args, **options))

    async def _pipe(self, *args: Any, **options: Any) -> Any:
        return await self._in_one_commit(super()._pipe(*args, **options))

    async def _copy(self, *args: Any, **options: Any) -> Any:
        return await self._in_one_commit(super()._copy(*args, **options))

    # ---- Directories

    async def _mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        path = self._strip_protocol(path)
        if split_branch_path(path) is not None:
            # Git does not store empty directories. Writing the first file in a directory creates
            # the directory.
            return
        if create_parents:
            await self._make_parents(path)
        await (await self._client()).mkdir(path)

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        path = self._strip_protocol(path)
        if split_branch_path(path) is not None:
            return
        if path == "/" or await self._exists(path):
            if not exist_ok:
                raise AlreadyExists(17, "Already exists", path)
            if not await self._isdir(path):
                raise NotDirectory(20, "Is not a directory", path)
            return
        await self._makedirs(self._parent(path), exist_ok=True)
        try:
            await (await self._client()).mkdir(path)
        except AlreadyExists:
            # Another task created the directory in the meantime.
            pass

    async def _rmdir(self, path: str) -> None:
        path = self._strip_protocol(path)
        if await self._ls(path, detail=False):
            raise ServerError(ENOTEMPTY, "Directory not empty", path)
        await (await self._client()).remove(path)

    rmdir = sync_wrapper(_rmdir)

    # ---- Removing

    async def _rm_file(self, path: str, **options: Any) -> None:
        path = self._strip_protocol(path)
        if await self._isdir(path):
            raise IsDirectory(21, "Is a directory", path)
        await self._remove([path])

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: Optional[int] = None,
        maxdepth: Optional[int] = None,
        **options: Any,
    ) -> None:
        if recursive and maxdepth is None:
            # Removing a directory also removes its entries, so they are not listed separately.
            await self._remove(await self._expand_path(path))
            return
        paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
        directories = [item for item in paths if await self._isdir(item)]
        if directories and not recursive:
            raise IsDirectory(21, "Is a directory: use recursive=True", directories[0])
        await self._remove([item for item in paths if item not in directories])
        for directory in sorted(directories, reverse=True):
            if split_branch_path(directory) is None:
                await self._rmdir(directory)

    async def _remove(self, paths: list[str]) -> None:
        """Removes files and directories, including the contents of the directories. Makes one
        commit per branch.
        """
        branches: dict[str, list[str]] = {}
        for path in paths:
            branch_path = split_branch_path(path)
            if branch_path is None:
                await self._remove_tree(path)
            else:
                branches.setdefault(branch_path[0], []).append(branch_path[1])
        for branch, names in branches.items():
            await self._change(branch, [], names)

    async def _remove_tree(self, path: str) -> None:
        """Removes a file, or a directory and its contents.

        In a database, a single request removes a branch or an entire directory in a transaction.
        Any other directory must be empty before the server removes it.
        """
        client = await self._client()
        try:
            await client.remove(path)
        except ServerError as error:
            if error.errno != ENOTEMPTY:
                raise
            for name in await self._ls(path, detail=False):
                await self._remove_tree(name)
            await client.remove(path)

    # ---- Open files

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = "default",
        autocommit: bool = True,
        cache_options: Optional[dict[str, Any]] = None,
        **options: Any,
    ) -> Any:
        if mode == "rb":
            size = options.pop("size", None)
            if size is None:
                info = self.info(path)
                if info["type"] == "directory":
                    raise IsDirectory(21, "Is a directory", path)
                size = info["size"]
            if not size:
                # A generated file reports a length of 0, so its content is read now.
                return io.BytesIO(self.cat_file(path))
            options["size"] = size
        return DatakitFile(
            self, path, mode, block_size, autocommit, cache_options=cache_options, **options
        )

    def created(self, path: str) -> Any:
        """Raises NotImplementedError, because 9P has no creation times."""
        raise NotImplementedError("9P has no creation times; use modified")


def is_usable(done: "asyncio.Task[Client]") -> bool:
    """Returns whether the connection attempt succeeded and the connection is still open."""
    return not done.cancelled() and done.exception() is None and not done.result().closed


__all__ = ["DatakitFile", "DatakitFileSystem", "DatakitTransaction"]
