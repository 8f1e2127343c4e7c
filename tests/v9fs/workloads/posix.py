"""Checks system calls on files and directories against POSIX and Linux, like pjdfstest.

Run this program as root in an empty directory of a mounted tree. The arguments are the names of the
subjects to check. Without arguments, the program checks all subjects.
"""

import ctypes
import os
import stat
import time

from checks import *

RDONLY, WRONLY, RDWR = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
libc = ctypes.CDLL(None, use_errno=True)


@subject
def chmod():
    path_errors(os.chmod, 0o644)
    fails("ENOENT", os.chmod, "missing", 0o644)
    make("file")
    os.mkdir("dir")
    for name in ("file", "dir"):
        for bits in (0o000, 0o111, 0o421, 0o777, 0o640):
            works(os.chmod, name, bits)
            same(f"mode of {name}", oct(bits), mode(name))
    moves("c", "file", os.chmod, "file", 0o600)
    fails("EPERM", os.chmod, "file", 0o777, user=OTHER) if UNIX else None
    if not UNIX:
        return
    for bits in (0o4755, 0o2755, 0o1755, 0o7777):
        works(os.chmod, "file", bits)
        same("mode of file", oct(bits), mode("file"))
        works(os.chmod, "dir", bits)
        same("mode of dir", oct(bits), mode("dir"))
    # As in pjdfstest's chmod/12.t, a write by another user clears the set-ID bits.
    make("set", b"x", 0o6777)
    works(write_at, "set", 0, b"y", user=OTHER)
    same("mode of set", oct(0o777), mode("set"))
    os.symlink("file", "link")
    works(os.chmod, "link", 0o611)
    same("mode of file", oct(0o611), mode("file"))


@subject
def chown():
    if not UNIX:
        return
    path_errors(os.chown, 1, 1)
    fails("ENOENT", os.chown, "missing", 1, 1)
    make("file")
    owner = lambda name: (os.lstat(name).st_uid, os.lstat(name).st_gid)
    if not LINUX:
        return
    moves("c", "file", os.chown, "file", 12, 34)
    same("owner of file", (12, 34), owner("file"))
    works(os.chown, "file", -1, 56)
    works(os.chown, "file", 78, -1)
    same("owner of file", (78, 56), owner("file"))
    fails("EPERM", os.chown, "file", OTHER, OTHER, user=OTHER)
    same("owner of file", (78, 56), owner("file"))
    os.symlink("file", "link")
    works(os.lchown, "link", 9, 9)
    same("owner of link", (9, 9), owner("link"))
    same("owner of file", (78, 56), owner("file"))
    os.mkdir("dir")
    works(os.chown, "dir", 5, 6)
    same("owner of dir", (5, 6), owner("dir"))
    # A file's owner may change the file's group to any of the owner's groups. Changing the group
    # clears the set-ID bits.
    make("own", mode=0o6755)
    os.chown("own", OTHER, 1)
    works(os.chmod, "own", 0o6755)
    works(os.chown, "own", OTHER, OTHER, user=OTHER)
    same("mode of own", oct(0o755), mode("own"))


@subject
def ftruncate():
    make("file", b"0123456789")
    handle = os.open("file", RDWR)
    works(os.ftruncate, handle, 4)
    same("content", b"0123", content("file"))
    works(os.ftruncate, handle, 8)
    same("content", b"0123\0\0\0\0", content("file"))
    fails("EINVAL", os.ftruncate, handle, -1)
    moves("mc", "file", os.ftruncate, handle, 2)
    os.remove("file")
    works(os.ftruncate, handle, 1)
    same("size of a removed file", 1, os.fstat(handle).st_size)
    os.close(handle)
    make("file", b"0123456789")
    handle = os.open("file", RDONLY)
    fails("EINVAL", os.ftruncate, handle, 1)
    os.close(handle)
    same("content", b"0123456789", content("file"))
    # An open file remains writable regardless of its mode.
    handle = os.open("read-only", os.O_CREAT | RDWR, 0)
    works(os.ftruncate, handle, 3)
    same("size", 3, os.lstat("read-only").st_size)
    os.close(handle)


