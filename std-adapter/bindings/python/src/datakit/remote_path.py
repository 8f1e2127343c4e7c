"""A path on the server and the operations that the database client needs."""

from __future__ import annotations

from typing import Sequence

from .client import Client
from .errors import Error, IsDirectory, ServerError, server_error
from .fid import Fid
from .file import MAX_FILE, OpenMode

# The maximum length in bytes of text such as messages and lists of commits.
MAX_TEXT = 1 << 24


class RemotePath:
    """A path on the server. The file at the path does not have to exist. Each operation walks to
    it.
    """

    def __init__(self, client: Client, names: Sequence[str]) -> None:
        self.client = client
        self.names = list(names)

    def join(self, *names: str) -> "RemotePath":
        """Returns this path with names appended."""
        return RemotePath(self.client, [*self.names, *names])

    def __str__(self) -> str:
        return "/".join(self.names)

    async def walk(self) -> Fid:
        """Returns a fid for the file at the path."""
        return await self.client.walk_names(self.names)

    async def walk_to_file(self) -> Fid:
        """Like :meth:`walk`, but raises IsDirectory for a directory.

        The check is necessary because servers silently ignore some requests for directories.
        """
        fid = await self.walk()
        if fid.is_dir():
            fid.close()
            raise IsDirectory(21, "Is a directory", str(self))
        return fid

    async def read(self, limit: int = MAX_FILE) -> bytes:
        """Reads the whole file."""
        async with await self.walk() as fid:
            async with await fid.open() as file:
                return await file.read_all(limit)

    async def read_text(self) -> str:
        """Reads a short text. Bytes that are not valid UTF-8 are replaced with U+FFFD."""
        return (await self.read(MAX_TEXT)).decode("utf-8", "replace")

    async def names_in(self) -> list[str]:
        """Returns the names in the directory in byte order."""
        async with await self.walk() as fid:
            async with await fid.open() as file:
                names = [entry.name for entry in await file.entries()]
        return sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))

    async def mkdir(self, name: str) -> None:
        """Creates a directory in this directory."""
        async with await self.walk() as fid:
            await fid.mkdir(name)

    async def remove(self) -> None:
        """Removes the file or directory at the path."""
        fid = await self.walk()
        await fid.remove()

    async def command(self, text: str) -> None:
        """Writes a command to the file."""
        async with await self.walk() as fid:
            async with await fid.open(OpenMode.WRITE) as file:
                await file.write_all(text.encode())
                await file.finish()

    async def explained_command(self, text: str) -> None:
        """Writes a command to a file that contains the reason for the last failure.

        If the command fails, the exception contains that reason, because an error reply contains
        only the beginning of the reason, or no text at all in 9P2000.L.
        """
        try:
            await self.command(text)
        except ServerError as error:
            reason = await self._last_failure()
            # The original server does not explain failures.
            if not reason:
                raise
            raise server_error(error.errno or 0, reason, error.path) from None

    async def _last_failure(self) -> str:
        try:
            return (await self.read_text()).rstrip()
        except Error:
            return ""

    async def command_with_reply(self, text: str) -> str:
        """Writes a command to the file and reads the reply."""
        async with await self.walk() as fid:
            async with await fid.open(OpenMode.READ_WRITE) as file:
                await file.write_all(text.encode())
                return (await file.read_all(MAX_TEXT)).decode("utf-8", "replace")

    async def replace(self, content: bytes) -> None:
        """Replaces the content of an existing file.

        Truncates the file with a separate request, because the original server ignores Topen's
        truncate flag.
        """
        async with await self.walk_to_file() as fid:
            await fid.set_length(0)
            async with await fid.open(OpenMode.WRITE) as file:
                await file.write_all(content)
                await file.finish()
