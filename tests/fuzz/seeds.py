#!/usr/bin/env python3
"""Writes a small corpus for each fuzz target: `seeds.py DIR`.

The inputs pass the initial checks in each decoder. Inputs found by a fuzzer are usually not kept in
the repository. If an input reveals a bug, add the input here along with a comment about the bug.
"""

import sys
from pathlib import Path
from struct import pack


def main():
    for target, inputs in (("decode", frames()), ("roundtrip", frames()), ("session", sessions()), ("server", servers()),
                           ("client", clients()), ("objects", objects())):
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed-{number:03}").write_bytes(data)


# ---- Fields -----------------------------------------------------------------


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return pack("<H", len(data)) + data


def qid(kind=0, path=2):
    return pack("<BIQ", kind, 1, path)


def stat(unix, name="name"):
    body = pack("<HI", 0, 0) + qid() + pack("<IIIQ", 0o644, 1, 2, 3) + text(name) + text("u") + text("g") + text("m")
    if unix:
        body += text("target") + pack("<III", 1, 2, 3)
    return pack("<H", len(body)) + body


def dirent(name, offset):
    return qid() + pack("<QB", offset, 4) + text(name)


# ---- Messages, each of which is a pair of a type and a body -----------------


def requests(dialect):
    """Yields the requests of a client that creates, uses and removes files."""
    walk = lambda fid, new, *names: (110, pack("<IIH", fid, new, len(names)) + b"".join(map(text, names)))
    clunk = lambda fid: (120, pack("<I", fid))
    read = lambda fid, offset=0, count=512: (116, pack("<IQI", fid, offset, count))
    write = lambda fid, data, offset=0: (118, pack("<IQI", fid, offset, len(data)) + data)
    extension = text("") if dialect == 1 else b""
    yield walk(0, 1)
    if dialect == 2:
        yield 72, pack("<I", 0) + text("dir") + pack("<II", 0o755, 0)
        yield 14, pack("<I", 1) + text("file") + pack("<III", 2, 0o644, 0)
    else:
        yield 114, pack("<I", 1) + text("file") + pack("<IB", 0o644, 2) + extension
    yield write(1, b"content")
    yield write(1, b"far", 100_000)
    yield read(1, 3)
    yield walk(0, 2, "file")
    if dialect == 2:
        yield 24, pack("<IQ", 2, 0x7FF)
        yield 26, pack("<IIIIIQQQQQ", 2, 0x1FF, 0o600, 1, 2, 3, 4, 5, 6, 7)
        yield 16, pack("<I", 0) + text("link") + text("file") + pack("<I", 0)
        yield 70, pack("<II", 0, 2) + text("hard")
        yield 74, pack("<I", 0) + text("hard") + pack("<I", 0) + text("moved")
        yield 76, pack("<I", 0) + text("moved") + pack("<I", 0)
        yield 32, pack("<I", 2) + text("user.a") + pack("<QI", 3, 0)
        yield 30, pack("<II", 2, 9) + text("user.a")
        yield 52, pack("<IBIQQI", 2, 1, 0, 0, 0, 7) + text("host")
        yield 8, pack("<I", 0)
        yield walk(0, 3)
        yield 12, pack("<II", 3, 0)
        yield 40, pack("<IQI", 3, 0, 512)
    else:
        yield 124, pack("<I", 2)
        record = stat(dialect == 1, "renamed")
        yield 126, pack("<I", 2) + pack("<H", len(record)) + record
        yield walk(0, 3)
        yield 112, pack("<IB", 3, 0)
        yield read(3)
    yield 108, pack("<H", 7)
    yield walk(0, 4, "..", "..")
    yield clunk(3)
    yield 122, pack("<I", 2)
    yield 122, pack("<I", 0)


def control(dialect):
    """Yields the requests of a client that uses a command, a status file and a stream in the
    dynamic tree."""
    opened = lambda fid, mode: (12, pack("<II", fid, mode)) if dialect == 2 else (112, pack("<IB", fid, mode))
    for fid, (name, mode) in enumerate((("status", 0), ("ctl", 2)), 1):
        yield 110, pack("<IIH", 0, fid, 1) + text(name)
        yield opened(fid, mode)
        yield 118, pack("<IQI", fid, 0, 3) + b"go\n"
        yield 116, pack("<IQI", fid, 0, 99)
    yield 110, pack("<IIH", 0, 5, 2) + text("sub") + text("live")
    yield opened(5, 0)
    for _ in range(3):
        yield 116, pack("<IQI", 5, 0, 99)
    yield 108, pack("<H", 0)


def commits(dialect):
    """Yields the requests of a client that commits a file to a database branch."""
    numbers = iter(range(1, 60))

    def make(path, name):
        fid = next(numbers)
        yield 110, pack("<IIH", 0, fid, len(path)) + b"".join(map(text, path))
        if dialect == 2:
            yield 72, pack("<I", fid) + text(name) + pack("<II", 0o755, 0)
        else:
            yield 114, pack("<I", fid) + text(name) + pack("<IB", 0x800001ED, 0) + (text("") if dialect == 1 else b"")

    def put(path, data, new=None):
        fid = next(numbers)
        yield 110, pack("<IIH", 0, fid, len(path)) + b"".join(map(text, path))
        if new and dialect == 2:
            yield 14, pack("<I", fid) + text(new) + pack("<III", 2, 0o644, 0)
        elif new:
            yield 114, pack("<I", fid) + text(new) + pack("<IB", 0o644, 1) + (text("") if dialect == 1 else b"")
        else:
            yield (12, pack("<II", fid, 1)) if dialect == 2 else (112, pack("<IB", fid, 1))
        yield 118, pack("<IQI", fid, 0, len(data)) + data
        yield 120, pack("<I", fid)

    t = ["branch", "b", "transactions", "t"]
    yield from make(["branch"], "b")
    yield from make(t[:3], "t")
    yield from make([*t, "rw"], "dir")
    yield from put([*t, "rw", "dir"], b"content", "file")
    yield from put([*t, "msg"], b"message\n")
    yield from put([*t, "ctl"], b"commit\n")
    yield from put([*t, "ctl"], b"nonsense\n")