@subject
def truncate():
    path_errors(os.truncate, 1)
    fails("ENOENT", os.truncate, "missing", 1)
    make("file", b"0123456789")
    for size in (12345, 3, 0, 2 << 20, 7):
        moves("mc", "file", os.truncate, "file", size)
        same("size of file", size, os.lstat("file").st_size)
    same("content", bytes(7), content("file"))
    fails("EINVAL", os.truncate, "file", -1)
    os.mkdir("dir")
    fails("EISDIR", os.truncate, "dir", 0)
    fails("EACCES", os.truncate, "file", 1, user=OTHER)


@subject
def link():
    if not UNIX:
        return fails("EPERM", plain_link)
    make("file", b"content")
    if not LINUX:
        works(os.link, "file", "other")
        return same("content", b"content", content("other"))
    path_errors(lambda_named("link from", lambda path: os.link(path, "new")))
    make("file", b"content")
    path_errors_into("file", os.link)
    make("file", b"content")
    moves("c", "file", os.link, "file", "other")
    same("nlink", [2, 2], [os.lstat(name).st_nlink for name in ("file", "other")])
    same("inode", os.lstat("file").st_ino, os.lstat("other").st_ino)
    write_at("other", 0, b"C")
    same("content through the other name", b"Content", content("file"))
    fails("EEXIST", os.link, "file", "other")
    os.mkdir("dir")
    fails("EEXIST", os.link, "file", "dir")
    fails("EPERM", os.link, "dir", "dir2")
    fails("ENOENT", os.link, "missing", "new")
    moves("mc", "dir", os.link, "file", "dir/third")
    same("nlink", 3, os.lstat("other").st_nlink)
    moves("c", "other", os.remove, "file")
    same("nlink", 2, os.lstat("other").st_nlink)
    os.remove("other")
    handle = os.open("dir/third", RDONLY)
    os.remove("dir/third")
    fails("ENOENT", link_again, handle, "back")
    os.close(handle)
    os.symlink("nowhere", "symlink")
    works(os.link, "symlink", "second", follow_symlinks=False)
    same("target of a linked link", "nowhere", os.readlink("second"))


def plain_link():
    make("file")
    os.link("file", "other")


def link_again(handle, name):
    """Creates the link `name` to the open file. Fails if the file has no names.

    Calls linkat(2) because Python's os.link does not follow symbolic links.
    """
    follow, here = 0x400, -100
    if libc.linkat(here, f"/proc/self/fd/{handle}".encode(), here, name.encode(), follow) != 0:
        raise OSError(ctypes.get_errno(), "linkat", name)


def path_errors_into(source, call):
    """Checks that `call` fails with the correct error if its second argument is an invalid path."""
    os.rename(source, "kept")
    path_errors(lambda_named(f"{call.__name__} to", lambda path: call("kept", path)))
    os.rename("kept", source)


def lambda_named(name, function):
    function.__name__ = name
    return function


@subject
def mkdir():
    path_errors(os.mkdir)
    for bits in (0o755, 0o700, 0o151):
        works(os.mkdir, "dir", bits)
        same("mode", oct(bits), mode("dir"))
        os.rmdir("dir")
    os.umask(0o27)
    works(os.mkdir, "dir", 0o777)
    os.umask(0o22)
    same("mode with umask 027", oct(0o750), mode("dir"))
    make("file")
    for name in ("dir", "file", "."):
        fails("EEXIST", os.mkdir, name)
    if UNIX:
        os.symlink("nowhere", "dangling")
        fails("EEXIST", os.mkdir, "dangling")
    moves("mc", "dir", os.mkdir, "dir/sub")
    if LINUX:
        same("nlink", 3, os.lstat("dir").st_nlink)
    os.chmod("dir", 0o755)
    fails("EACCES", os.mkdir, "dir/x", user=OTHER) if UNIX else None
    for length in (1, 254, 255):
        works(os.mkdir, "n" * length)
        works(os.rmdir, "n" * length)


