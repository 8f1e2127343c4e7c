"""The exceptions raised by this package.

All exceptions are subclasses of :class:`Error`. If Python has a built-in exception for an error,
the class is also a subclass of that exception. For example, ``except FileNotFoundError`` also
catches the error for a missing file on the server.
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
    """The base class of this package's exceptions.

    ``kind`` is the name of the error in the conformance table of the bindings.
    """

    kind = "other"


class ServerError(Error, OSError):
    """The server refused a request.

    ``errno`` is a Linux error number, or 0 if the number is unknown. ``text`` is the server's error
    text. In 9P2000.L, the server sends only a number, and ``text`` is the standard message for that
    number. ``path`` is the path on the server, or None if it is unknown.
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
    """The path, or one of its parents, is not a directory."""

    kind = "not_dir"


class PermissionDenied(ServerError, PermissionError):
    """The operation is not permitted, for example because the file is read-only."""


class Conflict(ServerError):
    """The branch and the transaction both changed the same file. The transaction is still open."""

    kind = "conflict"


class OpenConflicts(ServerError):
    """A merge left conflicts that have not been resolved.

    If :meth:`Transaction.commit` raises this error, the transaction is still open.
    """

    kind = "open_conflicts"


class NotFastForward(ServerError):
    """The branch's head is not an ancestor of the commit."""

    kind = "not_fast_forward"


class InvalidHash(ServerError, ValueError):
    """The text is not a valid commit hash."""

    kind = "invalid_hash"


class InvalidBranch(ServerError, ValueError):
    """The text is not a valid Git branch name."""

    kind = "invalid_branch"


class NotFile(Error, OSError):
    """The path is a directory or a symbolic link, not a file."""

    kind = "not_file"


class NotSymlink(Error, OSError):
    """The path is not a symbolic link."""

    kind = "not_symlink"


class InvalidPath(Error, ValueError):
    """A name in the path is invalid, or the path is the root but the operation needs a name."""

    kind = "invalid_path"


class TransactionEnded(Error):
    """The transaction has already been committed or aborted, or was never started."""

    kind = "transaction_ended"


class ConnectionLost(Error, ConnectionError):
    """The connection could not be established or was lost. All subsequent calls also fail."""


class ProtocolError(Error):
    """A reply from the server violates the protocol."""


class TooLong(Error, OverflowError):
    """The server sent more data than the call accepts."""


class Unsupported(Error):
    """The dialect does not support the operation, or a request exceeds a protocol limit."""


# Error messages for the Linux error numbers, which 9P uses. os.strerror cannot be used, because the
# numbers differ on other systems.
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

# Error numbers for the messages that DataKit and other servers send. 9P2000 errors have no number,
# so the client derives the number from the message.
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
    """Returns the exception for an error reply.

    ``errno`` is 0 if the reply contains no number. ``text`` is empty if the reply contains no text.
    """
    if errno == 0:
        errno = ERRNOS.get(text, 0)
    text = text or TEXTS.get(errno, f"error {errno}")
    return _class_of(errno, text)(errno, text, path)


def _class_of(errno: int, text: str) -> type[ServerError]:
    """Chooses the class based on the text if possible, because several errors share a number."""
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
    # The server sends this text if the parent of a new file is itself a file.
    if text.endswith(" is not a directory"):
        return NotDirectory
    return BY_ERRNO.get(errno, ServerError)
