"""The exceptions of this package.

All of them are subclasses of :class:`Error`. Those that correspond to an error of the operating
system are also subclasses of the exception that Python raises for it, so that
``except FileNotFoundError`` works for remote files as well.
"""

from __future__ import annotations

from typing import Optional

__all__ = [
    "AlreadyExists",
    "Conflict",
    "ConnectionLost",
    "DoesNotExist",
    "Error",
    "InvalidBranch",
    "InvalidHash",
    "InvalidPath",
    "IsDirectory",
    "NotDirectory",
    "NotFastForward",
    "NotFile",
    "NotSymlink",
    "OpenConflicts",
    "PermissionDenied",
    "ProtocolError",
    "ServerError",
    "TooLong",
    "TransactionEnded",
    "Unsupported",
    "server_error",
]


class Error(Exception):
    """An error of this package.

    ``kind`` is the name of the error in the conformance table of the bindings.
    """

    kind = "other"


class ServerError(Error, OSError):
    """The server refused a request.

    ``errno`` is a Linux error number, or 0 if it is unknown. ``text`` is the server's text; for
    9P2000.L, which carries only numbers, it is the usual text of the number. ``path`` is the path
    on the server, if the operation had one.
    """

    def __init__(self, errno: int, text: str, path: Optional[str] = None) -> None:
        super().__init__(errno, text)
        self.text = text
        self.path = path

    def __str__(self) -> str:
        return self.text if self.path is None else f"{self.path or '/'}: {self.text}"


class DoesNotExist(ServerError, FileNotFoundError):
    """There is no such file, branch or commit."""

    kind = "does_not_exist"


class AlreadyExists(ServerError, FileExistsError):
    """The name already exists."""

    kind = "already_exists"


class IsDirectory(ServerError, IsADirectoryError):
    """The path is a directory."""

    kind = "is_dir"


class NotDirectory(ServerError, NotADirectoryError):
    """The path, or a name in it other than the last, is not a directory."""

    kind = "not_dir"


class PermissionDenied(ServerError, PermissionError):
    """The file, or its tree, refuses the operation."""


class Conflict(ServerError):
    """The branch and the transaction changed the same file. The transaction is still open."""

    kind = "conflict"


class OpenConflicts(ServerError):
    """A merge left conflicts that are not resolved yet. The transaction is still open."""

    kind = "open_conflicts"


class NotFastForward(ServerError):
    """The head of the branch is not an ancestor of the commit."""

    kind = "not_fast_forward"


class InvalidHash(ServerError, ValueError):
    """The text is not the hash of a commit."""

    kind = "invalid_hash"


class InvalidBranch(ServerError, ValueError):
    """The text is not a valid branch name of Git."""

    kind = "invalid_branch"


class NotFile(Error, OSError):
    """The path is a directory or a symbolic link, not a file."""

    kind = "not_file"


class NotSymlink(Error, OSError):
    """The path is not a symbolic link."""

    kind = "not_symlink"


class InvalidPath(Error, ValueError):
    """A name in a path is not allowed, or the operation does not accept the root."""

    kind = "invalid_path"


class TransactionEnded(Error):
    """The transaction was committed or aborted before."""

    kind = "transaction_ended"


class ConnectionLost(Error, ConnectionError):
    """The connection could not be established or was lost. All requests fail from now on."""


class ProtocolError(Error):
    """A reply of the server violates the protocol."""


class TooLong(Error, OverflowError):
    """The server sent more data than the call accepts."""


class Unsupported(Error):
    """The dialect does not have the operation, or a request does not fit a message."""


# The usual texts of Linux error numbers. The numbers of other systems differ from those of 9P, so
# os.strerror cannot be used.
TEXTS = {
    1: "Operation not permitted",
    2: "No such file or directory",
    5: "Input/output error",
    9: "Bad file descriptor",
    11: "Resource temporarily unavailable",
    12: "Cannot allocate memory",
    13: "Permission denied",
    16: "Device or resource busy",
    17: "Already exists",
    18: "Invalid cross-device link",
    20: "Is not a directory",
    21: "Is a directory",
    22: "Invalid argument",
    24: "Too many open files",
    27: "File too large",
    28: "No space left on device",
    29: "Illegal seek",
    30: "Read-only file",
    36: "File name too long",
    38: "Function not implemented",
    39: "Directory not empty",
    90: "Message too long",
    95: "Operation not supported",
    116: "Stale file handle",
}

# Texts of this and of other servers. 9P2000 carries no numbers, so they are derived from the text.
ERRNOS = {
    **{text: errno for errno, text in TEXTS.items()},
    "file does not exist": 2,
    "file not found": 2,
    "permission denied": 13,
    "File exists": 17,
    "file already exists": 17,
    "Not a directory": 20,
    "not a directory": 20,
    "Can't walk from a file": 20,
    "Read-only file system": 30,
}

BY_ERRNO: dict[int, type[ServerError]] = {
    1: PermissionDenied,
    2: DoesNotExist,
    13: PermissionDenied,
    17: AlreadyExists,
    20: NotDirectory,
    21: IsDirectory,
    30: PermissionDenied,
}


def server_error(errno: int, text: str = "", path: Optional[str] = None) -> ServerError:
    """Returns the exception for an error reply, in which the number or the text may be missing."""
    if errno == 0:
        errno = ERRNOS.get(text, 0)
    text = text or TEXTS.get(errno, f"error {errno}")
    return _class_of(errno, text)(errno, text, path)


def _class_of(errno: int, text: str) -> type[ServerError]:
    """The text is more precise than the number: several database errors share a number."""
    if text.startswith("Merge conflict: "):
        return Conflict
    if text.startswith("invalid-hash "):
        return InvalidHash
    if text.startswith("invalid branch name "):
        return InvalidBranch
    if text == "conflicts file is not empty":
        return OpenConflicts
    if text == "not-fast-forward":
        return NotFastForward
    # The reply to creating a file below another file.
    if text.endswith(" is not a directory"):
        return NotDirectory
    return BY_ERRNO.get(errno, ServerError)