@subject
def mkfifo():
    if not UNIX:
        return
    path_errors(os.mkfifo)
    works(os.mkfifo, "fifo", 0o640)
    same("type", True, stat.S_ISFIFO(os.lstat("fifo").st_mode))
    same("mode", oct(0o640), mode("fifo"))
    fails("EEXIST", os.mkfifo, "fifo")
    fails("ENXIO", os.open, "fifo", WRONLY | os.O_NONBLOCK)
    reader = os.open("fifo", RDONLY | os.O_NONBLOCK)
    writer = os.open("fifo", WRONLY)
    os.write(writer, b"through")
    same("data through the fifo", b"through", os.read(reader, 99))
    os.close(reader)
    os.close(writer)
    works(os.rename, "fifo", "renamed")
    works(os.remove, "renamed")


@subject
def open_():
    path_errors(lambda_named("create", lambda path: os.close(os.open(path, os.O_CREAT | RDWR))))
    for bits in (0o644, 0o600, 0o151, 0o777):
        works(os.open, "file", os.O_CREAT | WRONLY, bits)
        same("mode", oct(bits & ~0o22), mode("file"))
        os.remove("file")
    fails("ENOENT", os.open, "file", RDONLY)
    make("file", b"content")
    # Opening an existing file with O_CREAT does not change the file.
    works(os.open, "file", os.O_CREAT | RDWR)
    same("content after O_CREAT", b"content", content("file"))
    fails("EEXIST", os.open, "file", os.O_CREAT | os.O_EXCL | RDWR)
    same("content after O_EXCL", b"content", content("file"))
    moves("mc", "file", os.open, "file", os.O_TRUNC | WRONLY)
    same("content after O_TRUNC", b"", content("file"))
    os.mkdir("dir")
    for flags in (WRONLY, RDWR, os.O_TRUNC | RDWR, os.O_CREAT | RDWR):
        fails("EISDIR", os.open, "dir", flags)
    fails("ENOTDIR", os.open, "file", os.O_DIRECTORY)
    fails("EEXIST", os.open, "dir", os.O_CREAT | os.O_EXCL)
    moves("mc", "dir", os.open, "dir/new", os.O_CREAT | WRONLY)
    make("file", b"content")
    for flags, call, argument in ((RDONLY, os.write, b"x"), (WRONLY, os.read, 1)):
        handle = os.open("file", flags)
        fails("EBADF", call, handle, argument)
        os.close(handle)
    first, second = (os.open("file", WRONLY | os.O_APPEND) for _ in range(2))
    for handle in (first, second, first):
        os.write(handle, b"+%d" % (handle == first))
    os.close(first)
    os.close(second)
    same("content after two appenders", b"content+1+0+1", content("file"))
    if UNIX:
        os.symlink("nowhere", "dangling")
        fails("EEXIST", os.open, "dangling", os.O_CREAT | os.O_EXCL | RDWR)
        fails("ELOOP", os.open, "dangling", os.O_NOFOLLOW | RDONLY)
        works(os.open, "dangling", os.O_CREAT | RDWR)
        works(os.lstat, "nowhere")
        os.chmod("file", 0o600)
        fails("EACCES", os.open, "file", RDONLY, user=OTHER)
        os.chmod("file", 0o604)
        works(os.open, "file", RDONLY, user=OTHER)
        fails("EACCES", os.open, "file", WRONLY, user=OTHER)
        # The mode of a new file does not restrict the open that creates it.
        handle = os.open("none", os.O_CREAT | RDWR, 0)
        works(os.write, handle, b"written")
        os.close(handle)


