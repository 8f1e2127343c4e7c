"""A client for 9P servers and for the DataKit database.

:class:`Client` reads and writes files on any 9P server. :class:`Database` provides access to the
branches, commits, transactions and watches of a DataKit server. ``datakit.fs`` is a file system for
fsspec and requires the package to be installed as ``datakit[fs]``.
"""

from .address import Address, Tcp, Unix, parse_address
from .client import Client
from .commit import Change, Commit
from .database import Branch, Database, NewFile
from .errors import (
    AlreadyExists,
    Conflict,
    ConnectionLost,
    DoesNotExist,
    Error,
    InvalidBranch,
    InvalidHash,
    InvalidPath,
    IsDirectory,
    NotDirectory,
    NotFastForward,
    NotFile,
    NotSymlink,
    OpenConflicts,
    PermissionDenied,
    ProtocolError,
    ServerError,
    TooLong,
    TransactionEnded,
    Unsupported,
)
from .fid import Fid
from .file import Deliveries, File, OpenMode
from .listing import Entry
from .metadata import FileType, Metadata
from .transaction import MergeResult, Transaction
from .tree import Content, DirContent, FileContent, Kind, LinkContent, Stat, Tree
from .watch import DirValue, FileValue, LinkValue, PathValue, Watch
from .wire import Dialect, Qid

__all__ = [
    "Address",
    "AlreadyExists",
    "Branch",
    "Change",
    "Client",
    "Commit",
    "Conflict",
    "ConnectionLost",
    "Content",
    "Database",
    "Deliveries",
    "Dialect",
    "DirContent",
    "DirValue",
    "DoesNotExist",
    "Entry",
    "Error",
    "Fid",
    "File",
    "FileContent",
    "FileType",
    "FileValue",
    "InvalidBranch",
    "InvalidHash",
    "InvalidPath",
    "IsDirectory",
    "Kind",
    "LinkContent",
    "LinkValue",
    "MergeResult",
    "Metadata",
    "NewFile",
    "NotDirectory",
    "NotFastForward",
    "NotFile",
    "NotSymlink",
    "OpenConflicts",
    "OpenMode",
    "PathValue",
    "PermissionDenied",
    "ProtocolError",
    "Qid",
    "ServerError",
    "Stat",
    "Tcp",
    "TooLong",
    "Transaction",
    "TransactionEnded",
    "Tree",
    "Unix",
    "Unsupported",
    "Watch",
    "parse_address",
]