# ---- The inputs of each fuzz target -----------------------------------------


def frames():
    """Yields complete frames that contain requests and replies."""
    for dialect in range(3):
        for kind, body in requests(dialect):
            yield pack("<IBH", 7 + len(body), kind, 1) + body
        for kind, body in replies(dialect):
            yield pack("<IBH", 7 + len(body), kind, 1) + body


def replies(dialect):
    yield 101, pack("<I", 8192) + text(("9P2000", "9P2000.u", "9P2000.L")[dialect])
    yield 105, qid(0x80, 1)
    yield 111, pack("<H", 2) + qid(0x80) + qid()
    yield 117, pack("<I", 4) + b"data"
    yield 119, pack("<I", 4)
    if dialect == 2:
        yield 7, pack("<I", 2)
        yield 25, pack("<Q", 0x7FF) + qid() + pack("<III", 0o644, 1, 2) + pack("<15Q", *range(15))
        yield 41, pack("<I", 2 * len(dirent("name", 1))) + dirent("name", 1) + dirent("..", 2)
        yield 9, pack("<IIQQQQQQI", 1, 4096, 3, 2, 1, 6, 5, 4, 255)
        yield 23, text("target")
    else:
        yield 107, text("No such file or directory") + (pack("<I", 2) if dialect == 1 else b"")
        record = stat(dialect == 1)
        yield 125, pack("<H", len(record)) + record


def sessions():
    for dialect in range(3):
        for list_of in (requests(dialect), control(dialect), commits(dialect)):
            yield bytes([dialect]) + b"".join(pack("<HB", len(body), kind) + body for kind, body in list_of)


def servers():
    for dialect in range(3):
        for tree, list_of in enumerate((requests(dialect), control(dialect), commits(dialect))):
            first = bytes([0x80 + next(n for n in range(0x80) if (0x80 + n) % 3 == dialect and (0x80 + n) // 3 % 3 == tree)])
            yield first + b"".join(
                pack("<HBB", len(body), kind, tag % 256) + body for tag, (kind, body) in enumerate(list_of))
            version = pack("<I", 8192) + text("9P2000")
            yield bytes([3 * tree]) + pack("<IBH", 7 + len(version), 100, 0xFFFF) + version


def clients():
    walked = (0, pack("<H", 1) + qid(0x80))
    opened = (0, qid(0x80) + pack("<I", 0))
    file, file_open = (0, pack("<H", 1) + qid()), (0, qid() + pack("<I", 0))
    error = {0: (107, text("no")), 1: (107, text("no") + pack("<I", 5)), 2: (7, pack("<I", 5))}
    for dialect in range(3):
        entries = dirent("name", 1) + dirent("other", 2) if dialect == 2 else stat(dialect == 1) + stat(dialect == 1, "other")
        data = lambda value: (0, pack("<I", len(value)) + value)
        listing = [walked, opened, data(entries), data(b""), (0, b"")]
        reading = [file, file_open, data(b"one line\n"), data(b""), (0, b"")]
        refused = [error[dialect]] * 4
        for first in (dialect, 0x80 + next(n for n in range(3) if (0x80 + n) % 3 == dialect)):
            for list_of in (listing * 3, listing + reading * 6, reading * 9, listing + refused + reading * 3, refused * 9):
                yield bytes([first]) + b"".join(pack("<HB", len(body), mode) + body for mode, body in list_of)


def objects():
    hash_of = lambda digit: (digit * 40).encode()
    who = b"A U Thor <a@example.com> 1234567890 +0130"
    head = b"tree " + hash_of("1") + b"\n"
    commit = head + b"parent " + hash_of("2") + b"\n"
    texts = [
        commit + b"author " + who + b"\ncommitter " + who + b"\n\nmessage\n",
        commit + b"author " + who + b"\ncommitter " + who + b"\nencoding ISO-8859-1\ngpgsig -----\n more\n -----\n\ncaf\xe9\n",
        head + b"\nno author",
        head + b"author \nauthor x\ncommitter <> y -9999\n\n",
        head + b"author A <a> 99999999999999999999 +9999\ncommitter A\n",
        head[:-1],
        b"parent x\n",
    ]
    entry = lambda mode, name, digit=b"\x11": mode + b" " + name + b"\0" + digit * 20
    trees = [
        entry(b"100644", b"a") + entry(b"40000", b"a.b") + entry(b"100755", b"z"),
        entry(b"40000", b"z") + entry(b"120000", b"a"),
        entry(b"100644", b"..") + entry(b"100644", b"a/b") + entry(b"100644", b"") + entry(b"100644", b".git"),
        entry(b"100664", b"a") + entry(b"100664", b"a", b"\x22") + entry(b"160000", b"m"),
        entry(b"100644", b"n" * 300),
        entry(b"9", b"a")[:-3],
    ]
    for first in texts + trees:
        for second in (texts + trees)[:: 4]:
            yield pack("<H", len(first)) + first + second


if __name__ == "__main__":
    main()