@subject
def rename():
    path_errors(lambda_named("rename from", lambda path: os.rename(path, "new")))
    make("old", b"old")
    path_errors_into("old", os.rename)
    make("new", b"new")
    inode = os.lstat("old").st_ino
    moves("c", "old", lambda_named("rename and back", rename_and_back), "old")
    works(os.rename, "old", "new")
    same("content", b"old", content("new"))
    fails("ENOENT", os.lstat, "old")
    same("inode", inode, os.lstat("new").st_ino)
    fails("ENOENT", os.rename, "old", "other")
    os.makedirs("full/below")
    os.mkdir("empty")
    fails("ENOTDIR", os.rename, "full", "new")
    fails("EISDIR", os.rename, "new", "empty")
    if not LINUX:
        # Only 9P2000.L can move a file to another directory. In other dialects, the kernel returns EXDEV.
        works(os.rename, "empty", "void")
        same("names", ["full", "new", "void"], sorted(os.listdir()))
        return
    fails("ENOTEMPTY", os.rename, "empty", "full")
    fails("EINVAL", os.rename, "full", "full/below/in")
    works(os.rename, "full", "empty")
    same("names", ["empty", "new"], sorted(os.listdir()))
    os.mkdir("to")
    works(os.rename, "empty/below", "to/below")
    same("nlink", [2, 3], [os.lstat(name).st_nlink for name in ("empty", "to")])
    moves("mc", "to", os.rename, "new", "to/new")
    # If both names refer to the same file, a rename has no effect.
    os.link("to/new", "same")
    works(os.rename, "to/new", "same")
    same("names", ["below", "new"], sorted(os.listdir("to")))
    # An open file remains usable after a rename has replaced it with another file.
    make("target", b"target")
    handle = os.open("target", RDWR)
    works(os.rename, "same", "target")
    same("content of the replaced file", b"target", os.read(handle, 99))
    same("nlink of the replaced file", 0, os.fstat(handle).st_nlink)
    works(os.write, handle, b"+")
    same("content", b"old", content("target"))
    os.close(handle)
    os.symlink("target", "link")
    works(os.rename, "link", "moved")
    same("target of a renamed link", "target", os.readlink("moved"))


def rename_and_back(name):
    os.rename(name, "elsewhere")
    os.rename("elsewhere", name)


@subject
def rmdir():
    path_errors(os.rmdir)
    fails("ENOENT", os.rmdir, "missing")
    make("file")
    fails("ENOTDIR", os.rmdir, "file")
    os.makedirs("dir/sub")
    fails("ENOTEMPTY", os.rmdir, "dir")
    fails("EINVAL", os.rmdir, "dir/.")
    fails("ENOTEMPTY", os.rmdir, "dir/sub/..")
    fails("EACCES", os.rmdir, "dir/sub", user=OTHER) if UNIX else None
    handle = os.open("dir/sub", RDONLY)
    moves("mc", "dir", os.rmdir, "dir/sub")
    if LINUX:
        same("nlink of a removed directory", 0, os.fstat(handle).st_nlink)
        same("nlink", 2, os.lstat("dir").st_nlink)
    os.close(handle)
    if UNIX:
        os.symlink("dir", "link")
        fails("ENOTDIR", os.rmdir, "link")
    works(os.rmdir, "dir")


@subject
def symlink():
    if not UNIX:
        return fails("EPERM", os.symlink, "target", "link")
    path_errors(lambda_named("symlink at", lambda path: os.symlink("target", path)))
    # Test targets up to the maximum length that the kernel accepts. A listing must also show such a link.
    for length in (1, 255, 2047, 2049, 4000):
        target = ("t" * 99 + "/") * 41
        works(os.symlink, target[:length], "link")
        same("target", target[:length], os.readlink("link"))
        same("names", ["link"], os.listdir())
        same("type", True, stat.S_ISLNK(os.lstat("link").st_mode))
        if LINUX:
            same("size", length, os.lstat("link").st_size)
        works(os.remove, "link")
    fails("ENAMETOOLONG", os.symlink, "t" * 4096, "link")
    fails("ENOENT", os.symlink, "", "link")
    make("file", b"content")
    fails("EEXIST", os.symlink, "target", "file")
    works(os.symlink, "file", "link")
    fails("EEXIST", os.symlink, "target", "link")
    same("content through a link", b"content", content("link"))
    os.mkdir("dir")
    moves("mc", "dir", os.symlink, "nowhere", "dir/link")
    fails("ENOENT", os.stat, "dir/link")
    fails("EINVAL", os.readlink, "file")


