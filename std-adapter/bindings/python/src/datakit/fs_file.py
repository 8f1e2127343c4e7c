"""Open files and file attributes in the form that fsspec expects."""

from __future__ import annotations

from typing import Any

from fsspec.asyn import sync
from fsspec.spec import AbstractBufferedFile

from .metadata import FileType, Metadata


def entry_info(path: str, metadata: Metadata) -> dict[str, Any]:
    """Returns a file's attributes in the form that fsspec expects."""
    types = {FileType.FILE: "file", FileType.DIR: "directory", FileType.LINK: "link"}
    info: dict[str, Any] = {
        "name": path,
        "size": 0 if metadata.type is FileType.DIR else metadata.length,
        "type": types.get(metadata.type, "other"),
        "mode": metadata.mode,
        "mtime": metadata.mtime,
    }
    if metadata.target is not None:
        info["destination"] = metadata.target
    return info


class DatakitFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no type hints
    """An open file. Written data stays in memory until the file is closed or committed."""

    def __init__(self, fs: Any, path: str, mode: str, *args: Any, **options: Any):
        self._content = bytearray()
        if mode == "xb":
            sync(fs.loop, fs._check_absent, path)
        elif mode == "ab" and fs.exists(path):
            self._content += fs.cat_file(path)
        super().__init__(fs, path, mode, *args, **options)
        self.loc = len(self._content)

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = sync(self.fs.loop, self.fs._cat_file, self.path, start, end)
        return data

    def _initiate_upload(self) -> None:
        pass

    def _upload_chunk(self, final: bool = False) -> bool:
        self._content += self.buffer.getvalue()
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Writes the content to the server."""
        exclusive = self.mode == "xb"
        sync(self.fs.loop, self.fs._write, self.path, bytes(self._content), exclusive)

    def discard(self) -> None:
        """Discards the written data."""
        self._content.clear()