@subject
def unlink():
    path_errors(os.unlink)
    fails("ENOENT", os.unlink, "missing")
    os.mkdir("dir")
    fails("EISDIR", os.unlink, "dir")
    make("dir/file", b"content")
    fails("EACCES", os.unlink, "dir/file", user=OTHER) if UNIX else None
    handle = os.open("dir/file", RDWR)
    moves("mc", "dir", os.unlink, "dir/file")
    fails("ENOENT", os.lstat, "dir/file")
    same("content of a removed file", b"content", os.read(handle, 99))
    os.write(handle, b"more")
    same("size of a removed file", 11, os.fstat(handle).st_size)
    if LINUX:
        same("nlink of a removed file", 0, os.fstat(handle).st_nlink)
    make("dir/file", b"another")
    same("another file of that name", b"another", content("dir/file"))
    os.close(handle)
    same("another file of that name", b"another", content("dir/file"))
    if not UNIX:
        return
    os.symlink("dir/file", "link")
    works(os.unlink, "link")
    works(os.lstat, "dir/file")
    # In a sticky directory, only a file's owner may remove the file.
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    make("sticky/file")
    if LINUX:
        fails("EPERM", os.unlink, "sticky/file", user=OTHER)


@subject
def utimensat():
    path_errors(os.utime)
    fails("ENOENT", os.utime, "missing")
    make("file")
    os.mkdir("dir")
    second = 1_000_000_000
    for name in ("file", "dir"):
        works(os.utime, name, ns=(11 * second, 22 * second))
        same(f"times of {name}", (11, 22), (int(os.stat(name).st_atime), int(os.stat(name).st_mtime)))
    fails("EACCES", os.utime, "file", user=OTHER)
    works(os.utime, "file")
    same("now", True, abs(os.stat("file").st_mtime - time.time()) < 60)
    # Set the largest 32-bit time that Twstat can set. The next larger value means "unchanged".
    works(os.utime, "file", (2**32 - 2, 2**32 - 2))
    same("in 2106", 2**32 - 2, int(os.stat("file").st_mtime))
    if not LINUX:
        return
    fails("EPERM", os.utime, "file", (1, 1), user=OTHER)
    times = (1_234_567_890_123_456_789, 987_654_321_987_654_321)
    moves("mc", "file", os.utime, "file", None)
    works(os.utime, "file", ns=times)
    # Compare only the seconds, because Linux 6.1 drops the fractions of the times that it sets.
    seconds = lambda name: (int(os.stat(name).st_atime), int(os.stat(name).st_mtime))
    same("times", (1_234_567_890, 987_654_321), seconds("file"))
    works(set_times, "file", (0, UTIME_OMIT), (5, 6))
    same("times", (1_234_567_890, 5), seconds("file"))
    works(set_times, "file", (7, 8), (0, UTIME_OMIT))
    same("times", (7, 5), seconds("file"))
    works(set_times, "file", (0, UTIME_OMIT), (0, UTIME_NOW))
    same("now", True, abs(os.stat("file").st_mtime - time.time()) < 60)
    for name, early in (("file", -5), ("dir", -(2**31))):
        works(os.utime, name, (early, early))
        same(f"{early} clamps or stays", True, os.stat(name).st_mtime in (0, early))
    os.symlink("file", "link")
    works(os.utime, "link", (3, 4), follow_symlinks=False)
    same("time of a link", 4, int(os.lstat("link").st_mtime))


UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def set_times(name, atime, mtime):
    """Sets the times of a file, each of which may be UTIME_NOW or UTIME_OMIT.

    Calls utimensat(2) because Python's os.utime does not support these values.
    """
    times = (ctypes.c_long * 4)(*atime, *mtime)
    if libc.utimensat(-100, name.encode(), times, 0) != 0:
        raise OSError(ctypes.get_errno(), "utimensat", name)


def write_at(name, offset, data):
    handle = os.open(name, WRONLY)
    os.pwrite(handle, data, offset)
    os.close(handle)


if __name__ == "__main__":
    main()
